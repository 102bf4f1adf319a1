//! What pages of other origins may do, and that the template lets them do the same.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Program, Served};
use crate::world::{Answer, Door, PASSWORD, Request, World};

const TEMPLATE: &str = include_str!("../../../../template.yaml");
const LISTED: &str = "https://one.example,http://localhost:3000";
const PAGE: &str = "https://one.example";

/// What the libraries of browsers send beside what any page may.
const HEADERS: &str = "authorization,baggage,cache-control,content-type,idempotency-key,if-match,pragma,\
    sentry-trace,traceparent,tracestate,x-datadog-origin,x-datadog-parent-id,x-datadog-sampling-priority,\
    x-datadog-trace-id,x-requested-with";

/// The entries of a header that is a list, in lower case.
fn entries(answer: &Answer, name: &str) -> BTreeSet<String> {
    let text = answer.header(name).unwrap_or_default().to_ascii_lowercase();
    let entries = text.split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

/// One of the two configurations of the template's gateway: for any origin, and for listed ones.
struct Gateway(&'static str);

impl Gateway {
    fn both() -> [Self; 2] {
        let (_, cors) = TEMPLATE
            .split_once("CorsConfiguration: !If\n        - AnyOrigin\n        - ")
            .unwrap();
        let (cors, _) = cors.split_once("      DefaultRouteSettings:").unwrap();
        let (any, listed) = cors.split_once("        - AllowOrigins").unwrap();
        [Self(any), Self(listed)]
    }

    fn value(&self, name: &str) -> Option<&'static str> {
        Some(self.0.split_once(&format!("{name}:"))?.1)
    }

    /// A list on one line or on several.
    fn list(&self, name: &str) -> BTreeSet<String> {
        let value = self.value(name).unwrap();
        let entries: Vec<&str> = match value.strip_prefix(" [") {
            Some(flow) => flow.split(']').next().unwrap().split(',').collect(),
            None => value
                .lines()
                .skip(1)
                .map_while(|line| line.trim().strip_prefix("- "))
                .collect(),
        };
        entries
            .into_iter()
            .map(|entry| entry.trim().trim_matches('"').to_ascii_lowercase())
            .collect()
    }
}

async fn serve(world: &World, name: &str, origins: &str) -> Served {
    let program = Program::new(name)
        .with_database(world.database())
        .set("SECRET_KEY", "a signing key for tests, 32 bytes or more")
        .set("CORS_ORIGINS", origins);
    program.serve(&[]).await
}

fn preflight(origin: &str, method: &str, headers: &str) -> Request {
    Request::new("OPTIONS", "/posts/1")
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers)
}

/// A request for each way to be refused, and what it is refused with.
fn refused() -> Vec<(u16, Request)> {
    vec![
        (
            401,
            Request::post("/posts/").json(&json!({ "title": "t", "content": "c" })),
        ),
        (401, Request::get("/posts/").bearer("bad")),
        (404, Request::get("/nothing")),
        (404, Request::get("/posts/77")),
        (405, Request::new("PATCH", "/posts/")),
        (413, Request::post("/users/").json_text(&" ".repeat(8193))),
        (
            415,
            Request::post("/users/")
                .header("content-type", "text/plain")
                .body("{}"),
        ),
        (422, Request::post("/users/").json_text("{")),
        (503, Request::get("/health")),
    ]
}

#[tokio::test]
async fn with_a_star_any_page_may_send_any_header_and_no_credentials() {
    let world = World::new(Door::Event).await;
    let served = serve(&world, "cors-any", "*").await;
    let [gateway, _] = Gateway::both();
    for origin in [
        PAGE,
        "http://localhost:3000",
        "null",
        "capacitor://localhost",
    ] {
        for method in gateway.list("AllowMethods") {
            let asked = preflight(
                origin,
                &method.to_ascii_uppercase(),
                "authorization,x-anything",
            );
            let answer = served.send(asked).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, String::new())
            );
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            assert_eq!(
                entries(&answer, "access-control-allow-headers"),
                ["authorization", "x-anything"].map(str::to_owned).into()
            );
            assert_eq!(
                entries(&answer, "access-control-allow-methods"),
                gateway.list("AllowMethods")
            );
            let max_age = format!(" {}\n", answer.header("access-control-max-age").unwrap());
            assert!(gateway.value("MaxAge").unwrap().starts_with(&max_age));
        }
        let answer = served.send(preflight(origin, "PUT", HEADERS)).await;
        assert_eq!(answer.header("access-control-allow-headers"), Some(HEADERS));
    }
    // The same in the gateway's words.
    assert_eq!(gateway.list("AllowOrigins"), ["*".to_owned()].into());
    assert_eq!(
        gateway.list("AllowHeaders"),
        ["*", "authorization"].map(str::to_owned).into()
    );
    assert_eq!(gateway.value("AllowCredentials"), None);

    let sign_up = json!({ "email": "ann@example.com", "password": PASSWORD });
    let sign_up = served
        .send(
            Request::post("/users/")
                .json(&sign_up)
                .header("origin", PAGE),
        )
        .await;
    assert_eq!(sign_up.status, 201);
    world
        .sql
        .batch_execute("delete from refinery_schema_history")
        .await
        .unwrap();
    for (status, request) in refused() {
        for origin in [Some(PAGE), None] {
            let request = match origin {
                Some(origin) => request.clone().header("origin", origin),
                None => request.clone(),
            };
            let answer = served.send(request).await;
            assert_eq!(answer.status.as_u16(), status);
            assert_eq!(
                answer.header("access-control-allow-origin"),
                Some("*"),
                "{status}"
            );
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            assert_eq!(
                entries(&answer, "access-control-expose-headers"),
                gateway.list("ExposeHeaders")
            );
            // One answer for all origins.
            assert_eq!(answer.header("vary"), None);
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_send_credentials_and_the_headers_of_their_libraries() {
    let world = World::new(Door::Event).await;
    let served = serve(&world, "cors-listed", LISTED).await;
    let [_, gateway] = Gateway::both();
    assert!(
        gateway
            .0
            .starts_with(": !Split [\",\", !Ref CorsOrigins]\n")
    );
    for origin in LISTED.split(',') {
        for method in gateway.list("AllowMethods") {
            let answer = served
                .send(preflight(origin, &method.to_ascii_uppercase(), HEADERS))
                .await;
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, String::new())
            );
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(
                answer.header("access-control-allow-credentials"),
                Some("true")
            );
            let allowed = entries(&answer, "access-control-allow-headers");
            assert!(
                HEADERS.split(',').all(|name| allowed.contains(name)),
                "{allowed:?}"
            );
            assert_eq!(allowed, gateway.list("AllowHeaders"));
            assert_eq!(
                entries(&answer, "access-control-allow-methods"),
                gateway.list("AllowMethods")
            );
            let max_age = format!(" {}\n", answer.header("access-control-max-age").unwrap());
            assert!(gateway.value("MaxAge").unwrap().starts_with(&max_age));
            assert!(entries(&answer, "vary").contains("origin"));
        }
    }
    assert!(
        gateway
            .value("AllowCredentials")
            .unwrap()
            .starts_with(" true\n")
    );

    world
        .sql
        .batch_execute("delete from refinery_schema_history")
        .await
        .unwrap();
    for (status, request) in refused() {
        for (origin, is_listed) in [
            (Some(PAGE), true),
            (Some("http://localhost:3000"), true),
            (Some("https://two.example"), false),
            (Some("https://one.example.evil.example"), false),
            (Some("https://one.example:8443"), false),
            (Some("http://one.example"), false),
            (Some("null"), false),
            (None, false),
        ] {
            let (request, asked) = match origin {
                Some(origin) => (
                    request.clone().header("origin", origin),
                    Some(preflight(origin, "PUT", "authorization")),
                ),
                None => (request.clone(), None),
            };
            let answer = served.send(request).await;
            assert_eq!(answer.status.as_u16(), status);
            let expected = origin.filter(|_| is_listed);
            let mut answers = vec![answer];
            if let Some(asked) = asked {
                answers.push(served.send(asked).await);
            }
            for answer in &answers {
                assert_eq!(
                    answer.header("access-control-allow-origin"),
                    expected,
                    "{origin:?}"
                );
                let credentials = is_listed.then_some("true");
                assert_eq!(
                    answer.header("access-control-allow-credentials"),
                    credentials,
                    "{origin:?}"
                );
                assert_eq!(entries(answer, "vary"), ["origin".to_owned()].into());
            }
            assert_eq!(
                entries(&answers[0], "access-control-expose-headers"),
                gateway.list("ExposeHeaders")
            );
        }
    }
    served.stop().await;
}
