//! The OpenAPI document as a judge: what it does not allow, no test may see.

mod event;
mod request;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, LazyLock, Mutex},
};

use axum::http::{HeaderMap, HeaderValue, Method, header};
use jsonschema::{Draft, Validator};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Answer, Request};

pub(super) use event::request_of;

/// The document that the API sends.
pub(crate) static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let text = include_str!("../../../../functions/system/openapi.json");
    Document::new(serde_json::from_str(text).unwrap())
});

/// What HTTP itself or the server of `local` adds to answers, and no route does.
const OF_HTTP: [&str; 4] = ["content-length", "content-type", "date", "vary"];

/// What is escaped in a fragment of a URI that is a pointer.
const NOT_IN_FRAGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'~').remove(b'-');

/// A document, and its schemas as far as they were needed.
pub(crate) struct Document {
    root: Value,
    validators: Mutex<HashMap<(String, bool), Arc<Validator>>>,
}

/// A part of the document and where it stands.
#[derive(Clone)]
pub(crate) struct Part<'a> {
    document: &'a Document,
    pointer: String,
    pub(crate) value: &'a Value,
}

/// What a request asks for, by its path and method.
enum Route<'d, 'r> {
    UnknownPath,
    UnknownMethod {
        path: Part<'d>,
    },
    Operation {
        path: Part<'d>,
        operation: Part<'d>,
        /// The values of the parameters in the path, escaped.
        values: HashMap<&'d str, &'r str>,
    },
}

impl Document {
    pub(crate) fn new(root: Value) -> Self {
        Self {
            root,
            validators: Mutex::default(),
        }
    }

    /// A copy with a change, to see what it breaks.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Value)) -> Self {
        let mut root = self.root.clone();
        change(&mut root);
        Self::new(root)
    }

    pub(crate) fn root(&self) -> Part<'_> {
        Part {
            document: self,
            pointer: String::new(),
            value: &self.root,
        }
    }

    /// Every path with the methods that answer it, `HEAD` among them wherever there is `GET`. Paths are without
    /// a slash at the end.
    pub(crate) fn routes(&self) -> Vec<(&str, BTreeSet<Method>)> {
        self.root()
            .get("paths")
            .unwrap()
            .members()
            .map(|(path, item)| (without_slash(path), item.methods()))
            .collect()
    }

    /// What the document says of a method and a path that it lists.
    pub(crate) fn operation(&self, method: &str, path: &str) -> Option<Part<'_>> {
        self.root()
            .at(&["paths", path, &method.to_ascii_lowercase()])
    }

    /// The response that an answer is an instance of.
    pub(crate) fn response(&self, request: &Request, answer: &Answer) -> Option<Part<'_>> {
        match self.route(request) {
            Route::UnknownPath => self.root().at(&["x-unlisted", "path"]),
            Route::UnknownMethod { .. } => self.root().at(&["x-unlisted", "method"]),
            Route::Operation { operation, .. } => {
                operation.at(&["responses", answer.status.as_str()])
            }
        }
    }

    /// Says where the document does not allow an answer to a request, or a request that was accepted, or allows
    /// one that was refused.
    pub(crate) fn judge(&self, request: &Request, answer: &Answer) -> Result<(), String> {
        if is_answer_to_preflight(request, answer) || is_part_of_a_page(request, answer) {
            return Ok(());
        }
        let is_head = request.method == Method::HEAD;
        let unlisted = |name| self.root().at(&["x-unlisted", name]).unwrap();
        let judged = match self.route(request) {
            Route::UnknownPath => unlisted("path").judge_status(answer, 404, is_head),
            Route::UnknownMethod { path } => unlisted("method")
                .judge_status(answer, 405, is_head)
                .and_then(|()| path.judge_allow(answer)),
            Route::Operation {
                path,
                operation,
                values,
            } => {
                let status = answer.status.as_u16().to_string();
                operation
                    .demand("responses")
                    .and_then(|responses| responses.demand(&status))
                    .and_then(|response| response.judge_answer(answer, is_head))
                    .and_then(|()| request::judge(&path, &operation, &values, request, answer))
            }
        };
        judged.map_err(|why| {
            format!(
                "{} {} was answered with {}, and the document says otherwise:\n{why}\nheaders: {:?}\nbody: {}",
                request.method, request.target, answer.status, answer.headers, answer.text()
            )
        })
    }

    /// Fails the test where the document and an answer differ.
    pub(crate) fn demand(&self, request: &Request, answer: &Answer) {
        if let Err(why) = self.judge(request, answer) {
            panic!("{why}");
        }
    }

    fn route<'d, 'r>(&'d self, request: &'r Request) -> Route<'d, 'r> {
        let target = &request.target;
        let asked = without_slash(target.split('?').next().unwrap_or_default());
        let paths = self.root().get("paths").unwrap();
        // A path without parameters goes before one with them.
        let found = paths
            .members()
            .filter_map(|(path, item)| Some((values(without_slash(path), asked)?, item)))
            .min_by_key(|(values, _)| values.len());
        let Some((values, path)) = found else {
            return Route::UnknownPath;
        };
        let method = match request.method.as_str() {
            "HEAD" => "get".to_owned(),
            method => method.to_ascii_lowercase(),
        };
        let is_listed = path.methods().contains(&request.method);
        match path.get(&method).filter(|_| is_listed) {
            Some(operation) => Route::Operation {
                path,
                operation,
                values,
            },
            None => Route::UnknownMethod { path },
        }
    }

    /// The validator of the schema at a pointer, and of the formats in it.
    fn validator(&self, pointer: &str, with_formats: bool) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators
            .entry((pointer.to_owned(), with_formats))
            .or_insert_with(|| {
                // The whole document as a schema that is one of its parts, so that references find theirs.
                let mut schema = self.root.clone();
                let fragment = utf8_percent_encode(pointer, NOT_IN_FRAGMENT);
                schema["$ref"] = json!(format!("#{fragment}"));
                let validator = jsonschema::options()
                    .with_draft(Draft::Draft202012)
                    .should_validate_formats(with_formats)
                    .build(&schema);
                Arc::new(validator.unwrap_or_else(|error| panic!("{pointer}: {error}")))
            });
        Arc::clone(validator)
    }
}

impl<'a> Part<'a> {
    /// A member, or what it refers to.
    pub(crate) fn get(&self, name: &str) -> Option<Self> {
        let member = self.member(name)?;
        Some(match member.value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap_or(reference);
                let value = self.document.root.pointer(pointer);
                Self {
                    document: self.document,
                    pointer: pointer.to_owned(),
                    value: value.unwrap_or_else(|| panic!("{reference} refers to nothing")),
                }
            }
            None => member,
        })
    }

    /// What such a path of members leads to.
    pub(crate) fn at(&self, names: &[&str]) -> Option<Self> {
        names
            .iter()
            .try_fold(self.clone(), |part, name| part.get(name))
    }

    /// Where this part stands, as a JSON pointer (RFC 6901).
    pub(crate) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Whatever stands directly in this part, references as they are.
    pub(crate) fn inner(&self) -> Vec<Self> {
        let names: Vec<String> = match self.value {
            Value::Object(members) => members.keys().cloned().collect(),
            Value::Array(elements) => (0..elements.len()).map(|at| at.to_string()).collect(),
            _ => Vec::new(),
        };
        names.iter().filter_map(|name| self.member(name)).collect()
    }

    /// The examples of a part that has a schema.
    pub(crate) fn examples(&self) -> Vec<Self> {
        if self.value.get("schema").is_none() {
            return Vec::new();
        }
        let many = self.member("examples").into_iter();
        let many = many
            .flat_map(|examples: Self| examples.inner())
            .filter_map(|example| example.member("value"));
        self.member("example").into_iter().chain(many).collect()
    }

    /// The example of this name, or the only one where the name is empty.
    #[track_caller]
    pub(crate) fn example(&self, name: &str) -> Self {
        let example = match name {
            "" => self.member("example"),
            name => self.at(&["examples", name, "value"]),
        };
        example.unwrap_or_else(|| panic!("{self} has no example {name}"))
    }

    /// A member as it stands there.
    fn member(&self, name: &str) -> Option<Self> {
        Some(Self {
            document: self.document,
            pointer: format!(
                "{}/{}",
                self.pointer,
                name.replace('~', "~0").replace('/', "~1")
            ),
            value: match self.value {
                Value::Array(elements) => elements.get(name.parse::<usize>().ok()?)?,
                value => value.get(name)?,
            },
        })
    }

    fn demand(&self, name: &str) -> Result<Self, String> {
        self.get(name)
            .ok_or_else(|| format!("{self} has no {name}"))
    }

    /// Names and members, or what they refer to.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let names = self
            .value
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::keys);
        names.filter_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    /// The elements of a list, or what they refer to.
    fn elements(&self) -> impl Iterator<Item = Self> {
        let length = self.value.as_array().map_or(0, Vec::len);
        (0..length).filter_map(|at| self.get(&at.to_string()))
    }

    /// What a path answers to.
    fn methods(&self) -> BTreeSet<Method> {
        let mut methods = BTreeSet::new();
        for (name, _) in self.members() {
            match name {
                "get" => methods.extend([Method::GET, Method::HEAD]),
                "put" | "post" | "delete" | "patch" | "options" | "trace" => {
                    methods.insert(name.to_ascii_uppercase().parse().unwrap());
                }
                _ => {}
            }
        }
        methods
    }

    /// What is wrong with a value by the schema of this part. What a client sends may come near its format, an
    /// address with white space around it; what it gets has it.
    pub(crate) fn faults(&self, value: &Value, with_formats: bool) -> Vec<String> {
        let schema = self.member("schema").unwrap();
        self.document
            .validator(&schema.pointer, with_formats)
            .iter_errors(value)
            .map(|error| {
                format!(
                    "{schema}, {}: at \"{}\": {error}",
                    error.schema_path(),
                    error.instance_path()
                )
            })
            .collect()
    }

    fn judge_value(&self, value: &Value) -> Result<(), String> {
        let faults = self.faults(value, true);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("\n"))
        }
    }

    fn judge_status(&self, answer: &Answer, status: u16, is_head: bool) -> Result<(), String> {
        if answer.status.as_u16() == status {
            self.judge_answer(answer, is_head)
        } else {
            Err(format!("{self} is a {status}"))
        }
    }

    /// Holds an answer against this response.
    fn judge_answer(&self, answer: &Answer, is_head: bool) -> Result<(), String> {
        self.judge_headers(&answer.headers)?;
        let Some(content) = self.get("content") else {
            return if answer.body.is_empty() && answer.header("content-type").is_none() {
                Ok(())
            } else {
                Err(format!("{self} has no content"))
            };
        };
        let content_type = answer.header("content-type").unwrap_or_default();
        let media = content.demand(content_type)?;
        match (is_head, content_type) {
            (true, _) if answer.body.is_empty() => Ok(()),
            (true, _) => Err("HEAD has no body".to_owned()),
            (false, "application/json") => {
                let body = serde_json::from_slice(&answer.body);
                media.judge_value(&body.map_err(|error| format!("{media} is no JSON: {error}"))?)
            }
            (false, _) => media.judge_value(&json!(answer.text())),
        }
    }

    fn judge_headers(&self, headers: &HeaderMap) -> Result<(), String> {
        let listed = self.demand("headers")?;
        for (name, header) in listed.members() {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (Some(value), None) => header.judge_value(&header_value(&header, value))?,
                (Some(_), Some(_)) => return Err(format!("{header} comes twice")),
                (None, _) if header.value["required"] == true => {
                    return Err(format!("{header} is required"));
                }
                (None, _) => {}
            }
        }
        let is_listed = |name: &str| {
            listed
                .members()
                .any(|(listed, _)| listed.eq_ignore_ascii_case(name))
        };
        let is_of_http =
            |name: &str| OF_HTTP.contains(&name) || name.starts_with("access-control-");
        match headers
            .keys()
            .find(|name| !is_listed(name.as_str()) && !is_of_http(name.as_str()))
        {
            Some(name) => Err(format!("{listed} has no {name}")),
            None => Ok(()),
        }
    }

    /// Holds `Allow` against the methods of this path.
    fn judge_allow(&self, answer: &Answer) -> Result<(), String> {
        let allowed = answer.header("allow").unwrap_or_default().split(',');
        let allowed: BTreeSet<Method> = allowed.map(|name| name.trim().parse().unwrap()).collect();
        if allowed == self.methods() {
            Ok(())
        } else {
            Err(format!("{self} has {:?}", self.methods()))
        }
    }
}

/// The pointer, which an editor finds.
impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pointer)
    }
}

fn without_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        None | Some("") => path,
        Some(path) => path,
    }
}

/// The values of the parameters of a path, if a request is for it.
fn values<'d, 'r>(path: &'d str, asked: &'r str) -> Option<HashMap<&'d str, &'r str>> {
    let (mut path, mut asked) = (path.split('/'), asked.split('/'));
    let mut values = HashMap::new();
    loop {
        match (path.next(), asked.next()) {
            (None, None) => return Some(values),
            (Some(part), Some(value)) => {
                let name = part
                    .strip_prefix('{')
                    .and_then(|part| part.strip_suffix('}'));
                match name {
                    Some(name) if !value.is_empty() => {
                        values.insert(name, value);
                    }
                    None if part == value => {}
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

/// A header as its schema sees it.
fn header_value(header: &Part<'_>, value: &HeaderValue) -> Value {
    let text = value.to_str().unwrap_or_default();
    match (header.value["schema"]["type"].as_str(), text.parse::<i64>()) {
        (Some("integer"), Ok(number)) => json!(number),
        _ => json!(text),
    }
}

/// The scripts and styles of the pages belong to them and not to the API, and are named by their content. Where
/// there is none of that name, it is a path that is not listed.
fn is_part_of_a_page(request: &Request, answer: &Answer) -> bool {
    request.target.starts_with("/docs/") && answer.header("content-encoding") == Some("gzip")
}

/// Before a browser lets a page ask, it asks itself (Fetch standard, section 4.8). The gateway answers that, or
/// `local` in its place, and no route.
fn is_answer_to_preflight(request: &Request, answer: &Answer) -> bool {
    request.method == Method::OPTIONS
        && request
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && answer
            .headers
            .contains_key(header::ACCESS_CONTROL_ALLOW_METHODS)
}
