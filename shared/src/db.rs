//! The database: a small pool, statements in one round trip, every wait bounded.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, TimeoutType,
    Timeouts,
};
use tokio::time::timeout;
use tokio_postgres::{
    Client, NoTls,
    error::{Severity, SqlState},
    types::ToSql,
};

pub use tokio_postgres::{Row, types::Type};

use crate::{
    config,
    error::{Error, chain, describe},
};

/// Longest wait for a connection of the pool, and for a new one to open.
const CONNECT: Duration = Duration::from_secs(3);
/// A connection idle for longer is asked whether it still lives: Lambda freezes a function between requests,
/// and the network forgets a connection that says nothing.
const STALE: Duration = Duration::from_secs(5);
/// Longest wait for the answer to that question.
const CHECK: Duration = Duration::from_secs(1);

/// A parameter and its type: typed statements need no round trip to be prepared.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The database of the running function. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    open: Option<Open>,
}

#[derive(Clone)]
struct Open {
    pool: Pool,
    statement_timeout: Duration,
}

/// Why a statement has no result.
enum Failure {
    /// No connection was to be had; the statement was never sent.
    Unsent(Error),
    /// The connection broke under the statement: whether it took effect is unknown.
    Broken(Error),
    /// The answer did not come in time, and the statement was cancelled.
    Late,
    /// The server refused the statement, which therefore changed nothing.
    Refused(tokio_postgres::Error),
}

impl Db {
    /// A database that is connected to at the first statement, or by [`Db::warm`].
    pub fn new(database: Option<&config::Database>) -> Self {
        Self {
            open: database.map(Open::new),
        }
    }

    /// Opens the first connection ahead of the first request. A failure is left for that request to report.
    pub async fn warm(&self) {
        if let Some(open) = &self.open
            && let Err(Failure::Unsent(error)) = open.client().await
        {
            tracing::warn!(
                ?error,
                "the database could not be reached ahead of the first request"
            );
        }
    }

    /// Reads rows. A statement that only reads is repeated once where its connection broke under it.
    pub async fn read(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Error> {
        let open = self.open()?;
        match open.query(sql, parameters).await {
            Err(Failure::Broken(_)) => open.query(sql, parameters).await,
            result => result,
        }
        .map_err(Error::from)
    }

    /// Reads the one row that the statement always has.
    pub async fn read_one(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Row, Error> {
        one(self.read(sql, parameters).await?)
    }

    /// Reads the one row of a statement without parameters; `None` where its table does not exist.
    pub async fn read_if_exists(&self, sql: &str) -> Result<Option<Row>, Error> {
        match self.open()?.query(sql, &[]).await {
            Err(Failure::Refused(error)) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                Ok(None)
            }
            result => one(result?).map(Some),
        }
    }

    /// Runs a statement that changes something and reads the one row with which it explains itself. It is
    /// sent once: where its answer is lost, the client is told (503) and nothing is done twice.
    pub async fn write(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Row, Error> {
        one(self.open()?.query(sql, parameters).await?)
    }

    /// Like [`Db::write`], for a statement that a constraint may refuse: `refusal` turns the constraint's
    /// name into an answer, or leaves it a fault of ours by `None`.
    pub async fn write_or(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
        refusal: impl Fn(&str) -> Option<Error>,
    ) -> Result<Row, Error> {
        match self.open()?.query(sql, parameters).await {
            Err(Failure::Refused(error)) => {
                let constraint = error.as_db_error().and_then(|error| error.constraint());
                Err(constraint.and_then(refusal).unwrap_or_else(|| error.into()))
            }
            result => one(result?),
        }
    }

    fn open(&self) -> Result<&Open, Error> {
        self.open
            .as_ref()
            .ok_or_else(|| Error::unavailable("no database is configured"))
    }
}

impl Open {
    fn new(database: &config::Database) -> Self {
        let manager = Manager::from_config(
            login(database),
            NoTls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(database.pool_size)
            .timeouts(Timeouts {
                wait: Some(CONNECT),
                create: Some(CONNECT),
                recycle: Some(CHECK),
            })
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .pre_recycle(Hook::async_fn(|client, metrics| {
                Box::pin(async move {
                    if metrics.last_used() < STALE {
                        return Ok(());
                    }
                    match timeout(CHECK, client.simple_query("")).await {
                        Ok(Ok(_)) => Ok(()),
                        Ok(Err(error)) => Err(HookError::Backend(error)),
                        Err(_) => Err(HookError::message("a stale connection does not answer")),
                    }
                })
            }))
            .build()
            .unwrap_or_else(|_| unreachable!("a pool with timeouts has a runtime"));
        Self {
            pool,
            statement_timeout: database.statement_timeout,
        }
    }

    async fn client(&self) -> Result<Object, Failure> {
        self.pool.get().await.map_err(|error| {
            Failure::Unsent(Error::unavailable(match &error {
                PoolError::Timeout(TimeoutType::Wait) => {
                    "every connection of the pool is in use".to_owned()
                }
                PoolError::Timeout(_) => "the database does not answer".to_owned(),
                PoolError::Backend(error) => describe(error),
                error => chain(error),
            }))
        })
    }

    async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let client = self.client().await?;
        let cancel = client.cancel_token();
        match timeout(self.statement_timeout, client.query_typed(sql, parameters)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) if keeps_connection(&error) => Err(Failure::Refused(error)),
            Ok(Err(error)) => {
                drop(Object::take(client));
                Err(Failure::Broken(error.into()))
            }
            Err(_) => {
                // The server would go on with the statement; the connection is no use until it ends.
                drop(Object::take(client));
                tokio::spawn(async move { timeout(CONNECT, cancel.cancel_query(NoTls)).await });
                Err(Failure::Late)
            }
        }
    }
}

/// One direct connection, for work that needs a session of its own: migrations.
pub async fn connect(database: &config::Database) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = login(database).connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(
                cause = describe(&error),
                "a connection to the database broke"
            );
        }
    });
    Ok(client)
}

fn login(database: &config::Database) -> tokio_postgres::Config {
    let mut login = tokio_postgres::Config::new();
    login
        .host(&database.hostname)
        .port(database.port)
        .dbname(&database.name)
        .user(&database.username)
        .password(database.password.reveal())
        .connect_timeout(CONNECT);
    login
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent(error) | Failure::Broken(error) => error,
            Failure::Late => Error::unavailable("the statement took too long"),
            Failure::Refused(error) => error.into(),
        }
    }
}

/// Whether the server refused the statement and nothing more; a FATAL error ends the connection too.
fn keeps_connection(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|error| error.parsed_severity() == Some(Severity::Error))
}

fn one(mut rows: Vec<Row>) -> Result<Row, Error> {
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => Ok(row),
        _ => Err(Error::internal(
            "a statement that explains itself in one row did not",
        )),
    }
}
