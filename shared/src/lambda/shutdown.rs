//! The notice before the end. Lambda sends SIGTERM only where an extension is registered, so a function
//! registers one that subscribes to nothing.
//!
//! `lambda_runtime` has this as its feature `graceful-shutdown`, which brings chrono and a regular-expression
//! engine, and which panics where there is nobody to register with.

use std::time::Duration;

use axum::http::{HeaderValue, Request};
use lambda_http::Error;
use lambda_runtime_api_client::{PooledClient, body::Body};
use tokio::time::timeout;

/// No other extension of a function may have this name.
const NAME: &str = "notice-before-the-end";
/// Longest wait for a platform on the same machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks for the signal. Where that is refused the function serves all the same, and ends unannounced.
pub(super) async fn ask_for_notice() {
    let client = PooledClient::builder().build();
    let registered = timeout(PATIENCE, register(&client)).await;
    match registered.unwrap_or_else(|_| Err("there was no answer".into())) {
        // Lambda takes an extension for ready once it waits for its next event. This one has none coming.
        Ok(id) => drop(tokio::spawn(async move { next_event(&client, id).await })),
        Err(error) => tracing::warn!(error, "the function will end unannounced"),
    }
}

async fn register(client: &PooledClient) -> Result<HeaderValue, Error> {
    let request = Request::post("/2020-01-01/extension/register")
        .header("lambda-extension-name", NAME)
        .header("content-type", "application/json")
        .body(Body::from(r#"{"events":[]}"#))?;
    let answer = client.call(request).await?;
    let id = answer.headers().get("lambda-extension-identifier");
    Ok(id
        .ok_or_else(|| format!("the extension was refused ({})", answer.status()))?
        .clone())
}

async fn next_event(client: &PooledClient, id: HeaderValue) -> Result<(), Error> {
    let request = Request::get("/2020-01-01/extension/event/next")
        .header("lambda-extension-identifier", id)
        .body(Body::empty())?;
    client.call(request).await?;
    Ok(())
}
