//! The event of the function: an order as `{"action": "migrate"}`, or a request of CloudFormation's.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use crate::{Failure, Order};

const ACTIONS: [&str; 4] = ["migrate", "status", "clean-up", "adopt"];
/// At most so many characters of a name from an event are repeated.
const MAX_NAME: usize = 60;

/// What the function is invoked with: any JSON at all. The fields of an object are kept as they came, so that one
/// that is there twice is seen.
#[derive(Debug, Deserialize)]
#[serde(from = "Json")]
pub struct Event {
    /// None where it is no object.
    fields: Option<Vec<(String, Value)>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    Object(Fields),
    Other(IgnoredAny),
}

struct Fields(Vec<(String, Value)>);

impl From<Json> for Event {
    fn from(json: Json) -> Self {
        Self {
            fields: match json {
                Json::Object(fields) => Some(fields.0),
                Json::Other(_) => None,
            },
        }
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

impl Event {
    /// Whether CloudFormation sent it, and waits for an answer at an address: no order has these fields.
    pub fn is_of_cloudformation(&self) -> bool {
        self.has("RequestType") || self.has("ResponseURL")
    }

    /// The value of a field, the last one where there are several.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let mut found = self.fields().iter().rev();
        found
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A field that is there more than once, which may mean either.
    pub(crate) fn repeated(&self) -> Option<&str> {
        let fields = self.fields();
        let names = fields.iter().map(|(name, _)| name.as_str());
        names
            .enumerate()
            .find(|(at, name)| fields[..*at].iter().any(|(before, _)| before == name))
            .map(|(_, name)| name)
    }

    fn fields(&self) -> &[(String, Value)] {
        self.fields.as_deref().unwrap_or_default()
    }

    /// The fields that an action does not know, quoted, with commas between them.
    fn unknown(&self, known: &[&str]) -> Option<String> {
        let unknown: Vec<_> = self
            .fields()
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
            .map(|(name, _)| quoted(name))
            .collect();
        (!unknown.is_empty()).then(|| unknown.join(", "))
    }

    /// Whether nothing is to be changed, by either spelling.
    fn dry_run(&self) -> Result<bool, Failure> {
        let mut said = None;
        for name in ["dry_run", "dry-run"] {
            match (self.get(name), said) {
                (None, _) => {}
                (Some(Value::Bool(value)), Some(other)) if *value != other => {
                    return Err(Failure(
                        "The fields \"dry_run\" and \"dry-run\" mean the same, and contradict each \
                         other here."
                            .to_owned(),
                    ));
                }
                (Some(Value::Bool(value)), _) => said = Some(*value),
                (Some(_), _) => {
                    return Err(Failure(format!(
                        "The field \"{name}\" must be true or false."
                    )));
                }
            }
        }
        Ok(said.unwrap_or_default())
    }
}

impl TryFrom<Event> for Order {
    type Error = Failure;

    /// The order that an event gives. Nothing in it is passed over: who writes a field means something by it.
    fn try_from(event: Event) -> Result<Self, Failure> {
        let refused = |sentence: String| Err(Failure(sentence));
        if event.fields.is_none() {
            return refused("An event must be an object with the field \"action\".".to_owned());
        }
        if let Some(name) = event.repeated() {
            return refused(format!(
                "The event has the field {} more than once.",
                quoted(name)
            ));
        }
        let action = match event.get("action") {
            Some(Value::String(action)) => action.as_str(),
            Some(_) => {
                return refused(format!(
                    "The field \"action\" must be {}.",
                    one_of_actions()
                ));
            }
            None => {
                let instead = event.unknown(&[]).map_or_else(String::new, |unknown| {
                    format!(" It has fields that are not known: {unknown}.")
                });
                return refused(format!(
                    "The event has no field \"action\", which must be {}.{instead}",
                    one_of_actions()
                ));
            }
        };
        let (order, known): (_, &[&str]) = match action {
            "migrate" => (Self::Migrate, &["action"]),
            "status" => (Self::Status, &["action"]),
            "clean-up" => (Self::CleanUp, &["action"]),
            "adopt" => (
                Self::Adopt {
                    dry_run: event.dry_run()?,
                },
                &["action", "dry_run", "dry-run"],
            ),
            other => {
                let meant = meant(other)
                    .map_or_else(String::new, |meant| format!(" Did you mean \"{meant}\"?"));
                return refused(format!(
                    "There is no action {}: it must be {}.{meant}",
                    quoted(other),
                    one_of_actions()
                ));
            }
        };
        match event.unknown(known) {
            None => Ok(order),
            Some(unknown) => refused(format!(
                "The event has fields that the action \"{action}\" does not know, and nothing was \
                 done: {unknown}."
            )),
        }
    }
}

fn one_of_actions() -> String {
    let [first @ .., last] = ACTIONS.map(|action| format!("\"{action}\""));
    format!("{} or {last}", first.join(", "))
}

/// The action that a name differs from in case and punctuation alone.
fn meant(name: &str) -> Option<&'static str> {
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(char::is_ascii_alphabetic);
        letters.map(|letter| letter.to_ascii_lowercase()).collect()
    };
    ACTIONS
        .into_iter()
        .find(|action| letters(action) == letters(name))
}

/// A name from an event between quotes, cut where it is too long to be a name.
fn quoted(name: &str) -> String {
    let short: String = name.chars().take(MAX_NAME).collect();
    let rest = if short.len() < name.len() { "…" } else { "" };
    format!("\"{short}{rest}\"")
}
