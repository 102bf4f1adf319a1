//! `multipart/form-data` (RFC 7578, RFC 2046 section 5.1): the parts of a form that is in memory.

use serde_json::{Value, json};

use super::{
    essence,
    form::{Form, Pair},
    unquoted_end,
};
use crate::error::Problem;

/// The longest boundary (RFC 2046, section 5.1.1).
const MAX_BOUNDARY_BYTES: usize = 70;

/// A part as its headers describe it.
struct Part {
    /// `None` where it is no UTF-8.
    name: Option<String>,
    is_file: bool,
    is_encoded: bool,
    is_utf8: bool,
}

/// Reads a form by its content type, or says what keeps it from being one. Lines end with CRLF, and the last
/// delimiter must be there: half a form is none.
pub(super) fn parse(content_type: &[u8], body: &[u8]) -> Result<Form, Problem> {
    let mut form = Form::default();
    if body.is_empty() {
        return Ok(form);
    }
    let boundary = parameter(content_type, b"boundary")
        .flatten()
        .filter(|boundary| (1..=MAX_BOUNDARY_BYTES).contains(&boundary.len()))
        .ok_or_else(|| malformed("its content type has no boundary"))?;
    let delimiter = [b"\r\n--", boundary.as_slice()].concat();
    // A delimiter begins a line, as the body does. What stands before the first is for nobody.
    let mut rest = match body.strip_prefix(&delimiter[2..]) {
        Some(rest) => rest,
        None => {
            split(body, &delimiter)
                .ok_or_else(|| malformed("it has no part"))?
                .1
        }
    };
    // What follows the last is for nobody either.
    while !rest.starts_with(b"--") {
        let padding = rest.iter().position(|byte| !b" \t".contains(byte));
        let part = rest[padding.unwrap_or(rest.len())..]
            .strip_prefix(b"\r\n")
            .ok_or_else(|| malformed("a delimiter does not end its line"))?;
        let (part, after) =
            split(part, &delimiter).ok_or_else(|| malformed("its last delimiter is missing"))?;
        // A part without headers begins with the empty line that ends them, so it has no name.
        let (headers, content) =
            split(part, b"\r\n\r\n").ok_or_else(|| malformed("a part has no headers"))?;
        form.add(Part::read(headers)?, content);
        rest = after;
    }
    Ok(form)
}

impl Form {
    fn add(&mut self, part: Part, content: &[u8]) {
        if let Some(name) = part.name.as_ref().filter(|_| part.is_file) {
            self.files.push(name.clone());
        } else {
            self.pairs.push(part.into_pair(content));
        }
    }
}

impl Part {
    /// Text is what everybody reads the same: UTF-8, or ASCII whatever it is called.
    fn into_pair(self, content: &[u8]) -> Pair {
        let is_text = !self.is_encoded && (self.is_utf8 || content.is_ascii());
        let text = str::from_utf8(content).ok().filter(|_| is_text)?;
        Some((self.name?, text.to_owned()))
    }

    fn read(headers: &[u8]) -> Result<Self, Problem> {
        let (mut disposition, mut content_type, mut encoding) = (None, None, None);
        for line in lines(headers) {
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) =
                line.split_at(colon.ok_or_else(|| malformed("a header has no colon"))?);
            let header = match name.to_ascii_lowercase().as_slice() {
                b"content-disposition" => &mut disposition,
                b"content-type" => &mut content_type,
                b"content-transfer-encoding" => &mut encoding,
                _ => continue,
            };
            if header.replace(value[1..].trim_ascii()).is_some() {
                return Err(malformed("a header stands twice in a part"));
            }
        }
        let disposition = disposition
            .filter(|value| essence(value).eq_ignore_ascii_case(b"form-data"))
            .ok_or_else(|| malformed("a part is not form-data"))?;
        let name = parameter(disposition, b"name")
            .flatten()
            .ok_or_else(|| malformed("a part has no name"))?;
        let charset = content_type.and_then(|value| parameter(value, b"charset"));
        let is_utf8 = charset.is_none_or(|charset| {
            charset.is_some_and(|charset| {
                let charset = charset.to_ascii_lowercase();
                [b"utf-8".as_slice(), b"utf8"].contains(&charset.as_slice())
            })
        });
        let is_text = |value: &[u8]| essence(value).to_ascii_lowercase().starts_with(b"text/");
        let is_plain = |value: &[u8]| {
            [b"7bit".as_slice(), b"8bit", b"binary"]
                .contains(&value.to_ascii_lowercase().as_slice())
        };
        Ok(Self {
            name: String::from_utf8(name).ok(),
            is_file: [b"filename".as_slice(), b"filename*"]
                .iter()
                .any(|name| parameter(disposition, name).is_some())
                || !content_type.is_none_or(is_text),
            is_encoded: !encoding.is_none_or(is_plain),
            is_utf8,
        })
    }
}

fn malformed(reason: &str) -> Problem {
    let reason = format!("The form is not multipart/form-data: {reason}");
    Problem {
        kind: "value_error",
        loc: vec![json!("body")],
        msg: format!("Value error, {reason}"),
        input: Value::Null,
        ctx: Some(json!({ "reason": reason })),
    }
}

/// What stands before the first such piece, and after it.
fn split<'a>(bytes: &'a [u8], piece: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes
        .windows(piece.len())
        .position(|window| window == piece)?;
    Some((&bytes[..at], &bytes[at + piece.len()..]))
}

fn lines(mut headers: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if headers.is_empty() {
            return None;
        }
        let (line, rest) = split(headers, b"\r\n").unwrap_or((headers, b""));
        headers = rest;
        Some(line)
    })
}

/// A parameter of a header (RFC 9110, section 5.6.6); `None` where it is not there, `Some(None)` where it stands
/// twice or the header cannot be read.
fn parameter(value: &[u8], name: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut found = None;
    let mut rest = &value[unquoted_end(value)..];
    while let Some(after) = rest.strip_prefix(b";") {
        let after = after.trim_ascii_start();
        let end = after
            .iter()
            .position(|byte| b"=;".contains(byte))
            .unwrap_or(after.len());
        let (key, after) = after.split_at(end);
        let Some(after) = after.strip_prefix(b"=") else {
            rest = after;
            continue;
        };
        let Some((text, after)) = parameter_value(after.trim_ascii_start()) else {
            return Some(None);
        };
        if key.trim_ascii().eq_ignore_ascii_case(name) && found.replace(text).is_some() {
            return Some(None);
        }
        rest = after.trim_ascii_start();
    }
    if rest.is_empty() {
        found.map(Some)
    } else {
        Some(None)
    }
}

/// A token or a quoted string, and what stands after it.
fn parameter_value(value: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        let (text, rest) = value.split_at(unquoted_end(value));
        return Some((text.trim_ascii().to_vec(), rest));
    };
    let mut text = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => return Some((text, bytes.as_slice())),
            // Browsers escape by percent signs and leave backslashes alone; no name of ours has either.
            b'\\' => text.push(*bytes.next()?),
            byte => text.push(*byte),
        }
    }
}
