//! A handler that panics: its client is told, and the next one is served.

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use http_body_util::BodyExt;
use lambda_http::tower::ServiceExt;
use shared::{App, app};

use crate::world::{Door, World};

#[tokio::test]
async fn a_panic_is_a_500_without_internals_and_the_next_request_is_served() {
    let world = World::new(Door::Event).await;
    let router = Router::new()
        .route(
            "/panics",
            get(async || -> Response { panic!("the secret reason") }),
        )
        .merge(system::router());
    let served = app::service(router, App::new(&world.config, 1).unwrap());
    let ask = async |target: &str| {
        let request = Request::get(target).body(Body::empty()).unwrap();
        let (parts, body) = served.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts, String::from_utf8(body.to_vec()).unwrap())
    };
    let (parts, body) = ask("/panics").await;
    assert_eq!(parts.status, 500);
    assert_eq!(body, r#"{"detail":"Internal Server Error"}"#);
    assert!(parts.headers.contains_key("x-request-id"));
    let (parts, body) = ask("/health").await;
    assert_eq!(
        (parts.status.as_u16(), body.as_str()),
        (200, r#"{"status":"ok"}"#)
    );
}
