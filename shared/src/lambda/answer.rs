//! An answer as API Gateway reads it.

use std::str;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeStruct},
};

use super::event::Format;

/// What a function answers an event with.
pub struct Answer {
    format: Format,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(super) async fn of(response: Response, format: Format) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            format,
            status: parts.status,
            headers: parts.headers,
            // What is in memory can be read.
            body: body.collect().await.unwrap_or_default().to_bytes(),
        }
    }

    /// The answer to what keeps a function warm.
    pub(super) fn to_ping() -> Self {
        let json = HeaderValue::from_static("application/json");
        Self {
            format: Format::Http,
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
            body: Bytes::from_static(br#"{"status":"ok"}"#),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What is compressed is no text, even where it could be read as one.
        let text = str::from_utf8(&self.body)
            .ok()
            .filter(|_| !self.headers.contains_key(header::CONTENT_ENCODING));
        let mut answer = serializer.serialize_struct("Answer", 4)?;
        answer.serialize_field("statusCode", &self.status.as_u16())?;
        match self.format {
            Format::Rest => answer.serialize_field("multiValueHeaders", &Lists(&self.headers))?,
            Format::Http => answer.serialize_field("headers", &Joined(&self.headers))?,
        }
        match text {
            Some(text) => answer.serialize_field("body", text)?,
            None => answer.serialize_field("body", &STANDARD.encode(&self.body))?,
        }
        answer.serialize_field("isBase64Encoded", &text.is_none())?;
        answer.end()
    }
}

/// Headers with a list of values each.
struct Lists<'a>(&'a HeaderMap);
/// Headers whose values are joined by commas (RFC 9110, section 5.3).
struct Joined<'a>(&'a HeaderMap);

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

impl Serialize for Lists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.0.keys() {
            let values: Vec<_> = self.0.get_all(name).iter().map(text).collect();
            map.serialize_entry(name.as_str(), &values)?;
        }
        map.end()
    }
}

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.0.keys() {
            let values: Vec<_> = self.0.get_all(name).iter().map(text).collect();
            map.serialize_entry(name.as_str(), &values.join(", "))?;
        }
        map.end()
    }
}
