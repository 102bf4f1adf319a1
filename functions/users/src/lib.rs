//! Accounts: sign up, look somebody up, and what people do with their own.

mod confirm;
mod create;
mod me;
mod read;

use axum::{
    Router,
    routing::{get, post, put},
};
use shared::App;

/// The routes of this function.
pub fn router() -> Router<App> {
    Router::new()
        .route("/users", post(create::create))
        .route("/users/me", get(me::read).delete(me::delete))
        .route("/users/me/password", put(me::change))
        .route("/users/{id}", get(read::read))
}
