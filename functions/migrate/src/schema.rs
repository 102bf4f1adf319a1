//! The migrations in `migrations/`, and where a database stands among them.

use std::fmt;

use refinery::{Migration, Runner, embed_migrations};
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use serde::Serialize;
use shared::error::describe;
use time::OffsetDateTime;
use tokio_postgres::{Client, Transaction};

use crate::{
    Failure, Report,
    deadline::Deadline,
    transaction::{begin, begin_to_read, commit, lock_schema},
};

embed_migrations!("../../migrations");

const HAS_HISTORY: &str =
    "select to_regclass('refinery_schema_history') is not null as has_history";
const HISTORY: &str = "select version, name from refinery_schema_history order by version";
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

/// Applies what is missing, in one transaction: all of it or nothing. Of several at once one works, and the others
/// wait and find nothing to do.
pub(crate) async fn migrate(client: &mut Client, deadline: Deadline) -> Result<Report, Failure> {
    let transaction = begin(client).await?;
    lock_schema(&transaction, deadline).await?;
    let before = status_within(&transaction).await?;
    if before.applied.is_empty()
        && transaction
            .query_typed_one(IS_OF_FASTAPI, &[])
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
        apply(&transaction)
            .await
            .map_err(|failure| Failure(format!("{failure}. Nothing was changed.")))?;
    }
    let after = status_within(&transaction).await?;
    commit(transaction, "The migrations").await?;
    Ok(Report::Migrated {
        version: after.applied.last().map(|last| last.version),
        applied: before.pending,
    })
}

/// Applies what is missing and writes the history, within a transaction that holds the lock.
pub(crate) async fn apply(transaction: &Transaction<'_>) -> Result<(), Failure> {
    migrations::runner()
        .run_async(&mut Within(transaction))
        .await
        .map_err(|error| failure(&error))?;
    Ok(())
}

/// Reads the history.
pub(crate) async fn status(client: &mut Client) -> Result<Status, Failure> {
    let transaction = begin_to_read(client).await?;
    let status = status_within(&transaction).await?;
    commit(transaction, "Reading the history").await?;
    Ok(status)
}

/// Reads the history, which a database that was never migrated does not have.
pub(crate) async fn status_within(transaction: &Transaction<'_>) -> Result<Status, Failure> {
    let runner: Runner = migrations::runner();
    let mut applied = Vec::new();
    let has_history = transaction.query_typed_one(HAS_HISTORY, &[]).await?;
    if has_history.get("has_history") {
        for row in transaction.query_typed(HISTORY, &[]).await? {
            applied.push(MigrationName {
                version: row.try_get("version")?,
                name: row.try_get("name")?,
            });
        }
    }
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

/// A transaction that migrations run in, all of them: refinery's own way to run them has one for each, and names
/// the statements.
struct Within<'a>(&'a Transaction<'a>);

/// Why refinery could not go on.
#[derive(Debug)]
enum Stopped {
    Refused(tokio_postgres::Error),
    /// The checksum of this migration in the history is no number.
    Unreadable(i32),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => f.write_str(&describe(error)),
            Self::Unreadable(version) => {
                write!(f, "the history has no checksum of migration {version}")
            }
        }
    }
}

impl std::error::Error for Stopped {}

impl From<tokio_postgres::Error> for Stopped {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Refused(error)
    }
}

impl AsyncTransaction for Within<'_> {
    type Error = Stopped;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        statements: T,
    ) -> Result<usize, Stopped> {
        let mut executed = 0;
        for statement in statements {
            self.0.batch_execute(statement).await?;
            executed += 1;
        }
        Ok(executed)
    }
}

impl AsyncQuery<Vec<Migration>> for Within<'_> {
    async fn query<'a>(&'a mut self, history: &'a str) -> Result<Vec<Migration>, Stopped> {
        let mut applied = Vec::new();
        for row in self.0.query_typed(history, &[]).await? {
            let version = row.try_get("version")?;
            let checksum: &str = row.try_get("checksum")?;
            let checksum = checksum.parse();
            applied.push(Migration::applied(
                version,
                row.try_get("name")?,
                // When it was applied makes no difference to what is missing.
                OffsetDateTime::UNIX_EPOCH,
                checksum.map_err(|_| Stopped::Unreadable(version))?,
            ));
        }
        Ok(applied)
    }
}

impl AsyncMigrate for Within<'_> {}

fn failure(error: &refinery::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(stopped) = inner.downcast_ref::<Stopped>() {
            return Failure(format!("The migrations did not finish: {error}: {stopped}"));
        }
        source = inner.source();
    }
    Failure(format!("The migrations did not finish: {error}"))
}
