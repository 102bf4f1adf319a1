//! The whole bundle on one machine: every function behind one port, and a PostgreSQL of its own.

pub mod command;
pub mod data;
pub mod log;
pub mod postgres;
pub mod proxies;
pub mod server;
pub mod settings;

use axum::Router;
use shared::App;

/// The routes of all functions, as API Gateway spreads them.
pub fn router() -> Router<App> {
    Router::new()
        .merge(auth::router())
        .merge(users::router())
        .merge(posts::router())
        .merge(votes::router())
        .merge(system::router())
}
