//! `GET /openapi.json`: the API, described for programs.

use axum::http::{HeaderName, header};

/// The document. The tests hold every answer of the API against it.
const DOCUMENT: &str = include_str!("../openapi.json");

/// Sends the document. It changes with a deployment, and is worth keeping for a while.
pub(crate) async fn read() -> ([(HeaderName, &'static str); 2], &'static str) {
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "public, max-age=300"),
        ],
        DOCUMENT,
    )
}
