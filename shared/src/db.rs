//! The database: a small pool, statements in one round trip, every wait bounded.

mod direct;

use std::{
    collections::HashSet,
    future,
    ops::{Deref, DerefMut},
    sync::{
        self, Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{
        self, Manager, Metrics, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts,
    },
};
use deadpool_postgres::ClientWrapper;
use tokio::{
    sync::{Mutex, watch},
    task::{AbortHandle, JoinHandle},
    time::timeout,
};
use tokio_postgres::{
    Client, IsolationLevel,
    config::SslMode,
    error::{Severity, SqlState},
    types::ToSql,
};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use direct::Direct;
pub use tokio_postgres::{Row, types::Type};

use crate::{
    clock::Moment,
    config::{self, Sslmode},
    error::{Error, chain, describe},
    tls,
};

/// Longest wait for a connection of the pool, and for a new one to open.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for a direct connection, which nobody's request waits for.
const CONNECT_DIRECTLY: Duration = Duration::from_secs(10);
/// A connection idle for longer is asked whether it still lives: Lambda freezes a function between requests,
/// and the network forgets a connection that says nothing.
const STALE: Duration = Duration::from_secs(5);
/// Longest wait for the answer to that question.
const CHECK: Duration = Duration::from_secs(1);

/// Longest time to take leave of the server: Lambda kills a function half a second after it told it to end.
const FAREWELL: Duration = Duration::from_millis(300);

/// A parameter and its type: typed statements need no round trip to be prepared.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The database of the running function. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    open: Option<Open>,
}

type Pool = managed::Pool<Gate>;
type Object = managed::Object<Gate>;

#[derive(Clone)]
struct Open {
    pool: Pool,
    gate: Gate,
    statement_timeout: Duration,
    /// The statements that were sent before, of which there are as many as the code has; `None` where no statement
    /// may be prepared by name.
    known: Option<Arc<sync::Mutex<HashSet<String>>>>,
}

/// How often a statement is planned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Planning {
    /// As often as the server thinks right: in the end one plan does for all values.
    Once,
    /// Each time, for the values that it comes with.
    EachTime,
}

/// How a statement is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In one round trip, without a name.
    Unnamed,
    /// By a name that the connection keeps.
    Prepared,
    /// In a transaction of its own.
    ReadCommitted,
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
        self.read_planned(Planning::Once, sql, parameters).await
    }

    /// Like [`Db::read`], for a statement whose best plan depends on its values: how many rows are skipped.
    pub async fn read_by_values(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Error> {
        self.read_planned(Planning::EachTime, sql, parameters).await
    }

    async fn read_planned(
        &self,
        planning: Planning,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Error> {
        let open = self.open()?;
        match open.query(planning, sql, parameters).await {
            Err(Failure::Broken(_)) => open.query(planning, sql, parameters).await,
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
        match self.open()?.query(Planning::Once, sql, &[]).await {
            Err(Failure::Refused(error)) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                Ok(None)
            }
            result => one(result?).map(Some),
        }
    }

    /// Runs a statement that changes something and reads the one row with which it explains itself. Where its
    /// answer is lost, it is not sent again: the client is told (503) and nothing is done twice. It is sent once
    /// more only where the server says that it changed nothing.
    pub async fn write(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Row, Error> {
        let open = self.open()?;
        one(open.query(Planning::Once, sql, parameters).await?)
    }

    /// Closes the connections that no request uses, and tells the server so; nothing can be asked afterwards.
    pub async fn close(&self) {
        let Some(open) = &self.open else { return };
        let closing = &open.gate.0.closing;
        closing.send_replace(true);
        open.pool.close();
        // Until every connection has ended.
        let _ = timeout(FAREWELL, closing.closed()).await;
    }

    fn open(&self) -> Result<&Open, Error> {
        self.open
            .as_ref()
            .ok_or_else(|| Error::unavailable("no database is configured"))
    }
}

impl Open {
    fn new(database: &config::Database) -> Self {
        let gate = Gate::new(database);
        let pool = Pool::builder(gate.clone())
            .max_size(database.pool_size)
            .timeouts(Timeouts {
                wait: Some(CONNECT),
                create: Some(CONNECT),
                recycle: Some(CHECK),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .unwrap_or_else(|_| unreachable!("a pool with timeouts has a runtime"));
        Self {
            pool,
            gate,
            statement_timeout: database.statement_timeout,
            known: database.prepared_statements.then(Arc::default),
        }
    }

    /// Whether the statement is to be prepared by name: from the second time it is sent, since a cold start has no
    /// time for more than one round trip.
    fn is_prepared(&self, sql: &str) -> bool {
        let Some(known) = &self.known else {
            return false;
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(sql);
        if !is_known {
            known.insert(sql.to_owned());
        }
        is_known
    }

    async fn client(&self) -> Result<Object, Failure> {
        let tried = self.gate.login().await.map_err(Failure::Unsent)?;
        match self.pool.get().await {
            // The password may have been rotated: once more with the one that is valid now.
            Err(PoolError::Backend(error))
                if is_refused_login(&error)
                    && self.gate.renew(&tried).await.map_err(Failure::Unsent)? =>
            {
                self.pool.get().await
            }
            result => result,
        }
        .map_err(|error| {
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

    /// Sends a statement, and sends it once more where the server rolled it back since it collided with another: it
    /// changed nothing.
    async fn query(
        &self,
        planning: Planning,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let is_prepared = planning == Planning::Once && self.is_prepared(sql);
        let first = if is_prepared {
            Way::Prepared
        } else {
            Way::Unnamed
        };
        let result = self.query_once(first, sql, parameters).await;
        match &result {
            Err(Failure::Refused(error)) => match error.code() {
                Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                    self.query_once(Way::Unnamed, sql, parameters).await
                }
                Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                    self.query_once(Way::ReadCommitted, sql, parameters).await
                }
                _ => result,
            },
            _ => result,
        }
    }

    async fn query_once(
        &self,
        way: Way,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let mut client = self.client().await?;
        let cancel = client.cancel_token();
        let answer = async {
            match way {
                Way::Unnamed => client.query_typed(sql, parameters).await,
                Way::Prepared => query_prepared(&client, sql, parameters).await,
                Way::ReadCommitted => query_read_committed(&mut client, sql, parameters).await,
            }
        };
        match timeout(self.statement_timeout, answer).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) if keeps_connection(&error) => Err(Failure::Refused(error)),
            Ok(Err(error)) => {
                drop(Object::take(client));
                Err(Failure::Broken(error.into()))
            }
            Err(_) => {
                // The server would go on with the statement; the connection is no use until it ends.
                drop(Object::take(client));
                let tls = self.gate.0.tls.clone();
                tokio::spawn(async move { timeout(CONNECT, cancel.cancel_query(tls)).await });
                Err(Failure::Late)
            }
        }
    }
}

/// Runs a statement that the connection keeps prepared, so that the server neither reads nor plans it anew: most
/// of what a statement costs. The first time on a connection is a round trip more.
async fn query_prepared(
    client: &Object,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let (values, types): (Vec<_>, Vec<_>) = parameters.iter().cloned().unzip();
    let prepared = async {
        let statement = client.prepare_typed_cached(sql, &types).await?;
        client.query(&statement, &values).await
    };
    match prepared.await {
        Err(error) if keeps_connection(&error) && is_unusable(&error) => {
            client.statement_cache.remove(sql, &types);
            client.query_typed(sql, parameters).await
        }
        result => result,
    }
}

/// Whether the server refused the name of a statement, which therefore did not run: it was prepared before a
/// migration changed what it answers with, or on a server that another has replaced, or the name is another
/// process's, behind a pooler that does not keep them apart.
fn is_unusable(error: &tokio_postgres::Error) -> bool {
    let states = [
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::DUPLICATE_PSTATEMENT,
        SqlState::PROTOCOL_VIOLATION,
    ];
    error.code().is_some_and(|state| states.contains(state))
}

/// Runs a statement in a transaction of the isolation that it is written for, where the database has another one by
/// default. Under `read committed` it waits for those that it collides with, and does not fail.
async fn query_read_committed(
    client: &mut Object,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let transaction = tokio_postgres::Client::build_transaction(client)
        .isolation_level(IsolationLevel::ReadCommitted)
        .start()
        .await?;
    let rows = transaction.query_typed(sql, parameters).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// A connection of its own that lives as long as its client, or as what the client asked last.
pub async fn connect(database: &config::Database) -> Result<Client, Error> {
    let (client, _) = connect_directly(database).await?;
    Ok(client)
}

async fn connect_directly(database: &config::Database) -> Result<(Client, JoinHandle<()>), Error> {
    let gate = Gate::new(database);
    let tried = gate.login().await?;
    let connect = async || {
        timeout(CONNECT_DIRECTLY, gate.connect_once())
            .await
            .map_err(|_| Error::unavailable("the database does not answer"))
    };
    let connected = match connect().await? {
        Err(error) if is_refused_login(&error) && gate.renew(&tried).await? => connect().await?,
        result => result,
    };
    connected.map_err(|error| Error::unavailable(describe(&error)))
}

/// Where connections come from. The login may be in Secrets Manager, and may change there at any time.
#[derive(Clone)]
struct Gate(Arc<GateState>);

struct GateState {
    database: config::Database,
    tls: MakeRustlsConnect,
    /// The database with its login; none until the secret was fetched.
    login: RwLock<Option<Login>>,
    /// Held while the secret is fetched, so that one does it for all.
    fetching: Mutex<()>,
    /// How often that was tried.
    fetches: AtomicU64,
    /// Whether the pool is being closed. Every connection listens as long as it lives.
    closing: watch::Sender<bool>,
}

/// The same allocation is the same login.
type Login = Arc<config::Database>;

impl Gate {
    fn new(database: &config::Database) -> Self {
        Self(Arc::new(GateState {
            database: database.clone(),
            tls: tls::connector(database.sslmode, &database.certificates),
            login: RwLock::new(
                database
                    .secret
                    .is_none()
                    .then(|| Arc::new(database.clone())),
            ),
            fetching: Mutex::default(),
            fetches: AtomicU64::new(0),
            closing: watch::Sender::new(false),
        }))
    }

    /// The login, fetched first where there is none yet; 503 where it cannot be fetched.
    async fn login(&self) -> Result<Login, Error> {
        if let Some(login) = self.known() {
            return Ok(login);
        }
        let before = self.0.fetches.load(Ordering::Relaxed);
        let _fetching = self.0.fetching.lock().await;
        if let Some(login) = self.known() {
            // Somebody else fetched it meanwhile.
            return Ok(login);
        }
        if self.0.fetches.load(Ordering::Relaxed) != before {
            // Somebody else could not. Were everybody to try in turn, the last would wait for all.
            return Err(Error::unavailable(
                "the database's login could not be fetched, as another request found",
            ));
        }
        self.fetch().await
    }

    /// Fetches the login again, now that the server refused the one that was tried, unless somebody else did
    /// so meanwhile. Says whether there is another one to try.
    async fn renew(&self, tried: &Login) -> Result<bool, Error> {
        if self.0.database.secret.is_none() {
            return Ok(false);
        }
        let is_another = || {
            self.known()
                .is_some_and(|login| !Arc::ptr_eq(&login, tried))
        };
        let before = self.0.fetches.load(Ordering::Relaxed);
        let _fetching = self.0.fetching.lock().await;
        if !is_another() && self.0.fetches.load(Ordering::Relaxed) == before {
            self.fetch().await?;
        }
        Ok(is_another())
    }

    fn known(&self) -> Option<Login> {
        self.0
            .login
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn fetch(&self) -> Result<Login, Error> {
        let fetched = self.fetch_once().await;
        self.0.fetches.fetch_add(1, Ordering::Relaxed);
        let fetched = fetched?;
        let what = |login: &config::Database| {
            (
                login.hostname.clone(),
                login.port,
                login.name.clone(),
                login.username.clone(),
                login.password.clone(),
            )
        };
        if let Some(known) = self.known()
            && what(&known) == what(&fetched)
        {
            return Ok(known);
        }
        let login = Arc::new(fetched);
        *self.0.login.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&login));
        Ok(login)
    }

    async fn fetch_once(&self) -> Result<config::Database, Error> {
        let Some(secret) = &self.0.database.secret else {
            return Ok(self.0.database.clone());
        };
        let value = secret
            .secrets
            .current(&secret.arn)
            .await
            .map_err(|error| Error::unavailable(error.0))?;
        self.0
            .database
            .with_login(&value)
            .map_err(Error::unavailable)
    }

    async fn connect_once(&self) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let known = self.known();
        let login = known.as_deref().unwrap_or(&self.0.database);
        let mut config = tokio_postgres::Config::new();
        config
            .host(&login.hostname)
            .port(login.port)
            .dbname(&login.name)
            .user(&login.username)
            .password(login.password.reveal())
            .connect_timeout(CONNECT)
            .ssl_mode(match login.sslmode {
                Sslmode::Disable => SslMode::Disable,
                Sslmode::Require | Sslmode::VerifyFull => SslMode::Require,
            });
        let (client, connection) = config.connect(self.0.tls.clone()).await?;
        let closing = self.0.closing.subscribe();
        let task = tokio::spawn(async move {
            let _lives = closing;
            if let Err(error) = connection.await {
                tracing::warn!(
                    cause = describe(&error),
                    "a connection to the database broke"
                );
            }
        });
        Ok((client, task))
    }
}

impl Manager for Gate {
    type Type = Connection;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<Connection, tokio_postgres::Error> {
        let (client, connection) = self.connect_once().await?;
        let leash = Leash {
            connection: connection.abort_handle(),
            closing: self.0.closing.subscribe(),
        };
        let holder = tokio::spawn(async move {
            let _leash = leash;
            future::pending::<()>().await;
        });
        Ok(Connection {
            client: ClientWrapper::new(client, holder),
            used_at: Moment::now(),
        })
    }

    /// Lets a connection be used again, unless it has ended, or is stale and does not answer.
    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<tokio_postgres::Error> {
        if connection.is_closed() {
            return Err(RecycleError::message("the connection has ended"));
        }
        if connection.used_at.elapsed() >= STALE {
            timeout(CHECK, connection.simple_query(""))
                .await
                .map_err(|_| RecycleError::message("a stale connection does not answer"))??;
        }
        connection.used_at = Moment::now();
        Ok(())
    }
}

/// A connection of the pool.
struct Connection {
    client: ClientWrapper,
    /// When a request last got it.
    used_at: Moment,
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.client
    }
}

/// Ends a connection with the task that the pool ends when it drops the client: nobody waits for a server that
/// is gone. When the pool is being closed the connection ends by itself, after it has told the server.
struct Leash {
    connection: AbortHandle,
    closing: watch::Receiver<bool>,
}

impl Drop for Leash {
    fn drop(&mut self) {
        if !*self.closing.borrow() {
            self.connection.abort();
        }
    }
}

/// Whether the server knows no such user with such a password.
fn is_refused_login(error: &tokio_postgres::Error) -> bool {
    let state = error.code();
    state == Some(&SqlState::INVALID_PASSWORD)
        || state == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
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
