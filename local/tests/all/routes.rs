//! What all paths have in common: slashes, methods, headers, CORS, and the health of the service.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::collections::BTreeSet;

use axum::http::HeaderName;
use serde_json::json;

use crate::world::{Answer, Door, PASSWORD, Request, World, credentials};

/// Every path of the API and the methods that it has.
const PATHS: [(&str, &[&str]); 11] = [
    ("/", &["GET", "HEAD"]),
    ("/health", &["GET", "HEAD"]),
    ("/users", &["POST"]),
    ("/users/1", &["GET", "HEAD"]),
    ("/auth/login", &["POST"]),
    ("/auth/refresh", &["POST"]),
    ("/auth/logout", &["POST"]),
    ("/auth/logout-all", &["POST"]),
    ("/posts", &["GET", "HEAD", "POST"]),
    ("/posts/1", &["GET", "HEAD", "PUT", "DELETE"]),
    ("/vote", &["POST"]),
];

at_both_doors! {
    async fn a_trailing_slash_never_matters(world: World) {
        world.join("ann").await.publishes(&world, "title").await;
        for (path, methods) in PATHS {
            for method in methods {
                let bare = world.send(Request::new(method, path)).await;
                let slashed = format!("{}/", path.trim_end_matches('/'));
                let slashed = world.send(Request::new(method, &slashed)).await;
                assert_eq!(told(&bare), told(&slashed), "{method} {path}");
                let expected: &[u16] = match (*method, path) {
                    ("GET" | "HEAD", _) => &[200],
                    ("POST", "/posts" | "/vote" | "/auth/logout-all") | ("PUT" | "DELETE", _) => &[401],
                    _ => &[422],
                };
                assert!(expected.contains(&bare.status.as_u16()), "{method} {path}: {}", bare.status);
            }
        }
        let first = world.get("/posts?limit=1").await;
        assert_eq!(first.json().as_array().unwrap().len(), 1);
        assert_eq!(told(&first), told(&world.get("/posts/?limit=1").await));
    }

    async fn what_is_sent_to_a_path_with_a_slash_is_done(world: World) {
        let ann = world.join("ann").await;
        let post = json!({ "title": "title", "content": "content" });
        for (path, location) in [("/posts", "/posts/1"), ("/posts/", "/posts/2")] {
            let made = world.send(Request::post(path).bearer(&ann.access_token).json(&post)).await;
            assert_eq!((made.status.as_u16(), &*made.location(path)), (201, location));
        }
        for path in ["/posts/1", "/posts/2/"] {
            let changed = world.send(Request::put(path).bearer(&ann.access_token).json(&post)).await;
            assert_eq!(changed.status, 200, "{path}");
            let deleted = world.send(Request::delete(path).bearer(&ann.access_token)).await;
            assert_eq!((deleted.status.as_u16(), deleted.text()), (204, String::new()), "{path}");
            deleted.assert_common();
        }
        assert_eq!(world.number("select count(*) from posts").await, 0);
    }

    async fn head_answers_as_get_does_but_without_a_body(world: World) {
        world.join("ann").await.publishes(&world, "title").await;
        world.join("ben").await.publishes(&world, "title").await;
        let targets = [
            "/", "/health", "/users/1", "/users/7", "/users/x", "/posts", "/posts/?limit=1", "/posts?limit=x",
            "/posts/1", "/posts/7", "/posts/x/", "/nothing",
        ];
        for target in targets {
            let mut get = world.get(target).await;
            let mut head = world.send(Request::new("HEAD", target)).await;
            assert_eq!(head.text(), "", "{target}");
            assert!(!get.body.is_empty(), "{target}");
            assert_eq!(head.status, get.status, "{target}");
            head.assert_common();
            for answer in [&mut get, &mut head] {
                // New with each answer.
                answer.headers.remove("x-request-id");
                answer.headers.remove("date");
            }
            if let Some(length) = get.header("content-length") {
                assert_eq!(length, get.body.len().to_string(), "{target}");
            }
            // The cursor of the next page is the same: it holds a key, not a time.
            assert_eq!(head.headers, get.headers, "{target}");
        }
        let refused = world.send(Request::new("HEAD", "/posts").bearer("bad")).await;
        assert_eq!((refused.status.as_u16(), refused.text()), (401, String::new()));
        assert_eq!(refused.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    }

    async fn another_method_is_refused_and_those_that_the_path_has_are_listed(world: World) {
        let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY"];
        for (path, allowed) in PATHS {
            for method in methods.iter().filter(|method| !allowed.contains(method)) {
                for path in [path.to_owned(), format!("{}/", path.trim_end_matches('/'))] {
                    let request = Request::new(method, &path).header("content-type", "text/plain").body("{");
                    let answer = world.send(if *method == "TRACE" { Request::new(method, &path) } else { request }).await;
                    if *method == "HEAD" {
                        assert_eq!((answer.status.as_u16(), answer.text()), (405, String::new()), "{path}");
                        answer.assert_common();
                    } else {
                        answer.assert_detail(405, "Method Not Allowed");
                    }
                    let listed: BTreeSet<_> =
                        answer.header("allow").unwrap().split(',').map(str::trim).collect();
                    assert_eq!(listed, allowed.iter().copied().collect(), "{method} {path}");
                }
            }
        }
    }

    async fn an_unknown_path_is_told_in_json_whatever_the_method(world: World) {
        let paths = [
            "/nothing", "/nothing/", "/auth", "/auth/", "/auth/nothing", "/auth/login/now", "/AUTH/login",
            "/users/1/posts", "/Users", "/posts/1/votes", "/posts/1/2/", "/posts//", "/vote/1", "/votes",
            "/health/now", "/Health", "/post%73/1/x", "/%2e",
        ];
        for path in paths {
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                let answer = world.send(Request::new(method, path)).await;
                answer.assert_detail(404, "Not Found");
                assert_eq!(answer.header("allow"), None, "{method} {path}");
            }
        }
    }

    async fn what_concerns_people_is_never_stored_by_a_cache(world: World) {
        let ann = world.join("ann").await;
        let account = json!({ "email": "ann@example.com", "password": PASSWORD });
        let token = json!({ "refresh_token": ann.refresh_token });
        let requests = [
            (201, Request::post("/users").json(&json!({ "email": "ben@example.com", "password": PASSWORD }))),
            (409, Request::post("/users/").json(&account)),
            (413, Request::post("/users").json_text(&" ".repeat(8193))),
            (415, Request::post("/users").header("content-type", "text/plain").body("{}")),
            (422, Request::post("/users").json_text("{")),
            (405, Request::put("/users")),
            (200, Request::get("/users/1")),
            (401, Request::get("/users/1").bearer("bad")),
            (404, Request::get("/users/7")),
            (422, Request::get("/users/x")),
            (404, Request::get("/users/1/2")),
            (200, credentials("ann@example.com", PASSWORD)),
            (401, credentials("ann@example.com", "wrong")),
            (422, Request::post("/auth/login").form("username=ann")),
            (405, Request::get("/auth/login")),
            (404, Request::get("/auth")),
            (401, Request::post("/auth/refresh").json(&json!({ "refresh_token": "bad" }))),
            (200, Request::post("/auth/logout").json(&token)),
            (404, Request::post("/auth/logout/").json(&token)),
            (401, Request::post("/auth/logout-all")),
        ];
        for (status, request) in requests {
            let asked = format!("{} {}", request.method, request.target);
            let answer = world.send(request).await;
            assert_eq!(answer.status.as_u16(), status, "{asked}: {}", answer.text());
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{asked}");
        }
    }

    async fn health_is_good_while_the_schema_is_current_or_ahead(world: World) {
        let good = json!({ "status": "ok" });
        let behind = "The database schema is behind; run the migrations";
        world.get("/health").await.assert(200, &good);
        let later = "insert into refinery_schema_history (version, name) values (1000, 'later')";
        world.sql.batch_execute(later).await.unwrap();
        world.get("/health").await.assert(200, &good);
        let without_last = "delete from refinery_schema_history where version in (
            select version from refinery_schema_history order by version desc limit 2)";
        world.sql.batch_execute(without_last).await.unwrap();
        world.get("/health").await.assert_detail(503, behind);
        world.sql.batch_execute("delete from refinery_schema_history").await.unwrap();
        world.get("/health").await.assert_detail(503, behind);
        world.sql.batch_execute("drop table refinery_schema_history").await.unwrap();
        world.get("/health").await.assert_detail(503, behind);
    }
}

#[tokio::test]
async fn without_a_database_health_is_bad_and_the_root_still_answers() {
    for door in [Door::Http, Door::Event] {
        let world = World::with(door, |config| {
            config.database.as_mut().unwrap().port = closed_port();
        })
        .await;
        assert_eq!(world.get("/").await.status, 200);
        let answer = world.get("/health").await;
        answer.assert_detail(503, "Service Unavailable");
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn every_answer_over_http_has_an_id_of_its_own_which_is_never_the_clients() {
    let world = World::new(Door::Http).await;
    let mut ids = BTreeSet::new();
    for target in ["/", "/", "/nothing", "/posts/x"] {
        let answer = world
            .send(Request::get(target).header("x-request-id", "mine"))
            .await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert!(
            URL_SAFE_NO_PAD.decode(&id).is_ok_and(|id| id.len() == 16),
            "{id}"
        );
        assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
        ids.insert(id);
    }
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn on_lambda_the_id_is_the_one_that_the_platform_logs() {
    for door in [Door::Event, Door::RestEvent] {
        let world = World::new(door).await;
        for target in ["/", "/nothing", "/posts/x"] {
            let answer = world
                .send(Request::get(target).header("x-request-id", "mine"))
                .await;
            let ids: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
            assert_eq!(ids, ["lambda-request"], "{target}");
        }
    }
}

#[tokio::test]
async fn functions_leave_cors_to_the_gateway() {
    let world = World::new(Door::Event).await;
    for (method, target) in [
        ("GET", "/posts"),
        ("GET", "/nothing"),
        ("OPTIONS", "/posts"),
    ] {
        let answer = world
            .send(
                Request::new(method, target)
                    .header("origin", "http://localhost:3000")
                    .header("access-control-request-method", "GET"),
            )
            .await;
        let names = answer.headers.keys().map(HeaderName::as_str);
        let of_cors: Vec<_> = names
            .filter(|name| name.starts_with("access-control"))
            .collect();
        assert!(of_cors.is_empty(), "{of_cors:?}");
    }
}

/// What an answer says, apart from what is new with each.
fn told(answer: &Answer) -> (u16, String, Option<&str>) {
    (
        answer.status.as_u16(),
        answer.text(),
        answer.header("www-authenticate"),
    )
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test]
async fn what_has_no_content_tells_neither_its_length_nor_its_type() {
    for door in [Door::Http, Door::Event, Door::RestEvent] {
        let world = World::new(door).await;
        let ann = world.join("ann").await;
        let post = ann.publishes(&world, "title").await;
        let delete = Request::delete(&format!("/posts/{post}")).bearer(&ann.access_token);
        let deleted = world.send(delete).await;
        let page = world.get("/docs").await;
        let tag = page.header("etag").unwrap();
        let same = world
            .send(Request::get("/docs").header("if-none-match", tag))
            .await;
        for (answer, status) in [(deleted, 204), (same, 304)] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.text(), "");
            for name in ["content-length", "content-type"] {
                assert_eq!(answer.header(name), None, "{door:?} {status}");
            }
            answer.assert_common();
        }
    }
}
