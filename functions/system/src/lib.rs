//! The service itself: what it is, and whether it works.

mod health;
mod openapi;
mod pages;
mod root;

use axum::{Router, routing::get};
use shared::App;

/// The routes of this function.
pub fn router() -> Router<App> {
    Router::new()
        .route("/", get(root::read))
        .route("/health", get(health::read))
        .route("/openapi.json", get(openapi::read))
        .route("/docs", get(pages::docs))
        .route("/docs/{asset}", get(pages::asset))
        .route("/redoc", get(pages::redoc))
}
