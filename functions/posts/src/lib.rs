//! Posts: list, read, write, change, delete.

mod create;
mod delete;
mod list;
mod post;
mod read;
mod update;

use axum::{Router, routing::get};
use shared::App;

/// The routes of this function.
pub fn router() -> Router<App> {
    Router::new()
        .route("/posts", get(list::list).post(create::create))
        .route(
            "/posts/{id}",
            get(read::read).put(update::update).delete(delete::delete),
        )
}
