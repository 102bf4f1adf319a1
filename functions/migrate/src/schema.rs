//! The migrations in `migrations/`, and where a database stands among them.

use refinery::{AsyncMigrate, Migration, Runner, embed_migrations};
use serde::Serialize;
use shared::error::describe;
use tokio_postgres::Client;

use crate::{Failure, Report};

embed_migrations!("../../migrations");

/// Any number will do, as long as every build uses the same.
const LOCK: i64 = 0x736f_6369_616c;
/// Longest wait for another migration to finish, and for the locks that a migration takes.
const PATIENCE: &str = "60s";
const HAS_HISTORY: &str =
    "select to_regclass('refinery_schema_history') is not null as has_history";
/// Alembic keeps its revision there; the table of users is what V1 would make.
const IS_OF_FASTAPI: &str = "
    select to_regclass('alembic_version') is not null and to_regclass('users') is not null as is_of_fastapi";

/// A migration by number and name, as its file has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationName {
    /// The number: migrations are applied in its order.
    pub version: i32,
    /// What it is about.
    pub name: String,
}

/// Where the schema of a database stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The migrations that the database has, in order.
    pub applied: Vec<MigrationName>,
    /// Those of this build that it has not.
    pub pending: Vec<MigrationName>,
}

impl From<&Migration> for MigrationName {
    fn from(migration: &Migration) -> Self {
        Self {
            version: migration.version(),
            name: migration.name().to_owned(),
        }
    }
}

/// Applies what is missing, each migration in a transaction of its own. Of several at once one works, and the
/// others wait and find nothing to do: an advisory lock is held for the length of the connection.
pub(crate) async fn migrate(client: &mut Client) -> Result<Report, Failure> {
    lock(client, PATIENCE).await?;
    let before = status(client).await?;
    if before.applied.is_empty()
        && client
            .query_one(IS_OF_FASTAPI, &[])
            .await?
            .get("is_of_fastapi")
    {
        return Err(Failure(
            "This is a database of the FastAPI service, and nothing was changed: `adopt` takes \
             it over, `migrate` would not."
                .to_owned(),
        ));
    }
    // A database that is ahead, after a deployment was rolled back, has all that this build needs.
    if !before.pending.is_empty() {
        migrations::runner()
            .run_async(client)
            .await
            .map_err(|error| failure(&error))?;
    }
    let after = status(client).await?;
    client
        .execute("select pg_advisory_unlock($1)", &[&LOCK])
        .await?;
    Ok(Report::Migrated {
        version: after.applied.last().map(|last| last.version),
        applied: before.pending,
    })
}

/// Waits until nobody else changes the schema, and keeps others from it for as long as the connection lives. No
/// wait for a lock is longer than `patience`, this one or a later one.
pub(crate) async fn lock(client: &Client, patience: &str) -> Result<(), Failure> {
    let set = format!("set lock_timeout = '{patience}'; set statement_timeout = 0");
    client.batch_execute(&set).await?;
    client
        .execute("select pg_advisory_lock($1)", &[&LOCK])
        .await?;
    Ok(())
}

/// Applies every migration to a schema that has none, and writes its history, by a connection that decides about
/// transactions itself.
pub(crate) async fn apply_all<C: AsyncMigrate + Send>(connection: &mut C) -> Result<(), Failure> {
    migrations::runner()
        .run_async(connection)
        .await
        .map_err(|error| failure(&error))?;
    Ok(())
}

/// Reads the history, which a database that was never migrated does not have.
pub(crate) async fn status(client: &mut Client) -> Result<Status, Failure> {
    let runner: Runner = migrations::runner();
    let applied: Vec<MigrationName> =
        if client.query_one(HAS_HISTORY, &[]).await?.get("has_history") {
            let applied = runner
                .get_applied_migrations_async(client)
                .await
                .map_err(|error| failure(&error))?;
            applied.iter().map(MigrationName::from).collect()
        } else {
            Vec::new()
        };
    let mut pending: Vec<_> = runner
        .get_migrations()
        .iter()
        .map(MigrationName::from)
        .collect();
    pending.retain(|migration| {
        applied
            .iter()
            .all(|applied| applied.version != migration.version)
    });
    pending.sort_by_key(|migration| migration.version);
    Ok(Status { applied, pending })
}

fn failure(error: &refinery::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<tokio_postgres::Error>() {
            return Failure(format!(
                "The migrations did not finish: {error}: {}",
                describe(refused)
            ));
        }
        source = inner.source();
    }
    Failure(format!("The migrations did not finish: {error}"))
}
