//! What a function on Lambda writes of a request: one line, with the metrics that CloudWatch reads from it.

use serde_json::{Value, json};
use shared::config::{Database, Lambda, Settings};

use crate::world::{Door, Function, PASSWORD, Request, TRACE_ID, World, credentials};

/// A line that is JSON.
#[track_caller]
fn read(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))
}

/// The metrics of a line by name, which is as the embedded metric format asks (its specification, "Embedded
/// metric format structure").
#[track_caller]
fn metrics(line: &Value) -> Vec<&str> {
    let told = &line["_aws"];
    assert!(told["Timestamp"].as_u64().unwrap() > 1_700_000_000_000);
    let [directive] = told["CloudWatchMetrics"].as_array().unwrap().as_slice() else {
        panic!("{told}");
    };
    assert_eq!(directive["Namespace"], "SocialMedia");
    assert_eq!(
        directive["Dimensions"],
        json!([["Function"], ["Function", "Route"]])
    );
    for dimension in ["Function", "Route"] {
        let value = line[dimension].as_str().unwrap();
        assert!((1..=1024).contains(&value.len()), "{value}");
        assert!(value.is_ascii() && !value.starts_with(':') && !value.trim().is_empty());
    }
    let metrics = directive["Metrics"].as_array().unwrap();
    assert!((1..=100).contains(&metrics.len()));
    metrics
        .iter()
        .map(|metric| {
            let name = metric["Name"].as_str().unwrap();
            let unit = if name == "Duration" {
                "Milliseconds"
            } else {
                "Count"
            };
            assert_eq!(metric["Unit"], unit, "{name}");
            assert!(line[name].as_f64().unwrap().is_finite(), "{name}");
            name
        })
        .collect()
}

#[tokio::test]
async fn the_line_of_a_request_tells_everything_about_it() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    let mut function = Function::start("posts", world.database(), &[]).await;
    let request = || Request::get("/posts/7?search=secret").bearer(&ann.access_token);
    function
        .send(request())
        .await
        .assert_detail(404, "Post with id: 7 not found");
    let mut line = read(&function.line().await);
    assert_eq!(metrics(&line), ["Duration", "ColdStarts"]);
    assert_eq!(line["Duration"], line["duration_ms"]);
    let varying = ["timestamp", "duration_ms", "Duration", "_aws"];
    for name in varying {
        assert!(
            line.as_object_mut().unwrap().remove(name).is_some(),
            "{name}"
        );
    }
    let expected = json!({
        "level": "INFO",
        "message": "request",
        "request.id": "invocation-0",
        "trace.id": TRACE_ID,
        "user.id": ann.id,
        "session.id": world.number("select id from sessions").await,
        "method": "GET",
        "route": "/posts/{id}",
        "status": 404,
        "cold_start": true,
        "Function": "social-posts",
        "Route": "/posts/{id}",
        "ColdStarts": 1,
    });
    assert_eq!(line, expected);

    // Nothing else is written, and the second start is none.
    function.send(request()).await;
    let line = read(&function.line().await);
    assert_eq!(line["cold_start"], false);
    assert_eq!(metrics(&line), ["Duration"]);
    assert!(line.get("ColdStarts").is_none());
    let (_, rest) = function.end().await;
    assert_eq!(rest, Vec::<String>::new());
}

#[tokio::test]
async fn a_request_of_no_route_is_counted_by_its_function() {
    let world = World::new(Door::Event).await;
    let mut function = Function::start("posts", world.database(), &[]).await;
    function.send(Request::new("LUDMILLA", "/ludmilla")).await;
    let line = function.line().await;
    assert!(!line.to_lowercase().contains("ludmilla"), "{line}");
    let line = read(&line);
    assert_eq!(
        (&line["method"], &line["Route"]),
        (&json!("-"), &json!("-"))
    );
    assert_eq!(metrics(&line), ["Duration", "ColdStarts"]);
}

#[tokio::test]
async fn a_fault_of_ours_is_an_error_with_its_cause_and_a_count() {
    let world = World::new(Door::Event).await;
    let nowhere = Database {
        port: 1,
        ..world.database().clone()
    };
    let mut function = Function::start("posts", &nowhere, &[]).await;
    let early = read(&function.line().await);
    assert_eq!(early["level"], "WARN");
    assert!(early.get("_aws").is_none());
    assert_eq!(function.send(Request::get("/posts/")).await.status, 503);
    let line = read(&function.line().await);
    assert_eq!(
        (&line["level"], &line["status"]),
        (&json!("ERROR"), &json!(503))
    );
    assert_eq!(line["message"], "request failed");
    assert!(line["cause"].is_string());
    assert_eq!(metrics(&line), ["Duration", "ServerErrors", "ColdStarts"]);
}

#[tokio::test]
async fn failed_logins_throttled_ones_and_spent_tokens_are_counted() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    world.refresh(&ann.refresh_token).await;
    let mut function = Function::start("auth", world.database(), &[]).await;
    for attempt in 0..12 {
        let answer = function
            .send(credentials("ann@example.com", "wrong-password"))
            .await;
        let line = read(&function.line().await);
        let (status, outcome, metric) = if attempt < 10 {
            (401, "login_failed", "LoginFailures")
        } else {
            (429, "login_throttled", "LoginsThrottled")
        };
        assert_eq!(
            (answer.status.as_u16(), &line["outcome"]),
            (status, &json!(outcome))
        );
        assert_eq!(metrics(&line).last(), Some(&metric));
        assert_eq!(
            (&line[metric], &line["Route"]),
            (&json!(1), &json!("/auth/login"))
        );
    }
    let spent = Request::post("/auth/refresh").json(&json!({ "refresh_token": ann.refresh_token }));
    assert_eq!(function.send(spent.clone()).await.status, 401);
    let line = read(&function.line().await);
    assert_eq!(line["outcome"], "refresh_token_reused");
    assert_eq!(metrics(&line), ["Duration", "RefreshTokenReuses"]);
    // Its session is gone: now it is just a bad one. A good login is no news either.
    assert_eq!(function.send(spent).await.status, 401);
    assert_eq!(metrics(&read(&function.line().await)), ["Duration"]);
    world.sql.batch_execute("truncate attempts").await.unwrap();
    assert_eq!(
        function
            .send(credentials("ann@example.com", PASSWORD))
            .await
            .status,
        200
    );
    assert_eq!(metrics(&read(&function.line().await)), ["Duration"]);
}

#[tokio::test]
async fn metrics_are_written_at_every_level_and_pass_lambdas_own_filter() {
    let world = World::new(Door::Event).await;
    let nowhere = Database {
        port: 1,
        ..world.database().clone()
    };
    for (level, shown, is_warned) in [
        ("TRACE", "INFO", true),
        ("DEBUG", "INFO", true),
        ("INFO", "INFO", true),
        ("WARN", "WARN", true),
        ("ERROR", "ERROR", false),
        ("FATAL", "FATAL", false),
    ] {
        let variables = [
            ("AWS_LAMBDA_LOG_LEVEL", level),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ];
        let mut function = Function::start("posts", &nowhere, &variables).await;
        if is_warned {
            assert_eq!(read(&function.line().await)["level"], "WARN", "{level}");
        }
        function.send(Request::get("/nothing")).await;
        let line = read(&function.line().await);
        assert_eq!(
            (&line["level"], &line["status"]),
            (&json!(shown), &json!(404))
        );
        assert_eq!(metrics(&line), ["Duration", "ColdStarts"], "{level}");
    }
}

#[tokio::test]
async fn in_text_all_but_the_lines_with_metrics_are_text() {
    let world = World::new(Door::Event).await;
    let nowhere = Database {
        port: 1,
        ..world.database().clone()
    };
    let mut function =
        Function::start("posts", &nowhere, &[("AWS_LAMBDA_LOG_FORMAT", "Text")]).await;
    let line = function.line().await;
    assert!(serde_json::from_str::<Value>(&line).is_err());
    assert!(
        line.contains(" WARN the database could not be reached ahead of the first request {"),
        "{line}"
    );
    function.send(Request::get("/nothing")).await;
    assert_eq!(
        metrics(&read(&function.line().await)),
        ["Duration", "ColdStarts"]
    );
}

#[test]
fn a_level_that_lambda_does_not_know_stops_the_function() {
    let lambda = |level| {
        let settings = Settings::from_lookup(move |name| {
            (name == "AWS_LAMBDA_LOG_LEVEL").then(|| String::from(level))
        });
        Lambda::read(&settings).map(|_| ())
    };
    assert!(lambda("WARN").is_ok());
    let sentence =
        "AWS_LAMBDA_LOG_LEVEL must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL, not \"loud\".";
    assert_eq!(lambda("loud").unwrap_err().to_string(), sentence);
}

#[tokio::test]
async fn what_the_runtime_writes_down_at_its_most_talkative_stays_unwritten() {
    let world = World::new(Door::Event).await;
    world.join("ann").await;
    let variables = [("AWS_LAMBDA_LOG_LEVEL", "TRACE")];
    let function = Function::start("auth", world.database(), &variables).await;
    let login = function
        .send(credentials("ann@example.com", PASSWORD))
        .await;
    assert_eq!(login.status, 200);
    let (_, lines) = function.end().await;
    let log = lines.join("\n");
    assert!(log.contains("/auth/login"), "{log}");
    for secret in [
        PASSWORD,
        "ann@",
        login.json()["access_token"].as_str().unwrap(),
    ] {
        assert!(!log.contains(secret), "{log}");
    }
}
