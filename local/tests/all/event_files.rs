//! An event for every route, in `functions/*/events/`, for `cargo lambda invoke` and `sam local invoke`. They
//! are written by this test, from requests that the API answers, so that they cannot rot.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::world::{Door, PASSWORD, Request, World, credentials, http_event};

const README: &str = include_str!("../../../README.md");

/// What stands in an event where a client has a token of its own: whoever sends the event puts theirs there. A
/// token that works would be a secret, and one that has expired would be no use.
const ACCESS_TOKEN: &str = "PUT-AN-ACCESS-TOKEN-HERE";
const REFRESH_TOKEN: &str = "PUT-A-REFRESH-TOKEN-HERE";

/// A route as the README has it, the file of its event, and a request that it answers.
type Example = (&'static str, &'static str, Request);

/// In an order in which all succeed, after Ann has signed up, logged in and written a post.
fn examples() -> Vec<Example> {
    [of_posts(), of_sessions()].concat()
}

fn signed(request: Request) -> Request {
    request.bearer(ACCESS_TOKEN)
}

fn of_posts() -> Vec<Example> {
    let account = json!({ "email": "ann@example.com", "password": PASSWORD });
    let post = json!({ "title": "Hello", "content": "First post" });
    vec![
        ("GET /", "system/root", Request::get("/")),
        ("GET /health", "system/health", Request::get("/health")),
        (
            "GET /openapi.json",
            "system/openapi",
            Request::get("/openapi.json"),
        ),
        ("GET /docs", "system/docs", Request::get("/docs")),
        ("GET /redoc", "system/redoc", Request::get("/redoc")),
        (
            "POST /users/",
            "users/create",
            Request::post("/users/").json(&account),
        ),
        (
            "POST /auth/login",
            "auth/login",
            credentials("ann@example.com", PASSWORD),
        ),
        (
            "GET /users/me",
            "users/me",
            signed(Request::get("/users/me")),
        ),
        ("GET /users/{id}", "users/read", Request::get("/users/1")),
        (
            "POST /posts/",
            "posts/create",
            signed(Request::post("/posts/")).json(&post),
        ),
        (
            "GET /posts/",
            "posts/list",
            Request::get("/posts/?limit=10&search=hel"),
        ),
        ("GET /posts/{id}", "posts/read", Request::get("/posts/1")),
        (
            "PUT /posts/{id}",
            "posts/update",
            signed(Request::put("/posts/1")).json(&post),
        ),
        (
            "POST /vote/",
            "votes/vote",
            signed(Request::post("/vote/")).json(&json!({ "post_id": 1, "dir": 1 })),
        ),
        (
            "DELETE /posts/{id}",
            "posts/delete",
            signed(Request::delete("/posts/1")),
        ),
    ]
}

fn of_sessions() -> Vec<Example> {
    let held = json!({ "refresh_token": REFRESH_TOKEN });
    let change = json!({ "old_password": PASSWORD, "new_password": "amber-kestrel-77" });
    let leave = json!({ "password": "amber-kestrel-77" });
    vec![
        (
            "GET /auth/sessions",
            "auth/sessions",
            signed(Request::get("/auth/sessions")),
        ),
        (
            "POST /auth/refresh",
            "auth/refresh",
            Request::post("/auth/refresh").json(&held),
        ),
        (
            "POST /auth/logout",
            "auth/logout",
            Request::post("/auth/logout").json(&held),
        ),
        (
            "DELETE /auth/sessions/{id}",
            "auth/end-session",
            signed(Request::delete("/auth/sessions/1")),
        ),
        (
            "POST /auth/logout-all",
            "auth/logout-all",
            signed(Request::post("/auth/logout-all")),
        ),
        (
            "PUT /users/me/password",
            "users/change-password",
            signed(Request::put("/users/me/password")).json(&change),
        ),
        (
            "DELETE /users/me",
            "users/delete",
            signed(Request::delete("/users/me")).json(&leave),
        ),
    ]
}

/// The orders of the one function that no route leads to.
const ORDERS: [&str; 3] = ["migrate", "status", "clean-up"];

/// What every file should hold, by its path from the root of the repository.
fn wanted() -> BTreeMap<PathBuf, Value> {
    let path = |name: &str| {
        let (function, name) = name.split_once('/').unwrap();
        PathBuf::from(format!("functions/{function}/events/{name}.json"))
    };
    let of_routes = examples().into_iter().map(|(_, name, request)| {
        let request = request.header("user-agent", "example").from("127.0.0.1");
        let mut event = http_event(request, false);
        event["requestContext"]["http"]["userAgent"] = json!("example");
        (path(name), event)
    });
    let of_orders = ORDERS.iter().map(|action| {
        (
            path(&format!("migrate/{action}")),
            json!({ "action": action }),
        )
    });
    of_routes.chain(of_orders).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The files that are there.
fn found() -> BTreeMap<PathBuf, Value> {
    let mut found = BTreeMap::new();
    for function in fs::read_dir(root().join("functions")).unwrap() {
        let Ok(events) = fs::read_dir(function.unwrap().path().join("events")) else {
            continue;
        };
        for event in events {
            let path = event.unwrap().path();
            let event = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            found.insert(path.strip_prefix(root()).unwrap().to_owned(), event);
        }
    }
    found
}

#[test]
fn the_files_hold_these_events_and_there_are_no_others() {
    let wanted = wanted();
    if found() == wanted {
        return;
    }
    let draft = Path::new(env!("CARGO_TARGET_TMPDIR")).join("events");
    for (path, event) in &wanted {
        let path = draft.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{event:#}\n")).unwrap();
    }
    panic!(
        "the events are written anew by: rm -r functions/*/events; cp -r {}/functions .",
        draft.display()
    );
}

#[test]
fn every_route_of_the_readme_has_an_event() {
    let (_, table) = README.split_once("\n## Routes\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let routes: Vec<_> = table
        .lines()
        .filter_map(|row| row.strip_prefix("| `"))
        .map(|row| row.split(['?', '`']).next().unwrap())
        .collect();
    assert!(routes.len() >= 19);
    let examples = examples();
    for route in routes {
        assert!(
            examples.iter().any(|(known, ..)| *known == route),
            "{route} has no event"
        );
    }
}

#[tokio::test]
async fn every_event_succeeds_when_it_has_somebodys_tokens() {
    let world = World::new(Door::Event).await;
    let (mut access_token, mut refresh_token) = (String::new(), String::new());
    for (route, name, _) in examples() {
        let (function, file) = name.split_once('/').unwrap();
        let path = root().join(format!("functions/{function}/events/{file}.json"));
        let event = fs::read_to_string(path).unwrap();
        // What ends a session comes one after the other.
        if [
            "auth/end-session",
            "auth/logout-all",
            "users/change-password",
            "users/delete",
        ]
        .contains(&name)
        {
            world
                .sql
                .batch_execute("truncate sessions restart identity cascade")
                .await
                .unwrap();
            let password = if name == "users/delete" {
                "amber-kestrel-77"
            } else {
                PASSWORD
            };
            let pair = world.log_in("ann@example.com", password).await.json();
            pair["access_token"]
                .as_str()
                .unwrap()
                .clone_into(&mut access_token);
        }
        let event = event
            .replace(ACCESS_TOKEN, &access_token)
            .replace(REFRESH_TOKEN, &refresh_token);
        let (_, path) = route.split_once(' ').unwrap();
        let answer = world
            .send_event(path, serde_json::from_str(&event).unwrap())
            .await;
        assert!(
            answer.status.is_success(),
            "{route}: {} {}",
            answer.status,
            answer.text()
        );
        if ["auth/login", "auth/refresh"].contains(&name) {
            let pair = answer.json();
            pair["access_token"]
                .as_str()
                .unwrap()
                .clone_into(&mut access_token);
            pair["refresh_token"]
                .as_str()
                .unwrap()
                .clone_into(&mut refresh_token);
        }
    }
}
