//! `CORS_ORIGINS`: the pages that may call, as browsers name them.

use axum::http::HeaderValue;
use shared::config::BadSetting;
use url::Url;

/// The origins whose pages a browser lets call this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// `*`
    Any,
    /// These, each as a browser sends it in `Origin`.
    Listed(Vec<HeaderValue>),
}

impl Origins {
    /// Parses the setting.
    ///
    /// # Errors
    ///
    /// An origin is one that no browser ever sends, which would allow nothing and say nothing.
    pub fn parse(setting: &str) -> Result<Self, BadSetting> {
        if setting.trim() == "*" {
            return Ok(Self::Any);
        }
        setting
            .split(',')
            .map(|origin| one(origin.trim()))
            .collect::<Result<_, _>>()
            .map(Self::Listed)
            .map_err(|why| BadSetting::new(format!("CORS_ORIGINS {why}")))
    }
}

/// An origin, or the end of a sentence that begins with the setting.
fn one(origin: &str) -> Result<HeaderValue, String> {
    if origin.is_empty() {
        return Err("must be origins with commas between them, or *.".to_owned());
    }
    if origin == "*" {
        return Err("allows every origin with *, which must then stand alone.".to_owned());
    }
    if origin == "null" {
        return Err(
            "must not hold null: any page can have that origin, by a sandboxed frame.".to_owned(),
        );
    }
    if origin.contains('*') {
        return Err(format!(
            "holds {origin:?}, and * cannot stand for a part of an origin: list each one."
        ));
    }
    let Some((scheme, rest)) = origin.split_once("://") else {
        return Err(format!(
            "holds {origin:?}, which is not an origin: an origin begins with http:// or https://."
        ));
    };
    if ["blob", "file", "ftp", "ws", "wss"].contains(&scheme) {
        return Err(format!(
            "holds an origin that begins with {scheme}://, which no page has."
        ));
    }
    let sent = as_sent(origin).ok_or_else(|| {
        // Not shown: there may be a password in it.
        if rest.contains('@') {
            "holds something that is not an origin.".to_owned()
        } else {
            format!("holds {origin:?}, which is not an origin.")
        }
    })?;
    if rest.contains('@') {
        return Err(format!(
            "holds an origin with a user in it, which no browser sends; it would send {sent:?}."
        ));
    }
    if sent != origin {
        return Err(format!(
            "holds {origin:?}, which no browser sends; it would send {sent:?}."
        ));
    }
    HeaderValue::from_str(origin).map_err(|_| format!("holds {scheme:?}, which is not an origin."))
}

/// The origin of this URL in a browser's words (WHATWG URL, "serialization of an origin").
fn as_sent(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let origin = url.origin();
    if origin.is_tuple() {
        return Some(origin.ascii_serialization());
    }
    // Pages of apps and of extensions: capacitor://localhost, moz-extension://….
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    Some(format!("{}://{}{port}", url.scheme(), host.to_lowercase()))
}
