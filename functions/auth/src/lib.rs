//! Sessions: log in, refresh, log out.

mod login;
mod logout;
mod logout_all;
mod pair;
mod refresh;

use axum::{Router, routing::post};
use shared::App;

/// The routes of this function.
pub fn router() -> Router<App> {
    Router::new()
        .route("/auth/login", post(login::login))
        .route("/auth/refresh", post(refresh::refresh))
        .route("/auth/logout", post(logout::logout))
        .route("/auth/logout-all", post(logout_all::logout_all))
}
