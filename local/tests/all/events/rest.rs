//! Events of a REST API, payload 1.0: the query comes decoded, headers single and multiple.

use serde_json::{Value, json};

use super::{library, titles};
use crate::world::{Door, Request, World, rest_event};

#[tokio::test]
async fn a_rest_api_decodes_the_query_and_it_is_read_as_it_was() {
    let (world, _) = library().await;
    let searches = ["& two +", "50% off", "käse?", "a/b#c=d", "\"e\"", "%", "+"];
    for search in searches {
        for is_multiple in [true, false] {
            let mut event = rest_event(Request::get("/posts/"));
            event["queryStringParameters"] = json!({ "search": search, "limit": "5" });
            if is_multiple {
                event["multiValueQueryStringParameters"] =
                    json!({ "search": ["nothing", search], "limit": ["5"] });
            } else {
                event["multiValueQueryStringParameters"] = Value::Null;
            }
            let found = titles(&world.send_event("/posts", event).await);
            assert!(
                found.len() == 1 && found[0].contains(search),
                "{search}: {found:?}"
            );
        }
    }
    let mut event = rest_event(Request::get("/posts/"));
    event["multiValueQueryStringParameters"] = json!({ "search": ["\0"], "limit": ["x"] });
    world.send_event("/posts", event).await.assert_problems(&[
        ("int_parsing", json!(["query", "limit"])),
        ("value_error", json!(["query", "search"])),
    ]);
}

#[tokio::test]
async fn a_rest_api_tells_every_value_of_a_header() {
    let (world, ann) = library().await;
    let twice = Request::get("/posts/")
        .bearer("bad")
        .bearer(&ann.access_token);
    let event = rest_event(twice);
    assert_eq!(
        event["multiValueHeaders"]["authorization"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let answer = world.send_event("/posts", event).await;
    answer.assert_detail(401, "Could not validate credentials");
    // The console's test events have the single ones alone.
    let once = Request::get("/users/1").bearer(&ann.access_token);
    for missing in ["headers", "multiValueHeaders"] {
        let mut event = rest_event(once.clone());
        event[missing] = Value::Null;
        let answer = world.send_event("/users", event).await;
        answer.assert(200, &ann.whole());
    }
}

#[tokio::test]
async fn a_rest_api_gets_the_same_answers() {
    let world = World::new(Door::RestEvent).await;
    let ann = world.join("ann").await;
    let id = ann.publishes(&world, "title").await;
    let vote = world.send(ann.ballot(id, 1)).await;
    vote.assert(201, &json!({ "message": "Successfully added vote" }));
    let post = world.get(&format!("/posts/{id}")).await;
    assert_eq!(post.json()["votes"], 1);
    let deleted = world
        .send(Request::delete(&format!("/posts/{id}/")).bearer(&ann.access_token))
        .await;
    assert_eq!(
        (deleted.status.as_u16(), deleted.text()),
        (204, String::new())
    );
    world.get("/nothing").await.assert_detail(404, "Not Found");
    let refused = world.send(Request::delete("/users")).await;
    refused.assert_detail(405, "Method Not Allowed");
    assert_eq!(refused.header("allow"), Some("POST"));
}
