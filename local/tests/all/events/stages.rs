//! Stages: a named one stands before the path of an HTTP API, and in the context of a REST API.

use serde_json::{Value, json};

use super::library;
use crate::world::{Door, Request, World, http_event, rest_event};

/// The event of a request in a stage, whose name an HTTP API puts before the path.
fn in_stage(mut event: Value, stage: &str) -> Value {
    event["requestContext"]["stage"] = json!(stage);
    if event["version"] == "2.0" {
        let path = format!("/{stage}{}", event["rawPath"].as_str().unwrap());
        event["requestContext"]["http"]["path"] = json!(path);
        event["rawPath"] = json!(path);
    }
    event
}

#[tokio::test]
async fn a_named_stage_stands_before_the_path_and_the_routes_know_nothing_of_it() {
    let (world, ann) = library().await;
    // One stage is called as a path is.
    for stage in ["live", "posts", "v1"] {
        for (path, status) in [
            ("/", 200),
            ("/health/", 200),
            ("/posts", 200),
            ("/posts/", 200),
            ("/posts/1", 200),
            ("/posts/77", 404),
            ("/nothing", 404),
            ("/users/1", 200),
            ("/auth/login", 405),
        ] {
            for event in [
                http_event(Request::get(path), false),
                rest_event(Request::get(path)),
            ] {
                let answer = world.send_event(path, in_stage(event, stage)).await;
                assert_eq!(
                    answer.status.as_u16(),
                    status,
                    "{stage} {path}: {}",
                    answer.text()
                );
            }
        }
        let read = Request::get("/posts/1").bearer(&ann.access_token);
        let answer = world
            .send_event("/posts", in_stage(http_event(read, false), stage))
            .await;
        assert_eq!(answer.json()["Post"]["owner"], ann.whole());
    }
}

#[tokio::test]
async fn the_root_of_a_named_stage_comes_with_and_without_its_slash() {
    let world = World::new(Door::Event).await;
    for path in ["/live", "/live/"] {
        let mut event = in_stage(http_event(Request::get("/"), false), "live");
        event["rawPath"] = json!(path);
        let answer = world.send_event("/", event).await;
        assert_eq!(answer.json()["name"], "Social Media API", "{path}");
    }
    // Where a domain of one's own is mapped to the stage, the path has none; what only begins like it is no stage.
    for (path, status) in [
        ("/", 200),
        ("/health", 200),
        ("/lively", 404),
        ("/liv", 404),
    ] {
        let mut event = in_stage(http_event(Request::get("/"), false), "live");
        event["rawPath"] = json!(path);
        assert_eq!(
            world.send_event("/", event).await.status.as_u16(),
            status,
            "{path}"
        );
    }
}
