//! The Lambda door: events as API Gateway writes them, HTTP APIs (payload 2.0) and REST APIs (1.0).

mod deployments;
mod odd;
mod rest;
mod stages;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::world::{
    Answer, Door, PASSWORD, Person, Request, World, credentials, http_event, rest_event,
};

/// Three posts of Ann's, whose titles a query has to escape.
async fn library() -> (World, Person) {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    for title in ["one & two + three", "50% off, käse?", "a/b#c=d \"e\""] {
        ann.publishes(&world, title).await;
    }
    (world, ann)
}

fn titles(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let posts = answer.json();
    let posts = posts.as_array().unwrap().iter();
    posts
        .map(|post| post["Post"]["title"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_event_as_it_is_in_the_manual_is_answered() {
    let (world, _) = library().await;
    let event = json!({
        "version": "2.0",
        "routeKey": "ANY /posts",
        "rawPath": "/posts",
        "rawQueryString": "limit=1&search=two",
        "cookies": ["session=1; theme=dark", "other=2"],
        "headers": {
            "accept": "*/*",
            "content-length": "0",
            "host": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "user-agent": "curl/8.5.0",
            "x-amzn-trace-id": "Root=1-65f0a5de-3f2c1b4d5e6f708192a3b4c5",
            "x-forwarded-for": "192.0.2.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "queryStringParameters": { "limit": "1", "search": "two" },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "authentication": { "clientCert": null },
            "authorizer": { "jwt": { "claims": { "user_id": "7" }, "scopes": null } },
            "domainName": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abcdefghij",
            "http": {
                "method": "GET",
                "path": "/posts",
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "curl/8.5.0",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "ANY /posts",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_773_342_238_390_i64,
        },
        "pathParameters": null,
        "stageVariables": { "variable": "value" },
        "isBase64Encoded": false,
    });
    let answer = world.send_event("/posts", event).await;
    assert_eq!(titles(&answer), ["one & two + three"]);
    answer.assert_common();
    assert_eq!(answer.header("x-request-id"), Some("lambda-request"));
}

#[tokio::test]
async fn a_body_comes_plain_or_in_base64() {
    let (world, ann) = library().await;
    let post = json!({ "title": "Grüße 😀", "content": "content" });
    for (door, is_base64) in [
        ("HTTP", false),
        ("HTTP", true),
        ("REST", false),
        ("REST", true),
    ] {
        let request = Request::post("/posts/")
            .bearer(&ann.access_token)
            .json(&post);
        let mut event = if door == "HTTP" {
            http_event(request, is_base64)
        } else {
            rest_event(request)
        };
        if is_base64 {
            event["body"] = json!(STANDARD.encode(post.to_string()));
            event["isBase64Encoded"] = json!(true);
        }
        let answer = world.send_event("/posts", event).await;
        assert_eq!(answer.status, 201, "{door} {is_base64}: {}", answer.text());
        assert_eq!(answer.json()["title"], post["title"]);
    }
    let form = credentials("ann@example.com", PASSWORD);
    let answer = world.send_event("/auth", http_event(form, true)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // A gateway encodes what its list of binary types names, also what is no text.
    let binary = Request::post("/posts/")
        .bearer(&ann.access_token)
        .body(vec![0xff, 0xfe]);
    let event = http_event(binary, true);
    assert_eq!(event["body"], "//4=");
    let answer = world.send_event("/posts", event).await;
    assert_eq!(
        answer.json()["detail"][0]["type"],
        "json_invalid",
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn no_body_is_no_body() {
    let (world, ann) = library().await;
    let logout_all = Request::post("/auth/logout-all").bearer(&ann.access_token);
    for (name, body) in [("null", Value::Null), ("empty", json!(""))] {
        for is_base64 in [false, true] {
            let mut event = http_event(Request::post("/auth/logout"), false);
            event["body"] = body.clone();
            event["isBase64Encoded"] = json!(is_base64);
            let answer = world.send_event("/auth", event).await;
            answer.assert_problems(&[("missing", json!(["body"]))]);
            assert_eq!(answer.status, 422, "{name}");
        }
    }
    let mut event = http_event(logout_all, false);
    event.as_object_mut().unwrap().remove("body");
    assert_eq!(world.send_event("/auth", event).await.status, 200);
}

#[tokio::test]
async fn a_query_says_the_same_however_it_is_escaped() {
    let (world, _) = library().await;
    let all = ["a/b#c=d \"e\"", "50% off, käse?", "one & two + three"];
    let queries: [(&str, &[&str]); 16] = [
        ("", &all),
        ("&&", &all),
        ("search=two", &["one & two + three"]),
        ("search=%26+two+%2B", &["one & two + three"]),
        ("search=%26%20two%20%2b", &["one & two + three"]),
        ("search=k%C3%A4se%3F", &["50% off, käse?"]),
        // A gateway passes on what a client did not escape.
        ("search=käse?", &["50% off, käse?"]),
        ("search=50% off", &["50% off, käse?"]),
        ("search=%", &["50% off, käse?"]),
        ("search=\"e\"", &["a/b#c=d \"e\""]),
        ("search=a/b#c=d", &["a/b#c=d \"e\""]),
        ("search=<>{}|\\^`[]", &[]),
        ("search=one&search=off", &["50% off, käse?"]),
        ("limit=1&limit=2", &all[..2]),
        ("s%65arch=two&unknown", &["one & two + three"]),
        ("search=two&=&=x&a=b=c", &["one & two + three"]),
    ];
    for (query, expected) in queries {
        let mut event = http_event(Request::get("/posts/"), false);
        event["rawQueryString"] = json!(query);
        let answer = world.send_event("/posts", event).await;
        assert_eq!(titles(&answer), expected, "{query}");
    }
}

#[tokio::test]
async fn repeated_headers_come_joined_by_commas() {
    let (world, ann) = library().await;
    let twice = Request::get("/posts/")
        .bearer(&ann.access_token)
        .bearer(&ann.access_token);
    let event = http_event(twice, false);
    let joined = event["headers"]["authorization"].as_str().unwrap();
    assert!(joined.contains(",Bearer "), "{joined}");
    let answer = world.send_event("/posts", event).await;
    answer.assert_detail(401, "Could not validate credentials");
    let harmless = Request::get("/posts/")
        .header("accept", "a/b")
        .header("accept", "c/d");
    assert_eq!(
        world
            .send_event("/posts", http_event(harmless, false))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn names_of_headers_come_in_any_case() {
    let (world, ann) = library().await;
    let mut event = http_event(Request::post("/posts/"), false);
    event["headers"] = json!({
        "Authorization": format!("bearer {}", ann.access_token),
        "Content-Type": "application/json",
    });
    event["body"] = json!(r#"{"title": "title", "content": "content"}"#);
    assert_eq!(world.send_event("/posts", event).await.status, 201);
}

#[tokio::test]
async fn a_path_that_came_decoded_is_still_a_path() {
    let (world, _) = library().await;
    let ids = [
        "1 ",
        " 1",
        "1?limit=x",
        "?",
        "%",
        "%zz",
        "50%",
        "%%",
        "ä",
        "😀",
        "a b c",
        "1#2",
        "\"",
        "<>",
        "\\",
        "1\\2",
        "^`|",
        "{id}",
        "[1]",
        "1\t",
        "1\n",
        "\u{7f}",
        "\u{202e}",
        "1;2",
        "%00",
        "%ff",
        "é%",
        "..",
        ".",
        "%2e%2e",
    ];
    for id in ids {
        for (path, stage) in [
            (format!("/posts/{id}"), "$default"),
            (format!("/live/posts/{id}"), "live"),
        ] {
            let mut http = http_event(Request::get("/posts/"), false);
            http["rawPath"] = json!(path);
            http["requestContext"]["stage"] = json!(stage);
            let mut rest = rest_event(Request::get("/posts/"));
            rest["path"] = json!(format!("/posts/{id}"));
            for event in [http, rest] {
                let answer = world.send_event("/posts", event).await;
                if id.trim() == "1" {
                    // White space around a number never mattered.
                    assert_eq!(answer.json()["Post"]["id"], 1, "{id:?}");
                } else {
                    answer.assert_problems(&[("int_parsing", json!(["path", "id"]))]);
                    // What could be an escape is one.
                    if !["%00", "%ff", "%2e%2e"].contains(&id) {
                        assert_eq!(answer.json()["detail"][0]["input"], id);
                    }
                }
            }
        }
    }
    for path in [
        "",
        "posts/1",
        "nothing at all",
        "//",
        "/posts/1/../2",
        "/posts/../users/1",
        "/./posts",
    ] {
        let mut event = http_event(Request::get("/"), false);
        event["rawPath"] = json!(path);
        let answer = world.send_event("/posts", event).await;
        let status = if path == "posts/1" { 200 } else { 404 };
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{path:?}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn an_odd_host_is_nobodys_business() {
    let (world, _) = library().await;
    for host in [
        "",
        " ",
        "a b",
        "[::1",
        "http://x/y?z",
        "exämple.com:99999",
        "%",
        "@",
        "a,b",
    ] {
        for mut event in [
            http_event(Request::get("/posts/1"), false),
            rest_event(Request::get("/posts/1")),
        ] {
            event["headers"] =
                json!({ "host": host, "x-forwarded-proto": "go pher", "x-forwarded-host": host });
            event["multiValueHeaders"] = json!({ "host": [host] });
            event["requestContext"]["domainName"] = json!(host);
            let answer = world.send_event("/posts", event).await;
            assert_eq!(answer.json()["Post"]["id"], 1, "{host}");
        }
    }
}

#[tokio::test]
async fn the_session_remembers_where_the_gateway_saw_the_login_come_from() {
    let world = World::new(Door::Event).await;
    world.join("ann").await;
    let login = || {
        credentials("ann@example.com", PASSWORD)
            .header("x-forwarded-for", "203.0.113.9")
            .header("user-agent", "phone")
    };
    for source in ["198.51.100.7", "2001:db8::1"] {
        let mut http = http_event(login(), false);
        http["requestContext"]["http"]["sourceIp"] = json!(source);
        let mut rest = rest_event(login());
        rest["requestContext"]["identity"]["sourceIp"] = json!(source);
        for event in [http, rest] {
            assert_eq!(world.send_event("/auth", event).await.status, 200);
            let last = "select host(source), user_agent from sessions order by id desc limit 1";
            let row = &world.rows(last, &[]).await[0];
            assert_eq!((row.get(0), row.get(1)), (source, "phone"));
        }
    }
    // Without one that can be read, there is none.
    let mut event = http_event(login(), false);
    event["requestContext"]["http"]["sourceIp"] = json!("unknown");
    assert_eq!(world.send_event("/auth", event).await.status, 200);
    assert_eq!(
        world
            .number("select count(*) from sessions where source is null")
            .await,
        1
    );
}
