//! Forms and query strings: names and values, percent-decoded strictly.

use percent_encoding::percent_decode;

/// A name and its value; `None` where they are not UTF-8.
pub(super) type Pair = Option<(String, String)>;

/// The fields of a form in a body.
#[derive(Default)]
pub(super) struct Form {
    /// Texts.
    pub(super) pairs: Vec<Pair>,
    /// Names of what is no text.
    pub(super) files: Vec<String>,
}

/// Reads `application/x-www-form-urlencoded` (WHATWG URL, section 5.1), except that bytes which are no UTF-8
/// are reported and not replaced.
pub(super) fn parse(bytes: &[u8]) -> Vec<Pair> {
    bytes
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(pair)
        .collect()
}

fn pair(bytes: &[u8]) -> Pair {
    let mut halves = bytes.splitn(2, |byte| *byte == b'=');
    let mut half = || {
        let bytes: Vec<u8> = halves
            .next()
            .unwrap_or_default()
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        String::from_utf8(percent_decode(&bytes).collect()).ok()
    };
    Some((half()?, half()?))
}
