//! The fields of a request, one by one: each reader notes what is wrong and goes on.

use std::{borrow::Cow, collections::HashMap, ops::RangeInclusive};

use axum::extract::RawPathParams;
use serde_json::{Value, json, value::RawValue};

use super::{
    form::{Form, Pair},
    integer::{Id, Integer},
    json,
};
use crate::{error::Problem, password::Password, tokens::KeySet};

/// A value longer than this is not repeated in a problem.
const MAX_ECHO_BYTES: usize = 256;

/// What a body holds.
pub(super) enum BodyFields<'a> {
    /// The route takes none.
    Nothing,
    /// Nothing came, or `null`.
    Missing,
    /// JSON, but no object.
    NotAnObject,
    /// A JSON object.
    Json(HashMap<String, &'a RawValue>),
    /// A form.
    Form(Form),
}

/// The parts of a request and the problems found in them so far.
pub struct Fields<'a> {
    keys: &'a KeySet,
    path: Option<&'a RawPathParams>,
    query: Vec<Pair>,
    body: BodyFields<'a>,
    /// Names in the body that the route knows.
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

/// A value in a body.
enum Found<'a> {
    Json(&'a RawValue),
    Text(String),
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        keys: &'a KeySet,
        path: Option<&'a RawPathParams>,
        query: Vec<Pair>,
        body: BodyFields<'a>,
    ) -> Self {
        Self {
            keys,
            path,
            query,
            body,
            known: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The id in the path: an integer, however large.
    pub fn path_id(&mut self, name: &'static str) -> Option<Id> {
        let text = self
            .path
            .and_then(|path| path.iter().find(|(key, _)| *key == name))
            .map(|(_, value)| value);
        let id = text.and_then(Integer::parse);
        if id.is_none() {
            self.note::<Id>(
                "int_parsing",
                json!(["path", name]),
                INT_PARSING,
                json!(text),
                None,
            );
        }
        id.map(Id::from)
    }

    /// A whole number in the query, or its default. Of several, the last counts, as it did before.
    pub fn query_integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
        default: i64,
    ) -> Option<i64> {
        let Some(text) = self.query_value(name)? else {
            return Some(default);
        };
        let loc = json!(["query", name]);
        match Integer::parse(&text) {
            Some(number) => self.in_range(&number, &range, loc, json!(text)),
            None => self.note("int_parsing", loc, INT_PARSING, echo(json!(text)), None),
        }
    }

    /// A text in the query of at most so many code points; `Some(None)` where it is not there.
    pub fn query_text(&mut self, name: &'static str, at_most: usize) -> Option<Option<String>> {
        let Some(text) = self.query_value(name)? else {
            return Some(None);
        };
        let loc = json!(["query", name]);
        self.measured(text, &(0..=at_most), loc, false).map(Some)
    }

    /// A text in the query that we sealed for a purpose and gave to the client; `Some(None)` where it is not there.
    pub fn query_sealed<T>(
        &mut self,
        name: &'static str,
        purpose: &str,
        unpack: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<Option<T>> {
        let Some(text) = self.query_value(name)? else {
            return Some(None);
        };
        match self
            .keys
            .unseal(purpose, &text)
            .and_then(|bytes| unpack(&bytes))
        {
            Some(value) => Some(Some(value)),
            None => self.note_value(
                json!(["query", name]),
                "It was not made by this API",
                echo(json!(text)),
            ),
        }
    }

    /// A text in the body, measured in code points.
    pub fn text(&mut self, name: &'static str, length: RangeInclusive<usize>) -> Option<String> {
        let text = self.unmeasured(name, false)?;
        self.measured(text, &length, json!(["body", name]), false)
    }

    /// A text in the body that no problem ever repeats.
    pub fn secret(&mut self, name: &'static str, length: RangeInclusive<usize>) -> Option<String> {
        let text = self.unmeasured(name, true)?;
        self.measured(text, &length, json!(["body", name]), true)
    }

    /// A password in the body, exactly as it came.
    pub fn password(
        &mut self,
        name: &'static str,
        length: RangeInclusive<usize>,
    ) -> Option<Password> {
        self.secret(name, length).map(Password::new)
    }

    /// A password that is to be stored: long enough, and not one that is tried first, by everybody or, as `guessed`
    /// says by a reason, for this account.
    pub fn new_password(
        &mut self,
        name: &'static str,
        guessed: impl FnOnce(&Password) -> Option<&'static str>,
    ) -> Option<Password> {
        let password = self.password(name, 8..=128)?;
        let reason = if password.is_common() {
            Some("This password is among the most common ones")
        } else if password.is_service_name() {
            Some("This password is the name of this service")
        } else {
            guessed(&password)
        };
        match reason {
            Some(reason) => self.note_value(json!(["body", name]), reason, Value::Null),
            None => Some(password),
        }
    }

    /// A text in the body that `parse` makes something of, or says in a sentence why not.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.unmeasured(name, false)?;
        parse(&text).map_or_else(
            |reason| self.note_value(json!(["body", name]), reason, echo(json!(text))),
            Some,
        )
    }

    /// A text in the body that is either not there or the one that is expected.
    pub fn only(&mut self, name: &'static str, expected: &'static str) -> Option<()> {
        match self.find(name)? {
            Some(Found::Text(text)) if text != expected => {
                let pattern = format!("^{expected}$");
                let message = format!("String should match pattern '{pattern}'");
                let loc = json!(["body", name]);
                self.note(
                    "string_pattern_mismatch",
                    loc,
                    &message,
                    echo(json!(text)),
                    Some(json!({ "pattern": pattern })),
                )
            }
            _ => Some(()),
        }
    }

    /// A whole number in the body within a range.
    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let (number, is_strict, input) = self.number(name)?;
        let loc = json!(["body", name]);
        let number = self.in_range(&number, &range, loc.clone(), input.clone())?;
        // A number in quotes is none, but the range is judged first, as it always was.
        if is_strict {
            Some(number)
        } else {
            self.note("int_type", loc, INT_TYPE, input, None)
        }
    }

    /// An id in the body: an integer, however large.
    pub fn id(&mut self, name: &'static str) -> Option<Id> {
        match self.number(name)? {
            (number, true, _) => Some(number.into()),
            (_, false, input) => {
                self.note("int_type", json!(["body", name]), INT_TYPE, input, None)
            }
        }
    }

    /// A boolean in the body; `Some(None)` where it is not there.
    pub fn boolean(&mut self, name: &'static str) -> Option<Option<bool>> {
        match self.find(name)? {
            None => Some(None),
            Some(Found::Json(value)) if value.get() == "true" => Some(Some(true)),
            Some(Found::Json(value)) if value.get() == "false" => Some(Some(false)),
            Some(found) => self.note(
                "bool_type",
                json!(["body", name]),
                "Input should be a valid boolean",
                found.echo(),
                None,
            ),
        }
    }

    /// Every problem, those of fields that the route does not know last.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        match &self.body {
            BodyFields::Json(object) => {
                let unknown = object
                    .iter()
                    .filter(|(name, _)| !self.known.contains(&name.as_str()));
                let mut spoiled: Vec<_> = unknown
                    .filter(|(name, value)| name.contains('\0') || json::has_nul(value))
                    .map(|(name, value)| (value.get().as_ptr(), name.clone()))
                    .collect();
                // Values are slices of the body, so their addresses have its order.
                spoiled.sort_unstable();
                for (_, name) in spoiled {
                    self.note_value::<()>(json!(["body", name]), NUL, Value::Null);
                }
            }
            BodyFields::Form(form) => {
                let is_spoiled = has_spoiled(&form.pairs, &self.known);
                let unknown = form.files.iter();
                let unknown: Vec<_> = unknown
                    .filter(|name| !self.known.contains(&name.as_str()))
                    .cloned()
                    .collect();
                for name in unknown {
                    self.note_value::<()>(json!(["body", name]), A_FILE, Value::Null);
                }
                if is_spoiled {
                    self.note_value::<()>(json!(["body"]), NOT_TEXT, Value::Null);
                }
            }
            _ => {}
        }
        if has_spoiled(&self.query, &[])
            && !self
                .problems
                .iter()
                .any(|problem| problem.loc[0] == "query")
        {
            self.note_value::<()>(json!(["query"]), NOT_TEXT, Value::Null);
        }
        self.problems
    }

    /// The last value of a name in the query; `None` for one that is no text.
    fn query_value(&mut self, name: &'static str) -> Option<Option<String>> {
        let value = self
            .query
            .iter()
            .flatten()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone());
        if value.as_deref().is_some_and(|value| value.contains('\0')) {
            return self.note_value(json!(["query", name]), NUL, Value::Null);
        }
        Some(value)
    }

    /// The value of a name in the body: `Some(None)` where it is not there, `None` where the body is no body
    /// or has the name twice.
    fn find(&mut self, name: &'static str) -> Option<Option<Found<'a>>> {
        self.known.push(name);
        match &self.body {
            BodyFields::Nothing => Some(None),
            BodyFields::Missing => self.note_once("missing", "Field required"),
            BodyFields::NotAnObject => self.note_once(
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            ),
            BodyFields::Json(object) => Some(object.get(name).map(|value| Found::Json(value))),
            BodyFields::Form(form) => {
                if form.files.iter().any(|file| file == name) {
                    return self.note_value(json!(["body", name]), A_FILE, Value::Null);
                }
                // An empty field counts as none, as it always did.
                let mut values = form.pairs.iter().flatten().filter(|(key, _)| key == name);
                let value = values
                    .next()
                    .map(|(_, value)| value.clone())
                    .filter(|value| !value.is_empty());
                if values.next().is_some() {
                    return self.note_value(
                        json!(["body", name]),
                        "The field stands twice in the form",
                        Value::Null,
                    );
                }
                Some(value.map(Found::Text))
            }
        }
    }

    fn require(&mut self, name: &'static str) -> Option<Found<'a>> {
        let found = self.find(name)?;
        if found.is_none() {
            self.note::<()>(
                "missing",
                json!(["body", name]),
                "Field required",
                Value::Null,
                None,
            );
        }
        found
    }

    fn unmeasured(&mut self, name: &'static str, is_secret: bool) -> Option<String> {
        let found = self.require(name)?;
        let input = if is_secret { Value::Null } else { found.echo() };
        let loc = json!(["body", name]);
        match found.text() {
            None => self.note(
                "string_type",
                loc,
                "Input should be a valid string",
                input,
                None,
            ),
            Some(text) if text.contains('\0') => self.note_value(loc, NUL, input),
            Some(text) => Some(text.into_owned()),
        }
    }

    fn measured(
        &mut self,
        text: String,
        length: &RangeInclusive<usize>,
        loc: Value,
        is_secret: bool,
    ) -> Option<String> {
        if text.contains('\0') {
            return self.note_value(loc, NUL, Value::Null);
        }
        let count = text.chars().count();
        let input = || {
            if is_secret {
                Value::Null
            } else {
                echo(json!(text))
            }
        };
        if count < *length.start() {
            let least = length.start();
            let message = format!("String should have at least {}", characters(*least));
            self.note(
                "string_too_short",
                loc,
                &message,
                input(),
                Some(json!({ "min_length": least })),
            )
        } else if count > *length.end() {
            let most = length.end();
            let message = format!("String should have at most {}", characters(*most));
            self.note(
                "string_too_long",
                loc,
                &message,
                input(),
                Some(json!({ "max_length": most })),
            )
        } else {
            Some(text)
        }
    }

    /// A number in the body, whether it is a JSON integer, and the value as it came. What is no integer but
    /// was once taken for one is read too, so that its range can be judged.
    fn number(&mut self, name: &'static str) -> Option<(Integer, bool, Value)> {
        let found = self.require(name)?;
        let input = found.echo();
        let loc = json!(["body", name]);
        let text = found.text();
        let written = match &found {
            Found::Json(value) => value.get(),
            Found::Text(text) => text,
        };
        let is_strict = text.is_none()
            && written
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_digit());
        match (
            Integer::parse(text.as_deref().unwrap_or(written)),
            text.is_some(),
        ) {
            (Some(number), _) => Some((number, is_strict, input)),
            (None, true) => self.note("int_parsing", loc, INT_PARSING, input, None),
            (None, false) => self.note("int_type", loc, INT_TYPE, input, None),
        }
    }

    fn in_range(
        &mut self,
        number: &Integer,
        range: &RangeInclusive<i64>,
        loc: Value,
        input: Value,
    ) -> Option<i64> {
        let number = number.clamped();
        let (least, most) = (range.start(), range.end());
        if number < *least {
            let message = format!("Input should be greater than or equal to {least}");
            self.note(
                "greater_than_equal",
                loc,
                &message,
                input,
                Some(json!({ "ge": least })),
            )
        } else if number > *most {
            let message = format!("Input should be less than or equal to {most}");
            self.note(
                "less_than_equal",
                loc,
                &message,
                input,
                Some(json!({ "le": most })),
            )
        } else {
            Some(number)
        }
    }

    /// Notes a problem of the whole body, which every field would find.
    fn note_once<T>(&mut self, kind: &'static str, message: &str) -> Option<T> {
        if self
            .problems
            .iter()
            .any(|problem| problem.loc == [json!("body")])
        {
            return None;
        }
        self.note(kind, json!(["body"]), message, Value::Null, None)
    }

    fn note_value<T>(&mut self, loc: Value, reason: &str, input: Value) -> Option<T> {
        self.problems
            .push(Problem::of_value(steps(loc), reason, input));
        None
    }

    fn note<T>(
        &mut self,
        kind: &'static str,
        loc: Value,
        message: &str,
        input: Value,
        ctx: Option<Value>,
    ) -> Option<T> {
        self.problems.push(Problem {
            kind,
            loc: steps(loc),
            msg: message.to_owned(),
            input,
            ctx,
        });
        None
    }
}

/// A place as the steps that lead to it.
fn steps(loc: Value) -> Vec<Value> {
    match loc {
        Value::Array(loc) => loc,
        loc => vec![loc],
    }
}

const INT_PARSING: &str = "Input should be a valid integer, unable to parse string as an integer";
const INT_TYPE: &str = "Input should be a valid integer";
const NUL: &str = "U+0000 cannot be stored";
const A_FILE: &str = "The form takes text and no files";
const NOT_TEXT: &str = "Every name and value must be UTF-8 without U+0000";

impl Found<'_> {
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(value) => serde_json::from_str(value.get()).ok().map(Cow::Owned),
            Self::Text(text) => Some(Cow::Borrowed(text)),
        }
    }

    fn echo(&self) -> Value {
        match self {
            Self::Json(value) if value.get().len() > MAX_ECHO_BYTES => Value::Null,
            Self::Json(value) => serde_json::from_str(value.get()).unwrap_or_default(),
            Self::Text(text) => echo(json!(text)),
        }
    }
}

fn echo(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > MAX_ECHO_BYTES => Value::Null,
        value => value,
    }
}

fn characters(count: usize) -> String {
    if count == 1 {
        "1 character".to_owned()
    } else {
        format!("{count} characters")
    }
}

/// Whether a name or a value is no UTF-8, or holds U+0000 where no reader of the route looked.
fn has_spoiled(pairs: &[Pair], known: &[&str]) -> bool {
    pairs.iter().any(|pair| match pair {
        None => true,
        Some((name, value)) => {
            !known.contains(&name.as_str()) && (name.contains('\0') || value.contains('\0'))
        }
    })
}
