//! Where a request leads: API Gateway puts stages and base paths before the paths of the API, for each kind of
//! API and domain in its own way.
//!
//! | API | domain | client | event |
//! | --- | --- | --- | --- |
//! | HTTP, stage `$default` | any | `/posts` | `rawPath` `/posts` |
//! | HTTP, stage `dev` | execute-api | `/dev/posts` | `rawPath` `/dev/posts` |
//! | HTTP, stage `dev` | custom, mapped as `v1` | `/v1/posts` | `rawPath` `/dev/posts` |
//! | REST, stage `dev` | execute-api | `/dev/posts` | `path` `/posts`, `requestContext.path` `/dev/posts` |
//! | REST, stage `dev` | custom, mapped as `v1` | `/v1/posts` | `path` and `requestContext.path` `/v1/posts` |
//!
//! A key that an HTTP API is mapped with is in no event, so that answers lead on by relative references.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What may not stand in a URI as it is (RFC 3986, section 2), less `%`, which begins an escape.
const NOT_IN_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// The same for a path, which a query would end.
const NOT_IN_PATH: &AsciiSet = &NOT_IN_URI.add(b'?');

/// What an event says of its path.
pub(super) struct EventPaths<'a> {
    pub(super) is_http_api: bool,
    pub(super) path: &'a str,
    /// `requestContext.path`, which an HTTP API does not have.
    pub(super) path_in_context: Option<&'a str>,
    /// The stage, if it has a name.
    pub(super) stage: Option<&'a str>,
    pub(super) domain: Option<&'a str>,
    /// The path of the gateway's route, as `/posts/{proxy+}`.
    pub(super) template: Option<&'a str>,
    /// What a parameter of the template stands for.
    pub(super) parameter: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// The path within the API, and the path that the client asked for, both as a URI has them. A key that an HTTP
/// API is mapped with is missing in the second.
pub(super) fn of_event(event: &EventPaths<'_>) -> (String, String) {
    let path = encode_path(event.path);
    let stage = event.stage.map(encode_path);
    let below_stage = stage.as_deref().and_then(|stage| below(&path, stage));
    // A REST API tells the path without the stage. Emulators and test events may tell both with it.
    let has_stage = event.is_http_api || event.path_in_context.is_none_or(|it| it == event.path);
    let within = below_template(&path, event)
        .or(below_stage.filter(|_| has_stage))
        .unwrap_or(&path);
    let is_execute_api = event
        .domain
        .is_none_or(|domain| domain.contains(".execute-api."));
    let requested = if event.is_http_api {
        match below_stage {
            Some(rest) if !is_execute_api => rest.to_owned(),
            _ => path.clone(),
        }
    } else if let Some(path) = event.path_in_context {
        encode_path(path)
    } else {
        match stage {
            Some(stage) if is_execute_api && below_stage.is_none() => format!("{stage}{path}"),
            _ => path.clone(),
        }
    };
    (within.to_owned(), requested)
}

/// The end of a path that the gateway's route matched, less whatever prefix is before it.
fn below_template<'a>(path: &'a str, event: &EventPaths<'_>) -> Option<&'a str> {
    let mut expanded = String::new();
    for segment in event.template?.split('/').filter(|part| !part.is_empty()) {
        expanded.push('/');
        match segment.strip_prefix('{') {
            Some(name) => expanded.push_str((event.parameter)(name.trim_end_matches(['+', '}']))?),
            None => expanded.push_str(segment),
        }
    }
    let decoded = |text: &str| {
        let bytes: Vec<u8> = percent_decode_str(text.trim_end_matches('/')).collect();
        bytes
    };
    let prefix = decoded(path);
    let prefix = prefix.strip_suffix(&*decoded(&expanded))?;
    below(path, std::str::from_utf8(prefix).ok()?)
}

/// The path less this prefix, if it begins with it. What is left of it whole is the root, which may come without
/// its slash.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    match path.strip_prefix(prefix)? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

/// A path as a URI has it, whatever a client wrote there: gateways decode it.
fn encode_path(path: &str) -> String {
    // A percent sign that begins no escape stands for itself.
    let mut escaped = String::new();
    for (at, piece) in path.split('%').enumerate() {
        if at > 0 {
            let is_escape =
                piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
            escaped.push_str(if is_escape { "%" } else { "%25" });
        }
        escaped.extend(utf8_percent_encode(piece, NOT_IN_PATH));
    }
    if escaped.starts_with('/') {
        escaped
    } else {
        format!("/{escaped}")
    }
}

/// A query as a URI has it: gateways pass on what clients do not escape.
pub(super) fn encode_query(query: &str) -> String {
    utf8_percent_encode(query, NOT_IN_URI).to_string()
}
