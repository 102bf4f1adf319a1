//! Sessions: log in, refresh, log out.

mod login;
mod logout;
mod logout_all;
mod pair;
mod refresh;
mod sessions;

use axum::{
    Router,
    routing::{delete, get, post},
};
use shared::App;

/// The routes of this function.
pub fn router() -> Router<App> {
    Router::new()
        .route("/auth/login", post(login::login))
        .route("/auth/refresh", post(refresh::refresh))
        .route("/auth/logout", post(logout::logout))
        .route("/auth/logout-all", post(logout_all::logout_all))
        .route("/auth/sessions", get(sessions::list))
        .route("/auth/sessions/{id}", delete(sessions::end))
}
