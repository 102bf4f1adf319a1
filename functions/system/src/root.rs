//! `GET /`: what answers here.

use serde::Serialize;
use shared::reply::Json;

/// The service in a few words.
#[derive(Serialize)]
pub(crate) struct About {
    name: &'static str,
    version: &'static str,
}

/// Says what answers here.
pub(crate) async fn read() -> Json<About> {
    Json(About {
        name: "Social Media API",
        version: env!("CARGO_PKG_VERSION"),
    })
}
