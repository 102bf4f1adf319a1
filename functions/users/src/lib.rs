//! Accounts: sign up, look somebody up.

mod create;
mod read;

use axum::{
    Router,
    routing::{get, post},
};
use shared::App;

/// The routes of this function.
pub fn router() -> Router<App> {
    Router::new()
        .route("/users", post(create::create))
        .route("/users/{id}", get(read::read))
}
