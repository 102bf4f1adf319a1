//! `local/api.http` walks through the whole API, as it stands there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::world::Request;

const FILE: &str = include_str!("../../api.http");
const DOCUMENT: &str = include_str!("../../../functions/system/openapi.json");

/// One request of the file, its variables not yet filled in.
struct Written {
    title: &'static str,
    status: u16,
    name: Option<&'static str>,
    method: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

/// The variables of the file, and its requests in order.
fn read() -> (BTreeMap<&'static str, &'static str>, Vec<Written>) {
    let mut parts = FILE.split("\n### ");
    let variables = parts
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix('@')?.split_once(" = "))
        .collect();
    (variables, parts.map(read_request).collect())
}

fn read_request(text: &'static str) -> Written {
    let mut lines = text.lines();
    let title = lines.next().unwrap();
    let (_, status) = title.rsplit_once('(').unwrap();
    let mut name = None;
    let mut lines = lines.skip_while(|line| {
        name = line.strip_prefix("# @name ").or(name);
        line.starts_with('#')
    });
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let headers = lines.by_ref().take_while(|line| !line.is_empty());
    let headers = headers.map(|line| line.split_once(": ").unwrap()).collect();
    let body = lines.collect::<Vec<_>>().join("\n").trim_end().to_owned();
    Written {
        title,
        status: status.trim_end_matches(')').parse().unwrap(),
        name,
        method,
        target,
        headers,
        body,
    }
}

/// What the variables stand for.
struct Values {
    variables: BTreeMap<&'static str, &'static str>,
    /// The answers to requests that have a name.
    answers: BTreeMap<&'static str, Value>,
}

impl Values {
    /// A text with every `{{variable}}` filled in.
    fn fill(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once("{{") else {
            return text.to_owned();
        };
        let (variable, after) = rest.split_once("}}").unwrap();
        format!("{before}{}{}", self.of(variable), self.fill(after))
    }

    fn of(&self, variable: &str) -> String {
        if let Some(value) = self.variables.get(variable) {
            return self.fill(value);
        }
        // logIn.response.body.$.access_token
        let (name, path) = variable.split_once(".response.body.$").unwrap();
        let answer = &self.answers[name];
        let pointer = path.replace(['.', '['], "/").replace(']', "");
        match answer.pointer(&pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            other => panic!("{variable} is {other:?}"),
        }
    }
}

/// The path of the document that a request goes to: the one that has the most of it literally.
fn route_of<'a>(paths: &'a serde_json::Map<String, Value>, target: &str) -> &'a str {
    let path = target.split('?').next().unwrap();
    let fits = |route: &str| {
        let (route, path) = (route.split('/'), path.split('/'));
        route.clone().count() == path.clone().count()
            && route
                .zip(path)
                .all(|(segment, given)| segment == given || segment.starts_with('{'))
    };
    let routes = paths.keys().filter(|route| fits(route));
    routes
        .min_by_key(|route| route.matches('{').count())
        .unwrap()
}

at_both_doors! {
    async fn the_file_works_from_top_to_bottom_and_once_more(world: World) {
        let (variables, requests) = read();
        let mut values = Values { variables, answers: BTreeMap::new() };
        // Requests go to this world, whatever its address.
        values.variables.insert("host", "");
        for written in requests.iter().chain(&requests) {
            let mut request = Request::new(written.method, &values.fill(written.target));
            for (name, value) in &written.headers {
                request = request.header(name, &values.fill(value));
            }
            let answer = world.send(request.body(values.fill(&written.body))).await;
            assert_eq!(answer.status.as_u16(), written.status, "{}: {}", written.title, answer.text());
            if let Some(name) = written.name {
                values.answers.insert(name, answer.json());
            }
        }
        assert_eq!(world.number("select count(*) from users").await, 0);
    }
}

#[test]
fn the_file_visits_every_route_of_the_document() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods = ["get", "post", "put", "delete"];
    let documented: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let has = methods.iter().filter(|method| item.get(**method).is_some());
            has.map(|method| (path.as_str(), method.to_uppercase()))
        })
        .collect();
    let (_, requests) = read();
    let visited: BTreeSet<_> = requests
        .iter()
        .map(|written| {
            let target = written.target.strip_prefix("{{host}}").unwrap();
            (route_of(paths, target), written.method.to_owned())
        })
        .collect();
    assert_eq!(visited, documented);
}
