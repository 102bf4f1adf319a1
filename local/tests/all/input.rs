//! What a request may bring: nothing that a client sends is a fault of ours, and all that is wrong is told at once.

mod bodies;
mod fields;
mod json;
mod noise;
mod text;

use serde_json::{Value, json};

use crate::world::{Answer, PASSWORD, Person, Request, World};

/// Every route with a JSON body, and one that it takes.
fn json_routes(ann: &Person, post_id: i64) -> [(Request, Value); 6] {
    let post = json!({ "title": "title", "content": "content" });
    let signed = |request: Request| request.bearer(&ann.access_token);
    [
        (
            Request::post("/users/"),
            json!({ "email": "new@example.com", "password": PASSWORD }),
        ),
        (
            Request::post("/auth/refresh"),
            json!({ "refresh_token": "A".repeat(43) }),
        ),
        (
            Request::post("/auth/logout"),
            json!({ "refresh_token": "A".repeat(43) }),
        ),
        (signed(Request::post("/posts/")), post.clone()),
        (signed(Request::put(&format!("/posts/{post_id}"))), post),
        (
            signed(Request::post("/vote/")),
            json!({ "post_id": post_id, "dir": 1 }),
        ),
    ]
}

/// A caller, a post of theirs, and how many rows there are: refused input changes none of it.
async fn ann_and_a_post(world: &World) -> (Person, i64) {
    let ann = world.join("ann").await;
    let post_id = ann.publishes(world, "title").await;
    (ann, post_id)
}

/// The number of rows that requests could have made.
async fn rows(world: &World) -> i64 {
    let count = "select (select count(*) from users) + (select count(*) from posts)
                      + (select count(*) from votes) + (select count(*) from refresh_tokens)";
    world.number(count).await
}

/// Asserts that a body was not taken for JSON.
#[track_caller]
fn assert_no_json(answer: &Answer) {
    assert_eq!(answer.status.as_u16(), 422, "{}", answer.text());
    let body = answer.json();
    let problems = body["detail"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{body}");
    assert_eq!(problems[0]["type"], "json_invalid", "{body}");
    assert_eq!(problems[0]["loc"][0], "body", "{body}");
    assert!(problems[0]["loc"][1].is_u64(), "{body}");
    assert_eq!(problems[0]["msg"], "JSON decode error");
    assert_eq!(problems[0]["input"], json!({}));
    answer.assert_common();
}
