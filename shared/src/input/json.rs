//! JSON bodies: one object, every key once, every text one that the database can hold.

use std::{
    collections::{HashMap, HashSet},
    fmt, str,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{json, value::RawValue};

use super::fields::BodyFields;
use crate::error::Problem;

/// Reads a body (RFC 8259), or says where it stops being JSON. A byte order mark is skipped.
pub(super) fn parse(body: &[u8]) -> Result<BodyFields<'_>, Problem> {
    let text =
        str::from_utf8(body).map_err(|error| invalid(error.valid_up_to(), "Invalid UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.is_empty() {
        return Ok(BodyFields::Missing);
    }
    match serde_json::from_str::<Content>(text)
        .map_err(|error| invalid_at(text, &error))?
        .kind
    {
        Kind::Null => Ok(BodyFields::Missing),
        Kind::Other => Ok(BodyFields::NotAnObject),
        Kind::Object => {
            let members: HashMap<String, &RawValue> =
                serde_json::from_str(text).map_err(|error| invalid_at(text, &error))?;
            Ok(BodyFields::Json(members))
        }
    }
}

/// Whether U+0000 stands anywhere in a value.
pub(super) fn has_nul(value: &RawValue) -> bool {
    serde_json::from_str::<Content>(value.get()).is_ok_and(|content| content.has_nul)
}

/// The problem, at the byte where reading stopped.
fn invalid_at(text: &str, error: &serde_json::Error) -> Problem {
    let lines_before = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1));
    let offset = lines_before.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
    // `loc` says where already.
    let message = error.to_string();
    invalid(
        offset,
        message.split(" at line ").next().unwrap_or_default(),
    )
}

fn invalid(offset: usize, reason: &str) -> Problem {
    Problem {
        kind: "json_invalid",
        loc: vec![json!("body"), json!(offset)],
        msg: "JSON decode error".to_owned(),
        input: json!({}),
        ctx: Some(json!({ "error": reason })),
    }
}

/// A value that was walked to its leaves: texts are Unicode, keys stand once, nothing nests deeper than the
/// reader allows (128).
struct Content {
    kind: Kind,
    has_nul: bool,
}

enum Kind {
    Null,
    Object,
    Other,
}

impl Content {
    const OTHER: Self = Self {
        kind: Kind::Other,
        has_nul: false,
    };
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut has_nul = false;
        let mut names = HashSet::new();
        while let Some((name, value)) = map.next_entry::<String, Content>()? {
            has_nul |= value.has_nul || name.contains('\0');
            if !names.insert(name) {
                return Err(A::Error::custom("A key stands twice in an object"));
            }
        }
        Ok(Content {
            kind: Kind::Object,
            has_nul,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut has_nul = false;
        while let Some(element) = seq.next_element::<Content>()? {
            has_nul |= element.has_nul;
        }
        Ok(Content {
            kind: Kind::Other,
            has_nul,
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content {
            kind: Kind::Other,
            has_nul: text.contains('\0'),
        })
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content {
            kind: Kind::Null,
            has_nul: false,
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
        Ok(Content::OTHER)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
        Ok(Content::OTHER)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
        Ok(Content::OTHER)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
        Ok(Content::OTHER)
    }
}
