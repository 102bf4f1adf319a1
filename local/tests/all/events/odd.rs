//! Events that are no requests, or hardly: each has an answer that a gateway can read, and none is an error of the
//! function, which would raise an alarm.

use std::sync::LazyLock;

use axum::{Router, response::AppendHeaders, routing::get};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use lambda_http::{Context, LambdaEvent, tower::ServiceExt};
use serde_json::{Map, Value, json};
use shared::{App, app, lambda};

use crate::world::{Door, Function, Request, World, http_event, rest_event};

/// A post whose base64 has every character in which the alphabets differ, and needs padding.
static POST: LazyLock<String> =
    LazyLock::new(|| json!({ "title": "~~~???>>>\u{3ff}\u{ffff}", "content": "??>>" }).to_string());

fn with(mut event: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    event
}

fn without(mut event: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut();
    parent.unwrap().remove(name).unwrap();
    event
}

fn http() -> Value {
    http_event(Request::get("/posts"), false)
}

fn rest() -> Value {
    rest_event(Request::get("/posts"))
}

fn many_headers(count: usize) -> Value {
    let headers: Map<_, _> = (0..count).map(|n| (format!("x-{n}"), json!(""))).collect();
    with(http(), &[("/headers", headers.into())])
}

/// A function's answer, which must be what a gateway reads: its status and its body as JSON.
fn read(name: &str, answer: &Value) -> (u64, Value) {
    let status = answer["statusCode"].as_u64();
    let status = status.unwrap_or_else(|| panic!("{name}: {answer}"));
    assert!(status < 500, "{name}: {answer}");
    let body = answer["body"].as_str().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn a_body_is_read_from_base64_of_every_kind_and_refused_where_it_is_none() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    let urls = URL_SAFE.encode(&*POST);
    assert!(urls.contains(['-', '_']) && urls.ends_with('='), "{urls}");
    let lines = |text: String, end: &str| {
        let lines: Vec<_> = text.as_bytes().chunks(16).collect();
        let lines = lines.iter().map(|line| std::str::from_utf8(line).unwrap());
        lines.collect::<Vec<_>>().join(end) + end
    };
    let good = [
        STANDARD.encode(&*POST),
        STANDARD_NO_PAD.encode(&*POST),
        urls,
        URL_SAFE_NO_PAD.encode(&*POST),
        lines(STANDARD.encode(&*POST), "\r\n"),
        lines(URL_SAFE_NO_PAD.encode(&*POST), "\n"),
    ];
    let bad = [
        "{\"title\": \"x\"}",
        "a plain text.",
        "AAAAA",
        "====",
        "A=A=",
        "\u{e9}",
    ];
    for make in [http_event as fn(_, _) -> _, |request, _| {
        rest_event(request)
    }] {
        let event = |body: &str| {
            let create = Request::post("/posts").bearer(&ann.access_token);
            let base64 = [("/body", json!(body)), ("/isBase64Encoded", json!(true))];
            with(make(create, false), &base64)
        };
        for body in &good {
            let answer = world.send_event("/posts", event(body)).await;
            assert_eq!(answer.status, 201, "{body}: {}", answer.text());
            assert_eq!(answer.json()["content"], "??>>", "{body}");
        }
        for body in bad {
            let answer = world.send_event("/posts", event(body)).await;
            answer.assert_detail(400, "The request body could not be read");
        }
        // Where no body is looked at, a bad one does no harm.
        let base64 = [("/body", json!("{}")), ("/isBase64Encoded", json!(true))];
        let list = with(make(Request::get("/posts?limit=0"), false), &base64);
        world
            .send_event("/posts", list)
            .await
            .assert(200, &json!([]));
    }
}

/// An event of a gateway that something is wrong with, and the status of its answer.
type Case = (&'static str, Value, u64);

fn malformed() -> Vec<Case> {
    [
        of_queries(),
        of_headers(),
        of_methods(),
        of_targets(),
        of_contexts(),
        of_others(),
    ]
    .concat()
}

fn of_queries() -> Vec<Case> {
    let query = "/multiValueQueryStringParameters";
    let single = "/queryStringParameters";
    let lists = json!({ "search": [], "limit": ["1"] });
    vec![
        ("no value", with(rest(), &[(query, lists)]), 200),
        (
            "no values",
            with(rest(), &[(query, json!({ "search": [] }))]),
            200,
        ),
        (
            "no value of several, and one",
            with(
                rest(),
                &[
                    (query, json!({ "limit": [] })),
                    (single, json!({ "limit": "x" })),
                ],
            ),
            422,
        ),
        (
            "null values",
            with(
                rest(),
                &[
                    (query, json!({ "search": null })),
                    (single, json!({ "search": null })),
                ],
            ),
            200,
        ),
        (
            "a null among values",
            with(rest(), &[(query, json!({ "limit": [null, "x"] }))]),
            422,
        ),
        (
            "numbers",
            with(
                rest(),
                &[
                    (query, Value::Null),
                    (single, json!({ "limit": 1, "skip": true })),
                ],
            ),
            422,
        ),
        (
            "an object of a value",
            with(rest(), &[(single, json!({ "limit": {} }))]),
            400,
        ),
        (
            "a query that is a text",
            with(rest(), &[(single, json!("limit=1"))]),
            400,
        ),
    ]
}

fn of_headers() -> Vec<Case> {
    vec![
        (
            "no header of a name",
            with(rest(), &[("/multiValueHeaders", json!({ "accept": [] }))]),
            200,
        ),
        (
            "a null header",
            with(http(), &[("/headers", json!({ "accept": null, "x": 1 }))]),
            200,
        ),
        (
            "a header's name",
            with(http(), &[("/headers", json!({ "a b": "c" }))]),
            400,
        ),
        (
            "an empty name",
            with(http(), &[("/headers", json!({ "": "c" }))]),
            400,
        ),
        (
            "a header's value",
            with(http(), &[("/headers", json!({ "a": "b\nc: d" }))]),
            400,
        ),
        (
            "a header's zero",
            with(rest(), &[("/multiValueHeaders", json!({ "a": ["\u{0}"] }))]),
            400,
        ),
        (
            "headers in a list",
            with(http(), &[("/headers", json!([["a", "b"]]))]),
            400,
        ),
        (
            "headers beyond ASCII",
            with(http(), &[("/headers", json!({ "a": "Grüße 😀" }))]),
            200,
        ),
        (
            "no headers",
            with(http(), &[("/headers", Value::Null)]),
            200,
        ),
        (
            "values of a header that are too many",
            with(
                rest(),
                &[("/multiValueHeaders", json!({ "a": vec![""; 40_000] }))],
            ),
            400,
        ),
        ("too many headers", many_headers(40_000), 400),
        // 24,576 fit, of which the adapter would add one more.
        ("as many headers as fit", many_headers(24_576), 400),
        ("many headers", many_headers(4_096), 200),
        ("one of them too many", many_headers(4_097), 400),
        (
            "no cookies",
            with(http(), &[("/cookies", Value::Null)]),
            200,
        ),
        (
            "odd cookies",
            with(http(), &[("/cookies", json!(["a=\u{1}\n", 7]))]),
            200,
        ),
    ]
}

fn of_methods() -> Vec<Case> {
    vec![
        (
            "no method",
            without(http(), "/requestContext/http/method"),
            400,
        ),
        (
            "an empty method",
            with(http(), &[("/requestContext/http/method", json!(""))]),
            400,
        ),
        (
            "an odd method",
            with(http(), &[("/requestContext/http/method", json!("GE T"))]),
            400,
        ),
        (
            "a number of a method",
            with(rest(), &[("/httpMethod", json!(7))]),
            400,
        ),
        (
            "an unknown method",
            with(rest(), &[("/httpMethod", json!("BREW"))]),
            405,
        ),
        (
            "a small method",
            with(http(), &[("/requestContext/http/method", json!("get"))]),
            405,
        ),
        (
            "the method in the context",
            without(rest(), "/httpMethod"),
            200,
        ),
        (
            "a null method",
            with(
                rest(),
                &[
                    ("/httpMethod", Value::Null),
                    ("/requestContext/httpMethod", Value::Null),
                ],
            ),
            400,
        ),
    ]
}

fn of_targets() -> Vec<Case> {
    let query = "/multiValueQueryStringParameters";
    let single = "/queryStringParameters";
    let long = "x".repeat(70_000);
    vec![
        ("no path", without(http(), "/rawPath"), 200),
        (
            "a null path",
            with(
                rest(),
                &[
                    ("/path", Value::Null),
                    ("/requestContext/path", Value::Null),
                ],
            ),
            404,
        ),
        (
            "a long path",
            with(http(), &[("/rawPath", json!(format!("/posts/{long}")))]),
            414,
        ),
        (
            "a long query",
            with(
                http(),
                &[("/rawQueryString", json!(format!("search={long}")))],
            ),
            414,
        ),
        (
            "a long query in parts",
            with(rest(), &[(query, json!({ "search": [long] }))]),
            414,
        ),
        (
            "no query",
            with(http(), &[("/rawQueryString", Value::Null)]),
            200,
        ),
        (
            "a query in parts",
            with(
                http(),
                &[
                    ("/rawQueryString", Value::Null),
                    (single, json!({ "limit": "x" })),
                ],
            ),
            422,
        ),
    ]
}

fn of_contexts() -> Vec<Case> {
    vec![
        (
            "no stage",
            with(http(), &[("/requestContext/stage", Value::Null)]),
            200,
        ),
        (
            "an empty stage",
            with(rest(), &[("/requestContext/stage", json!(""))]),
            200,
        ),
        (
            "no identity",
            with(rest(), &[("/requestContext/identity", Value::Null)]),
            200,
        ),
        (
            "nulls",
            with(
                rest(),
                &[
                    ("/pathParameters", Value::Null),
                    ("/stageVariables", Value::Null),
                    ("/resource", Value::Null),
                ],
            ),
            200,
        ),
        (
            "no context",
            with(rest(), &[("/requestContext", Value::Null)]),
            200,
        ),
        (
            "no context of HTTP",
            with(http(), &[("/requestContext", Value::Null)]),
            400,
        ),
        (
            "a context that is a text",
            with(http(), &[("/requestContext", json!("x"))]),
            400,
        ),
        (
            "a body that is an object",
            with(http(), &[("/body", json!({ "title": "x" }))]),
            400,
        ),
        (
            "a truth in a text",
            with(http(), &[("/isBase64Encoded", json!("true"))]),
            400,
        ),
        (
            "a null truth",
            with(http(), &[("/isBase64Encoded", Value::Null)]),
            200,
        ),
        (
            "as little as there may be",
            json!({ "httpMethod": "GET", "path": "/posts" }),
            200,
        ),
        ("a path alone", json!({ "rawPath": "/posts" }), 400),
        ("a route alone", json!({ "routeKey": "$default" }), 400),
    ]
}

fn of_others() -> Vec<Case> {
    vec![
        (
            "a load balancer",
            json!({
                "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:…" } },
                "httpMethod": "GET", "path": "/posts", "queryStringParameters": {},
                "headers": { "accept": "*/*", "host": "lb.example.com" },
                "body": "", "isBase64Encoded": false,
            }),
            200,
        ),
        (
            "a websocket",
            json!({
                "requestContext": { "routeKey": "$default", "eventType": "MESSAGE", "connectionId": "id", "stage": "live" },
                "body": "hello", "isBase64Encoded": false,
            }),
            400,
        ),
        (
            "VPC Lattice",
            json!({
                "version": "2.0", "path": "/posts", "method": "GET", "headers": { "accept": ["*/*"] },
                "requestContext": { "serviceArn": "arn", "timeEpoch": "1724875399456789" },
            }),
            400,
        ),
        (
            "an authorizer of any kind",
            with(
                http(),
                &[("/requestContext/authorizer", json!([{ "lambda": null }, 7]))],
            ),
            200,
        ),
    ]
}

#[tokio::test]
async fn a_malformed_event_is_a_4xx_and_no_error_of_the_function() {
    let world = World::new(Door::Event).await;
    let function = Function::start("posts", world.database(), &[]).await;
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for (name, event, status) in malformed() {
        let answer = function.invoke(event).await;
        let (answered, body) = read(name, &answer);
        assert!(
            answered == 200 || body["detail"].is_string() || body["detail"].is_array(),
            "{name}: {body}"
        );
        let headers = ["headers", "multiValueHeaders"].map(|part| &answer[part]["x-request-id"]);
        assert!(headers.iter().any(|id| !id.is_null()), "{name}: {answer}");
        expected.push((name, status));
        found.push((name, answered));
    }
    assert_eq!(found, expected);
    let (code, lines) = function.end().await;
    assert_eq!(code, Some(0));
    for line in lines {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "INFO", "{line}");
        assert!(line.get("ServerErrors").is_none(), "{line}");
    }
}

#[tokio::test]
async fn what_keeps_a_function_warm_has_a_short_answer_and_is_no_request() {
    let world = World::new(Door::Event).await;
    let function = Function::start("posts", world.database(), &[]).await;
    let pings = [
        json!({}),
        json!(null),
        json!([]),
        json!(["warm"]),
        json!("ping"),
        json!(7),
        json!(true),
        json!({ "source": "serverless-plugin-warmup" }),
        json!({ "source": "aws.scheduler" }),
        json!({ "warmer": true, "concurrency": 3 }),
        json!({ "warmup": true }),
        json!({
            "version": "0",
            "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": "123456789012",
            "time": "2026-10-08T16:53:06Z",
            "region": "eu-central-1",
            "resources": ["arn:aws:events:eu-central-1:123456789012:rule/warm"],
            "detail": {},
        }),
    ];
    for ping in pings {
        let answer = function.invoke(ping.clone()).await;
        assert_eq!(
            answer,
            json!({
                "statusCode": 200,
                "headers": { "content-type": "application/json" },
                "body": r#"{"status":"ok"}"#,
                "isBase64Encoded": false,
            }),
            "{ping}"
        );
    }
    // Events of services that somebody led here by mistake: the answer says so, and so does the log.
    let others = [
        json!({ "Records": [{ "eventSource": "aws:sqs", "body": "a secret" }] }),
        json!({ "action": "migrate" }),
        json!({ "key1": "value1", "key2": "value2" }),
    ];
    for other in &others {
        let answer = function.invoke(other.clone()).await;
        let detail = json!({ "detail": "The event is not a request of API Gateway" });
        assert_eq!(read("another event", &answer), (400, detail), "{other}");
    }
    let answer = function.send(Request::get("/posts")).await;
    answer.assert(200, &json!([]));
    let (code, lines) = function.end().await;
    assert_eq!(code, Some(0));
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let levels: Vec<_> = lines
        .iter()
        .map(|line| line["level"].as_str().unwrap())
        .collect();
    // A ping leaves no line, the others a warning and their request's line each.
    let of_others = ["WARN", "INFO"].repeat(others.len());
    assert_eq!(levels, [&of_others[..], &["INFO"]].concat(), "{lines:?}");
    assert!(lines.iter().all(|line| line.get("ServerErrors").is_none()));
    assert!(!format!("{lines:?}").contains("a secret"));
}

#[tokio::test]
async fn every_value_of_a_header_reaches_the_gateway() {
    let world = World::new(Door::Event).await;
    let headers = [
        ("vary", "accept"),
        ("vary", "origin"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ];
    let router = Router::new().route("/", get(async move || AppendHeaders(headers)));
    let served = app::service(router, App::new(&world.config, 1).unwrap());
    let ask = async |event: Value| {
        let event = serde_json::from_str(&event.to_string()).unwrap();
        let event = LambdaEvent::new(event, Context::default());
        let answer = lambda::handler(served.clone()).oneshot(event).await;
        serde_json::to_value(answer.unwrap()).unwrap()
    };
    // An HTTP API takes one value of each header, and cookies by themselves.
    let answer = ask(http_event(Request::get("/"), false)).await;
    assert_eq!(answer["headers"]["vary"], "accept, origin");
    assert_eq!(answer["headers"].get("set-cookie"), None);
    assert_eq!(answer["cookies"], json!(["a=1", "b=2"]));
    let answer = ask(rest_event(Request::get("/"))).await;
    let several = &answer["multiValueHeaders"];
    assert_eq!(several["vary"], json!(["accept", "origin"]));
    assert_eq!(several["set-cookie"], json!(["a=1", "b=2"]));
}
