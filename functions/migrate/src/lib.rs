//! The one-off function: brings the database to the schema of this build, and keeps it clean.

mod adopt;
mod clean_up;
pub mod custom_resource;
mod event;
mod schema;

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::{
    config::{BadSetting, Database, Defaults, Lambda, Settings},
    db, error,
};

pub use adopt::{Contents, Found, Rows, RunFrom, Survey, TakenOver};
pub use event::Event;
pub use schema::{MigrationName, Status};

/// What to do, as the function's event says it: `{"action": "migrate"}`. An event with a field that the action
/// does not know is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Event")]
pub enum Order {
    /// Apply every migration that is missing.
    Migrate,
    /// Tell which are applied and which are missing, and change nothing.
    Status,
    /// Delete what has expired.
    CleanUp,
    /// Turn the database of the FastAPI service into this service's.
    Adopt {
        /// Only tell what would happen: `"dry_run": true` or `"dry-run": true`.
        dry_run: bool,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// The migrations that were missing and now are applied, in order.
    Migrated {
        /// None, where the schema was current.
        applied: Vec<MigrationName>,
        /// The version of the schema now.
        version: Option<i32>,
    },
    /// Where the schema stands.
    Status(Status),
    /// How many rows had expired.
    CleanedUp {
        /// Sessions deleted, their refresh tokens with them.
        sessions: u64,
    },
    /// What an adoption would find and do.
    Surveyed(Survey),
    /// The database was the FastAPI service's, and is this one's now.
    Adopted {
        /// The rows that were taken over.
        taken_over: TakenOver,
        /// How long it took.
        seconds: u64,
        /// The version of the schema now.
        version: Option<i32>,
    },
    /// The database is this service's already.
    NothingToAdopt {
        /// Says so.
        nothing_to_do: &'static str,
        /// The version of its schema.
        version: i32,
    },
}

/// Why it was not done, in one sentence. It changed nothing, or as much as the migrations that it names.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(error::describe(&error))
    }
}

impl From<BadSetting> for Failure {
    fn from(bad: BadSetting) -> Self {
        Self(bad.to_string())
    }
}

/// The database of the function, if all settings make sense.
pub fn database(settings: &Settings<'_>) -> Result<Database, Failure> {
    Lambda::read(settings)?;
    Database::read(settings, Defaults::LAMBDA)?
        .ok_or_else(|| Failure("DATABASE_HOSTNAME is not set.".to_owned()))
}

/// Carries out an order on a direct connection to the database.
pub async fn carry_out(order: &Order, database: &Database) -> Result<Report, Failure> {
    let mut client = db::connect(database).await.map_err(|error| {
        Failure(format!(
            "The database {} on {}:{} cannot be used: {}.",
            database.name,
            database.hostname,
            database.port,
            error.cause()
        ))
    })?;
    match order {
        Order::Migrate => schema::migrate(&mut client).await,
        Order::Status => schema::status(&mut client).await.map(Report::Status),
        Order::CleanUp => clean_up::clean_up(&client).await,
        Order::Adopt { dry_run: true } => adopt::survey(&mut client).await,
        Order::Adopt { dry_run: false } => adopt::adopt(&mut client).await,
    }
}
