//! The PostgreSQL of a test run: one server, one migrated template, a clone of it for every test.

use std::{
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use local::postgres::{Server, Source};
use migrate::Order;
use shared::config::{Database, Secret, Sslmode};
use tokio::{process::Command, sync::mpsc as orders};

/// A database of a test's own, dropped when the test ends.
pub(super) struct TestDatabase {
    pub(super) settings: Database,
}

struct Running {
    template: Database,
    /// Where `pg_dump` is, beside the server.
    programs: PathBuf,
    log: PathBuf,
    /// Names of databases to drop.
    drop: orders::UnboundedSender<String>,
}

static RUNNING: LazyLock<Running> = LazyLock::new(start);
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Starts the server on a thread that lives as long as the process. The server ends when the process does.
fn start() -> Running {
    let (started, ready) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres-tests");
            let server = Server::start_throwaway(&parent, &Source::Search)
                .await
                .unwrap();
            let template = reached_by(&server);
            migrate::carry_out(&Order::Migrate, &template)
                .await
                .unwrap();
            let (drop, mut names) = orders::unbounded_channel::<String>();
            started
                .send(Running {
                    template: template.clone(),
                    programs: server.programs().to_owned(),
                    log: server.log().to_owned(),
                    drop,
                })
                .unwrap();
            let keeper = keeper(&template).await;
            while let Some(name) = names.recv().await {
                keeper
                    .batch_execute(&format!("drop database {name} with (force)"))
                    .await
                    .unwrap();
            }
        });
    });
    ready.recv().expect("the PostgreSQL of the tests starts")
}

/// How to reach the database of a server, without TLS.
pub(crate) fn reached_by(server: &Server) -> Database {
    let connection = server.connection();
    Database {
        hostname: connection.host.to_string(),
        port: connection.port,
        name: connection.database.clone(),
        username: connection.username.clone(),
        password: Secret::new(connection.password.clone()),
        secret: None,
        sslmode: Sslmode::Disable,
        certificates: Vec::new(),
        pool_size: 16,
        statement_timeout: Duration::from_secs(15),
        prepared_statements: true,
    }
}

/// A connection to the database that is there for creating others.
async fn keeper(template: &Database) -> tokio_postgres::Client {
    super::connect(&Database {
        name: "postgres".to_owned(),
        ..template.clone()
    })
    .await
}

impl TestDatabase {
    /// A clone of the migrated template.
    pub(super) async fn new() -> Self {
        Self::copy_of(|running| &running.template.name).await
    }

    /// A database that was never migrated.
    pub(super) async fn empty() -> Self {
        Self::copy_of(|_| "template0").await
    }

    async fn copy_of(template: impl FnOnce(&Running) -> &str) -> Self {
        let running = tokio::task::spawn_blocking(|| &*RUNNING).await.unwrap();
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let copy = format!("create database {name} template {}", template(running));
        keeper(&running.template)
            .await
            .batch_execute(&copy)
            .await
            .unwrap();
        Self {
            settings: Database {
                name,
                ..running.template.clone()
            },
        }
    }
}

/// The lines of the server's log that are of a database of the tests.
pub(crate) fn log_of(database: &Database) -> Vec<String> {
    let log = std::fs::read(&RUNNING.log).unwrap();
    let name = format!("] {} ", database.name);
    let log = String::from_utf8_lossy(&log);
    let lines = log.lines().filter(|line| line.contains(&name));
    lines.map(str::to_owned).collect()
}

/// What `pg_dump` says of a database of the tests, with these arguments.
pub(crate) async fn dump(database: &Database, arguments: &[&str]) -> String {
    let running = tokio::task::spawn_blocking(|| &*RUNNING).await.unwrap();
    let output = Command::new(running.programs.join("pg_dump"))
        .args(["-h", &database.hostname, "-p", &database.port.to_string()])
        .args(["-U", &database.username, &database.name])
        .args(arguments)
        .env("PGPASSWORD", database.password.reveal())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // A new random word each time, which guards whoever restores it.
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .fold(String::new(), |text, line| text + line + "\n")
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // The server may be gone already, when the process ends; then so is the database.
        let _ = RUNNING.drop.send(self.settings.name.clone());
    }
}
