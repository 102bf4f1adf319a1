//! The one-off function: brings the database to the schema of this build, and keeps it clean.

mod adopt;
mod clean_up;
pub mod custom_resource;
mod deadline;
mod event;
mod schema;
mod transaction;

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::{
    config::{BadSetting, Database, Defaults, Lambda, Settings},
    db::Direct,
    error,
};
use tokio::time::timeout;
use tokio_postgres::Client;

pub use adopt::{Contents, Found, Rows, RunFrom, Survey, TakenOver};
pub use deadline::Deadline;
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

impl Order {
    /// What is said of it when its time is over.
    fn late(self) -> &'static str {
        match self {
            Self::Migrate => "The migrations did not finish in time.",
            Self::Status => "The database did not answer in time.",
            Self::CleanUp => {
                "The clean-up did not finish in time; what it deleted before stays so."
            }
            Self::Adopt { dry_run: true } => "The survey did not finish in time.",
            Self::Adopt { dry_run: false } => {
                "The adoption did not finish in time, and nothing was changed."
            }
        }
    }
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
        /// Sessions that have expired and are left for the next time, where there was no time for all.
        #[serde(skip_serializing_if = "Option::is_none")]
        sessions_left: Option<i64>,
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

/// Why it was not done, in a sentence or two. It changed nothing; a clean-up keeps what it has deleted.
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

/// Carries out an order on a connection of its own, however long it takes.
pub async fn carry_out(order: &Order, database: &Database) -> Result<Report, Failure> {
    carry_out_by(order, database, Deadline::NONE).await
}

/// Carries out an order on a connection of its own, or fails when its time is over. What was under way then is
/// taken back, and holds no lock any more; that may take three seconds longer.
pub async fn carry_out_by(
    order: &Order,
    database: &Database,
    deadline: Deadline,
) -> Result<Report, Failure> {
    let late = || Err(Failure(order.late().to_owned()));
    let Some(connected) = within(deadline, Box::pin(Direct::open(database))).await else {
        return late();
    };
    let mut direct = connected.map_err(|error| {
        Failure(format!(
            "The database {} on {}:{} cannot be used: {}.",
            database.name,
            database.hostname,
            database.port,
            error.cause()
        ))
    })?;
    let work = Box::pin(obey(order, &mut direct.client, deadline));
    let Some(done) = within(deadline, work).await else {
        direct.cancel().await;
        return late();
    };
    direct.close().await;
    done
}

async fn obey(order: &Order, client: &mut Client, deadline: Deadline) -> Result<Report, Failure> {
    match order {
        Order::Migrate => schema::migrate(client, deadline).await,
        Order::Status => schema::status(client).await.map(Report::Status),
        Order::CleanUp => clean_up::clean_up(client, deadline).await,
        Order::Adopt { dry_run: true } => adopt::survey(client).await,
        Order::Adopt { dry_run: false } => adopt::adopt(client, deadline).await,
    }
}

/// What a future has come to by then, if it has.
async fn within<T>(deadline: Deadline, work: impl Future<Output = T>) -> Option<T> {
    match deadline.left() {
        Some(left) => timeout(left, work).await.ok(),
        None => Some(work.await),
    }
}
