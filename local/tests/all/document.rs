//! The OpenAPI document is true. Every other test holds what it sends and sees against it; these tests are about
//! the document itself, and about whether it can fail.

mod examples;

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use crate::world::{Answer, DOCUMENT, Document, Door, Request, World};

at_both_doors! {
    async fn anyone_may_read_the_document(world: World) {
        let answer = world.get("/openapi.json").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), *DOCUMENT.root().value);
    }

    async fn each_path_answers_to_the_methods_that_the_document_lists(world: World) {
        for (path, methods) in DOCUMENT.routes() {
            let path = path.replace("{id}", "1");
            for method in &methods {
                let answer = world.send(Request::new(method.as_str(), &path)).await;
                assert_ne!(answer.status, 405, "{method} {path}");
            }
            let answer = world.send(Request::new("TRACE", &path)).await;
            let listed = answer.header("allow").unwrap().split(',');
            let listed: BTreeSet<Method> = listed.map(|name| name.parse().unwrap()).collect();
            assert_eq!((answer.status.as_u16(), listed), (405, methods), "{path}");
        }
    }
}

#[test]
fn it_lists_every_path_of_the_routers() {
    // A router tells its paths to nobody but a debugger.
    let told = format!("{:?}", local::router());
    let routed: BTreeSet<&str> = told
        .split('"')
        .filter(|text| text.starts_with('/') && !text.contains("__private"))
        // The scripts and styles of the pages are no part of the API.
        .filter(|path| *path != "/docs/{asset}")
        .collect();
    let listed: BTreeSet<&str> = DOCUMENT.routes().iter().map(|(path, _)| *path).collect();
    assert_eq!(listed, routed);
}

#[test]
fn it_is_of_this_version() {
    let root = DOCUMENT.root();
    assert_eq!(root.value["info"]["version"], env!("CARGO_PKG_VERSION"));
    let about = root
        .value
        .pointer("/components/schemas/About/properties/version");
    assert!(about.is_some());
}

/// A request and its answer.
type Exchange = (Request, Answer);

/// What is asked and answered under the document as it is.
struct Exchanges {
    /// One post, read by nobody in particular.
    read: Exchange,
    /// All posts, listed for nobody in particular.
    list: Exchange,
    /// A post with a title of five characters.
    create: Exchange,
    /// A post without a title.
    refused: Exchange,
    unknown_path: Exchange,
    unknown_method: Exchange,
}

impl Exchanges {
    async fn new(world: &World) -> Self {
        let ann = world.join("ann").await;
        let post = |title: &str| {
            let body = json!({ "title": title, "content": "content" });
            Request::post("/posts/")
                .bearer(&ann.access_token)
                .json(&body)
        };
        let exchange = async |request: Request| (request.clone(), world.send(request).await);
        Self {
            create: exchange(post("title")).await,
            refused: exchange(post("")).await,
            read: exchange(Request::get("/posts/1")).await,
            list: exchange(Request::get("/posts/?limit=5")).await,
            unknown_path: exchange(Request::get("/nothing")).await,
            unknown_method: exchange(Request::new("PATCH", "/posts/1")).await,
        }
    }

    /// Each exchange with changes to the document that make it wrong: parts, and what becomes of them.
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    fn changes(&self) -> [(&Exchange, Vec<(&'static str, Value)>); 6] {
        let gone = Value::Null;
        [
            (
                &self.read,
                vec![
                    ("/paths/~1posts~1{id}", gone.clone()),
                    ("/paths/~1posts~1{id}/get", gone.clone()),
                    ("/paths/~1posts~1{id}/get/responses/200", gone.clone()),
                    (
                        "/paths/~1posts~1{id}/get/responses/200/content/application~1json",
                        gone.clone(),
                    ),
                    (
                        "/components/schemas/PostWithVotes/properties/votes",
                        gone.clone(),
                    ),
                    (
                        "/components/schemas/PostWithVotes/properties/votes/type",
                        json!("string"),
                    ),
                    ("/components/schemas/User/required", json!(["name"])),
                    (
                        "/components/schemas/User/properties/email/format",
                        json!("hostname"),
                    ),
                    (
                        "/components/schemas/Post/properties/title/maxLength",
                        json!(4),
                    ),
                    (
                        "/components/headers/Cache-Control/schema/const",
                        json!("public"),
                    ),
                    (
                        "/components/headers/X-Request-Id/schema/type",
                        json!("integer"),
                    ),
                    ("/components/parameters/PostId/schema/minimum", json!(2)),
                ],
            ),
            (
                &self.list,
                vec![
                    ("/paths/~1posts~1/get/security", json!([{ "bearer": [] }])),
                    (
                        "/paths/~1posts~1/get/responses/200/headers/X-Request-Id",
                        gone.clone(),
                    ),
                    (
                        "/paths/~1posts~1/get/responses/200/content/application~1json/schema/maxItems",
                        json!(0),
                    ),
                    ("/components/headers/Link/required", json!(true)),
                    ("/components/parameters/Limit/schema/maximum", json!(4)),
                ],
            ),
            (
                &self.create,
                vec![
                    (
                        "/paths/~1posts~1/post/responses/201/headers/Location",
                        gone.clone(),
                    ),
                    (
                        "/paths/~1posts~1/post/requestBody/content",
                        json!({ "text/plain": {} }),
                    ),
                    (
                        "/components/schemas/NewPost/properties/title/minLength",
                        json!(6),
                    ),
                ],
            ),
            (
                &self.refused,
                vec![
                    ("/paths/~1posts~1/post/responses/422", gone.clone()),
                    (
                        "/components/schemas/NewPost/properties/title/minLength",
                        json!(0),
                    ),
                    (
                        "/components/schemas/ProblemContext/properties/min_length",
                        gone.clone(),
                    ),
                ],
            ),
            (
                &self.unknown_path,
                vec![
                    ("/paths/~1nothing", json!({})),
                    ("/paths/~1nothing", json!({ "get": {} })),
                    ("/components/schemas/Error/properties/detail", gone.clone()),
                ],
            ),
            (
                &self.unknown_method,
                vec![
                    ("/paths/~1posts~1{id}/post", json!({})),
                    ("/paths/~1posts~1{id}/patch", json!({ "responses": {} })),
                    ("/paths/~1posts~1{id}/delete", gone),
                ],
            ),
        ]
    }
}

#[tokio::test]
async fn whatever_changes_in_the_document_alone_makes_an_answer_wrong() {
    let world = World::new(Door::Http).await;
    let exchanges = Exchanges::new(&world).await;
    for ((request, answer), changes) in exchanges.changes() {
        assert_eq!(DOCUMENT.judge(request, answer), Ok(()));
        for (pointer, becomes) in changes {
            let why = changed(pointer, &becomes).judge(request, answer);
            assert!(why.is_err(), "{pointer}: {becomes}");
        }
    }
}

#[tokio::test]
async fn a_refusal_says_where_the_document_differs() {
    let world = World::new(Door::Http).await;
    let (request, answer) = Exchanges::new(&world).await.read;
    let title = "/components/schemas/Post/properties/title/maxLength";
    let why = changed(title, &json!(4))
        .judge(&request, &answer)
        .unwrap_err();
    let asked = "GET /posts/1 was answered with 200 OK, and the document says otherwise:\n";
    assert!(why.starts_with(asked), "{why}");
    assert!(
        why.contains(&format!("{title}: at \"/Post/title\"")),
        "{why}"
    );
}

/// The document with one part changed, or taken away by null.
fn changed(pointer: &str, becomes: &Value) -> Document {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/");
    DOCUMENT.changed(|root| {
        let parent = root.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if becomes.is_null() {
            parent.remove(&name).unwrap();
        } else {
            parent.insert(name, becomes.clone());
        }
    })
}
