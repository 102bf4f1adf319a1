//! Tokens as anyone who knows a key could make them, and what is inside those that the API makes.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::SECRET_KEY;

/// The header that every token of the API has by default.
pub(crate) const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .cast_signed()
}

/// A token with this header and payload, whatever they say, signed with the key of every world.
pub(crate) fn sign(header: &str, payload: &str) -> String {
    sign_with(hmac::HMAC_SHA256, SECRET_KEY, header, payload)
}

/// The same with another key, or by another hash function.
pub(crate) fn sign_with(hash: hmac::Algorithm, key: &str, header: &str, payload: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let key = hmac::Key::new(hash, key.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

/// The claims of a token as the service before this one issued it, with ten minutes to go; `changes` adds
/// claims or, with null, takes them away.
pub(crate) fn claims(user_id: i64, changes: &Value) -> String {
    let mut claims = json!({ "user_id": user_id, "exp": now() + 600, "type": "access" });
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

/// Header and payload of a token, each the text that was signed.
pub(crate) fn texts(token: &str) -> [String; 2] {
    let mut parts = token.split('.');
    [(); 2].map(|()| {
        let part = URL_SAFE_NO_PAD.decode(parts.next().unwrap_or_default());
        String::from_utf8_lossy(&part.unwrap_or_default()).into_owned()
    })
}

/// Header and payload of a token.
pub(crate) fn contents(token: &str) -> [Value; 2] {
    texts(token).map(|text| serde_json::from_str(&text).unwrap())
}
