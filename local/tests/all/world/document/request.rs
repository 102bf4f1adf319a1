//! Requests by the document: one that was accepted is allowed, one that was refused is not.

use std::{borrow::Cow, collections::HashMap};

use axum::http::header;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Number, Value, json};

use super::{Answer, Part, Request};

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// What a 422 may be for though the schemas allow the request. No schema can say it; in prose the document does.
const BEYOND_SCHEMAS: [&str; 12] = [
    "A key stands twice in an object",
    // JSON Schema takes 1.0 and 1e0 for integers.
    "Input should be a valid integer",
    "It was not made by this API",
    "The field stands twice in the form",
    "The form takes text and no files",
    "This password is among the most common ones",
    "This password is the email address of the account",
    "This password is the local part of the email address of the account",
    "This password is the name of this service",
    "This password is the old one",
    // In what no schema names.
    "U+0000 cannot be stored",
    "Every name and value must be UTF-8 without U+0000",
];

/// Holds a request against an operation, by the answer that it got.
pub(super) fn judge(
    path: &Part<'_>,
    operation: &Part<'_>,
    values: &HashMap<&str, &str>,
    request: &Request,
    answer: &Answer,
) -> Result<(), String> {
    let status = answer.status.as_u16();
    judge_credentials(operation, request, status)?;
    let content = operation
        .get("requestBody")
        .map(|body| body.get("content").unwrap());
    let media = content.as_ref().and_then(|content| media(content, request));
    match (status, content.is_some(), media.is_some()) {
        (200..300, true, false) => return Err(format!("{operation} takes no such content type")),
        (415, _, true) => return Err(format!("{operation} takes this content type")),
        _ => {}
    }
    if status != 422 && !(200..300).contains(&status) {
        return Ok(());
    }
    let mut faults = Vec::new();
    for list in [path, operation]
        .into_iter()
        .filter_map(|part| part.get("parameters"))
    {
        for parameter in list.elements() {
            let value = parameter_value(&parameter, values, request);
            match value {
                Some(value) => faults.extend(parameter.faults(&value, false)),
                None if parameter.value["required"] == true => {
                    faults.push(format!("{parameter} is missing"));
                }
                None => {}
            }
        }
    }
    if let Some(media) = &media {
        match body(media, request) {
            Some(body) => faults.extend(media.faults(&body, false)),
            None => faults.push(format!("the body is not {media}")),
        }
    }
    match (status, faults.is_empty()) {
        (422, true) if !is_beyond_schemas(answer) => {
            Err(format!("{operation} allows this request"))
        }
        (200..300, false) => Err(faults.join("\n")),
        _ => Ok(()),
    }
}

/// Who has no credentials gets nothing where a caller is wanted, and is not told to log in where none is.
fn judge_credentials(operation: &Part<'_>, request: &Request, status: u16) -> Result<(), String> {
    let security = operation.get("security").unwrap();
    let ways = security.value.as_array().unwrap();
    let is_open = ways.is_empty();
    let is_optional = is_open || ways.contains(&json!({}));
    let is_known = request.headers.contains_key(header::AUTHORIZATION);
    // What comes before the caller is looked at, and our own faults.
    let is_early = matches!(status, 400 | 408 | 413 | 415 | 422 | 500..);
    if !is_known && !is_optional && !is_early && status != 401 {
        return Err(format!("{security} wants a caller"));
    }
    if !is_known && is_optional && !is_open && status == 401 {
        return Err(format!("{security} wants no caller"));
    }
    Ok(())
}

/// The schema of the body, by its content type. JSON may come without a type or with one that is made of it, and
/// where there is no body there is nothing that a type could describe.
fn media<'a>(content: &Part<'a>, request: &Request) -> Option<Part<'a>> {
    let content_type = match request.headers.get(header::CONTENT_TYPE) {
        None if request.body.is_empty() => return content.members().next().map(|(_, media)| media),
        None => "application/json".to_owned(),
        Some(value) => {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        }
    };
    let is_made_of_json =
        content_type.starts_with("application/") && content_type.ends_with("+json");
    content.get(if is_made_of_json {
        "application/json"
    } else {
        &content_type
    })
}

/// The body as its schema sees it.
fn body(media: &Part<'_>, request: &Request) -> Option<Value> {
    let body = request.body.as_slice();
    let is = |content_type: &str| media.pointer.ends_with(&content_type.replace('/', "~1"));
    let pairs = if is(FORM) {
        pairs(body)?
    } else if is(MULTIPART) {
        parts(request)?
    } else {
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        return serde_json::from_slice(body).ok();
    };
    // An empty field counts as none.
    let fields = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    Some(Value::Object(
        fields
            .map(|(name, value)| (name, json!(value)))
            .collect::<Map<_, _>>(),
    ))
}

/// The parts of a form as clients write them.
fn parts(request: &Request) -> Option<Vec<(String, String)>> {
    if request.body.is_empty() {
        return Some(Vec::new());
    }
    let delimiter = format!("\r\n--{}", boundary(request)?);
    let body = format!("\r\n{}", str::from_utf8(&request.body).ok()?);
    let mut parts = body.split(&delimiter).skip(1);
    let mut pairs = Vec::new();
    loop {
        let part = parts.next()?;
        if part.starts_with("--") {
            return Some(pairs);
        }
        let (head, value) = part.split_once("\r\n\r\n")?;
        let is_encoded = ["base64", "quoted-printable"]
            .iter()
            .any(|encoding| head.contains(encoding));
        let (_, name) = head.split_once("name=").filter(|_| !is_encoded)?;
        let name = name.split([';', '\r']).next()?;
        pairs.push((name.replace(['"', '\\'], ""), value.to_owned()));
    }
}

/// The parameter of the content type, if it can be one.
fn boundary(request: &Request) -> Option<String> {
    let content_type = request.headers[header::CONTENT_TYPE].to_str().ok()?;
    let mut boundaries = content_type.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_boundary = name.trim().eq_ignore_ascii_case("boundary");
        is_boundary.then(|| value.trim())
    });
    let boundary = boundaries.next().filter(|_| boundaries.next().is_none())?;
    let is_whole = boundary.starts_with('"') == boundary.ends_with('"');
    let boundary = boundary.replace(['"', '\\'], "");
    (is_whole && (1..=70).contains(&boundary.len())).then_some(boundary)
}

/// The value of a parameter as its schema sees it; `null` for what is no text.
fn parameter_value(
    parameter: &Part<'_>,
    values: &HashMap<&str, &str>,
    request: &Request,
) -> Option<Value> {
    let name = parameter.value["name"].as_str().unwrap();
    let text = if parameter.value["in"] == "path" {
        Some(decode(values.get(name)?))
    } else {
        let (_, query) = request.target.split_once('?').unwrap_or_default();
        // Of several the last counts.
        let pairs = query
            .split('&')
            .rev()
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut decoded = pairs.map(|(name, value)| (decode(name), decode(value)));
        decoded
            .find(|(found, _)| found.as_deref() == Some(name))
            .map(|(_, value)| value)
    };
    let Some(text) = text? else {
        return Some(Value::Null);
    };
    let number = (parameter.value["schema"]["type"] == "integer")
        .then(|| integer(&text))
        .flatten();
    Some(number.unwrap_or(json!(text)))
}

/// An integer in any of the ways that the document's introduction names.
fn integer(text: &str) -> Option<Value> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let (sign, digits) = match whole.strip_prefix(['+', '-']) {
        Some(digits) => (&whole[..1], digits),
        None => ("", whole),
    };
    let is_number =
        |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    if !digits.split('_').all(is_number)
        || fraction.is_empty()
        || !fraction.bytes().all(|byte| byte == b'0')
    {
        return None;
    }
    let digits = format!("{}{}", sign.replace('+', ""), digits.replace('_', ""));
    let exact = digits.parse::<i64>().ok().map(Number::from);
    Some(Value::Number(
        exact
            .or_else(|| Number::from_f64(digits.parse().ok()?))
            .unwrap_or(i64::MAX.into()),
    ))
}

fn pairs(form: &[u8]) -> Option<Vec<(String, String)>> {
    let form = std::str::from_utf8(form).ok()?;
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text)
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
}

/// Whether every problem is one that no schema can say. What makes an address is another such thing.
fn is_beyond_schemas(answer: &Answer) -> bool {
    let problems = answer.json();
    problems["detail"]
        .as_array()
        .unwrap()
        .iter()
        .all(|problem| {
            let context = &problem["ctx"];
            let reason = [&context["reason"], &context["error"], &problem["msg"]]
                .into_iter()
                .find_map(Value::as_str);
            let is_of_address =
                problem["loc"] == json!(["body", "email"]) && problem["type"] == "value_error";
            // How a form in parts is written is beyond schemas, too.
            let is_of_parts =
                reason.is_some_and(|reason| reason.starts_with("The form is not multipart"));
            is_of_address
                || is_of_parts
                || reason.is_some_and(|reason| BEYOND_SCHEMAS.contains(&reason))
        })
}
