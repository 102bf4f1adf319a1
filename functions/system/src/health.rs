//! `GET /health`: whether the database answers, with the schema that this version needs.

use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use shared::{App, Error, reply::Json};

const SCHEMA: &str = "select max(version) as version from refinery_schema_history";

/// The number of the last migration in `migrations/`, found by the build script.
const NEEDED: &str = env!("SCHEMA_VERSION");

/// All is well.
#[derive(Serialize)]
pub(crate) struct Health {
    status: &'static str,
}

/// 200 when requests can be served; 503 says what is missing.
pub(crate) async fn read(State(app): State<App>) -> Result<Json<Health>, Error> {
    let behind = || {
        Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database schema is behind; run the migrations",
        )
    };
    // A database that was never migrated has no history.
    let row = app.db.read_if_exists(SCHEMA).await?.ok_or_else(behind)?;
    let version: Option<i32> = row.get("version");
    // Migrations only add first and remove later: a schema that is ahead is as good as one that is current.
    if version >= NEEDED.parse().ok() {
        Ok(Json(Health { status: "ok" }))
    } else {
        Err(behind())
    }
}
