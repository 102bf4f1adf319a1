//! An event as the request that a client sent, by which the document judges it.

use axum::http::{HeaderName, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::Request;

/// All but what stands for itself in a URI (RFC 3986, section 2.3), and what divides a path.
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Reads an event of an HTTP API or of a REST API, however much of it there is.
pub(crate) fn request_of(event: &Value) -> Request {
    let context = &event["requestContext"];
    let is_http = event["version"] == "2.0";
    let (method, path) = if is_http {
        (&context["http"]["method"], &event["rawPath"])
    } else {
        (&event["httpMethod"], &event["path"])
    };
    let path = path.as_str().unwrap_or_default();
    let path = format!("/{}", escaped(path.strip_prefix('/').unwrap_or(path)));
    // An HTTP API tells the path with its stage, whose name needs no escape.
    let stage = format!("/{}", context["stage"].as_str().unwrap_or_default());
    let path = match path.strip_prefix(&stage) {
        Some("") if is_http => "/",
        Some(rest) if is_http && rest.starts_with('/') => rest,
        _ => &path,
    };
    let query = if is_http {
        event["rawQueryString"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    } else {
        query(event)
    };
    let mut request = Request::new(method.as_str().unwrap(), &format!("{path}?{query}"));
    let several = values(&event["multiValueHeaders"]);
    let headers = if several.is_empty() {
        values(&event["headers"])
    } else {
        several
    };
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            request.headers.append(name, value);
        }
    }
    let body = event["body"].as_str().unwrap_or_default();
    request.body(if event["isBase64Encoded"] == true {
        // Of either alphabet, with or without padding and line breaks; what is none brings nothing.
        let body: String = body.split_ascii_whitespace().collect();
        let body = body.replace('-', "+").replace('_', "/");
        STANDARD_NO_PAD
            .decode(body.trim_end_matches('='))
            .unwrap_or_default()
    } else {
        body.into()
    })
}

/// A path that a gateway has decoded. What could still be an escape is one.
fn escaped(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut escaped = encode(pieces.next().unwrap_or_default());
    for piece in pieces {
        let is_escape =
            piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        escaped.push_str(if is_escape { "%" } else { "%25" });
        escaped.push_str(&encode(piece));
    }
    escaped
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NOT_IN_PATH).to_string()
}

/// The query of a REST API's event, which has it decoded.
fn query(event: &Value) -> String {
    let several = values(&event["multiValueQueryStringParameters"]);
    let pairs = if several.is_empty() {
        values(&event["queryStringParameters"])
    } else {
        several
    };
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

/// Names and values of an object whose members are texts or lists of them.
fn values(object: &Value) -> Vec<(String, String)> {
    let none = Map::new();
    let mut values = Vec::new();
    for (name, value) in object.as_object().unwrap_or(&none) {
        let texts = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        values.extend(
            texts
                .iter()
                .filter_map(|text| Some((name.clone(), text.as_str()?.to_owned()))),
        );
    }
    values
}
