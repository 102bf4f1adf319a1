//! A private PostgreSQL: found or fetched, created, started, recovered and stopped, on 127.0.0.1 alone.

mod account;
mod binaries;
mod cluster;
mod failure;
mod fetch;
mod lock;
mod process;

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::{NoTls, error::SqlState};

use account::Account;
use binaries::Binaries;
use cluster::Cluster;
use process::Process;

pub use binaries::Source;
pub use failure::Failure;

const USERNAME: &str = "postgres";
/// The name of the database that every server of ours has.
pub const DATABASE: &str = "social";

/// A PostgreSQL server of our own, which listens on 127.0.0.1 alone and wants a password.
///
/// It ends with this value, and with this process, however that ends: at the latest the kernel tells the
/// server's watcher that we are gone. Only `stop` waits for the end.
pub struct Server {
    process: Process,
    connection: Connection,
    cluster: Cluster,
    account: Account,
    binaries: Binaries,
    keep: Keep,
    log: PathBuf,
    /// Held for as long as the server is ours.
    _lock: File,
}

/// How to reach a server, as its superuser.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// 127.0.0.1
    pub host: IpAddr,
    /// A port that was free when the server started.
    pub port: u16,
    /// `postgres`
    pub username: String,
    /// Random, made with the data. `Debug` leaves it out.
    pub password: String,
    /// [`DATABASE`]
    pub database: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Durable: what was committed survives a crash of the machine.
    Data,
    /// As fast as can be, and gone when the server is.
    Nothing,
}

impl Server {
    /// Starts the server whose data are kept in `home`, creating them if there are none yet; where root's
    /// server could not reach them there, they are under /var/tmp and `home/database` is a link to them.
    /// `fresh` deletes the data first. A server that a killed run left on these data is stopped. Programs
    /// that have to be fetched are put beside `home`. `say` is told in short lines what takes time.
    ///
    /// # Errors
    ///
    /// Another process runs the server of this `home`; there are no programs and none can be fetched; the
    /// data were made by a version that is not here; files cannot be written; the server does not start
    /// within a minute.
    pub async fn start(
        home: &Path,
        source: &Source,
        fresh: bool,
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, Failure> {
        fs::create_dir_all(home).map_err(Failure::at("create", home))?;
        let shown = home.display().to_string();
        let home = fs::canonicalize(home).map_err(Failure::at("find", home))?;
        // Patient enough for a run that is just ending.
        let Some(lock) = lock::take(&home.join("lock"), Duration::from_millis(500)).await? else {
            return Err(Failure::new(format!(
                "The database in {shown} is already running, for another process: stop that one first, or set LOCAL_DATA to another folder"
            )));
        };
        let base = home.parent().unwrap_or(&home);
        let account = Account::choose(&home.join("database/data"))?;
        let cluster = Cluster::new(&home, base, account)?;
        let made_by = if fresh { None } else { cluster.made_by()? };
        let shelf = account.ground(base)?;
        let binaries = binaries::choose(source, made_by, &shelf, account, say).await?;
        if process::stop_orphan(&cluster, account, &binaries).await? {
            say("Stopped a PostgreSQL that a killed run had left behind.");
        }
        if made_by.is_none() {
            say(&format!(
                "Creating a PostgreSQL {} database in {shown} …",
                binaries.version
            ));
            cluster.delete_data()?;
            cluster.create(account, &binaries).await?;
        } else {
            say(&format!(
                "Starting PostgreSQL {} with the database in {shown} …",
                binaries.version
            ));
        }
        Self::run(cluster, account, binaries, Keep::Data, lock).await
    }

    /// Starts an empty server for a test run, fast instead of durable, in a new folder under `parent`, which
    /// is for such folders alone. What killed runs left there is removed. Programs that have to be fetched
    /// are put beside `parent`.
    ///
    /// # Errors
    ///
    /// As [`Server::start`], save that there is no other process to be in the way of.
    pub async fn start_throwaway(parent: &Path, source: &Source) -> Result<Self, Failure> {
        fs::create_dir_all(parent).map_err(Failure::at("create", parent))?;
        let parent = fs::canonicalize(parent).map_err(Failure::at("find", parent))?;
        let base = parent.parent().unwrap_or(&parent);
        let account = Account::choose(Path::new(""))?;
        let shelf = account.ground(base)?;
        let binaries = binaries::choose(source, None, &shelf, account, &mut |_| ()).await?;

        // A folder without a holder of its lock is a dead run's, so nobody may look while another is made.
        let Some(looking) = lock::take(&parent.join("lock"), Duration::from_mins(1)).await? else {
            return Err(Failure::new(format!(
                "Another process keeps {} locked",
                parent.display()
            )));
        };
        sweep(&parent, account, &binaries).await?;
        let home = parent.join(format!("run-{}", cluster::random()?.split_at(8).0));
        fs::create_dir(&home).map_err(Failure::at("create", &home))?;
        let lock = lock::take(&home.join("lock"), Duration::ZERO).await?;
        let lock = lock.ok_or_else(|| Failure::new(format!("{} is taken", home.display())))?;
        drop(looking);

        let cluster = Cluster::new(&home, base, account)?;
        cluster.create(account, &binaries).await?;
        Self::run(cluster, account, binaries, Keep::Nothing, lock).await
    }

    async fn run(
        cluster: Cluster,
        account: Account,
        binaries: Binaries,
        keep: Keep,
        lock: File,
    ) -> Result<Self, Failure> {
        let process =
            Process::start(&cluster, account, &binaries, keep, process::free_port).await?;
        let connection = cluster.connection(process.port)?;
        create_database(&connection)
            .await
            .map_err(|error| unusable(&connection, &error))?;
        let log = cluster.log();
        Ok(Self {
            process,
            connection,
            cluster,
            account,
            binaries,
            keep,
            log,
            _lock: lock,
        })
    }

    /// How to reach it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The version of the server, as it calls itself: 15.18.
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// The folder of its programs.
    pub fn programs(&self) -> &Path {
        &self.binaries.folder
    }

    /// The file that holds its password, for its owner alone to read.
    pub fn password_file(&self) -> PathBuf {
        self.cluster.password_file()
    }

    /// Where it writes its log; new with each start.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until the server ends by itself, which it does not unless something is wrong, and says how it
    /// ended. May be dropped and asked again.
    pub async fn stopped(&mut self) -> Failure {
        let status = self.process.ended().await;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        Failure::new(format!(
            "PostgreSQL stopped ({status}); its last words, from {}:\n{}",
            self.log.display(),
            self.cluster.last_words()
        ))
    }

    /// Stops the server, cutting off whoever is connected, and waits until it is gone; a throwaway's files
    /// go with it.
    ///
    /// # Errors
    ///
    /// It does not stop within 20 seconds, or its files cannot be removed.
    pub async fn stop(self) -> Result<(), Failure> {
        self.process
            .stop(&self.cluster, self.account, &self.binaries)
            .await?;
        match self.keep {
            Keep::Data => Ok(()),
            Keep::Nothing => self.cluster.delete(),
        }
    }
}

/// How to reach the server that another process runs on this `home` right now, if one does and it is ready.
#[must_use]
pub fn running(home: &Path) -> Option<Connection> {
    if !lock::is_held(&home.join("lock")) {
        return None;
    }
    Cluster::of_another_run(home).running_connection()
}

/// Moves the home of a server to `to`, where nothing is yet, in a folder that exists.
///
/// # Errors
///
/// A server runs there; the two are on different disks.
pub async fn relocate(from: &Path, to: &Path) -> Result<(), Failure> {
    let shown = from.display();
    let lock = lock::take(&from.join("lock"), Duration::from_millis(500)).await?;
    if lock.is_none() {
        return Err(Failure::new(format!(
            "The database in {shown} is already running, for another process: stop that one first"
        )));
    }
    let cluster = Cluster::of_another_run(from);
    if let Some(orphan) = process::orphan(&cluster).await {
        return Err(Failure::new(format!(
            "PostgreSQL (process {orphan}) still runs on the database in {shown}: stop it first (kill -INT {orphan})"
        )));
    }
    rename(from, to)
}

/// Moves a file or folder of ours.
///
/// # Errors
///
/// The two are on different disks.
pub fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|error| {
        let (from, to) = (from.display(), to.display());
        Failure::new(format!(
            "{from} of earlier runs belongs at {to} and could not be moved there ({error}): move it (mv {from} {to}), or delete it to start without"
        ))
    })
}

/// Makes a folder for the homes of servers, if there is none yet: one that their accounts can pass and git ignores.
///
/// # Errors
///
/// It cannot be made.
pub fn make_data_folder(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(Failure::at("create", parent))?;
    }
    account::make_folder(folder, 0o755)?;
    let ignored = folder.join(".gitignore");
    fs::write(&ignored, "*\n").map_err(Failure::at("write", &ignored))
}

async fn create_database(connection: &Connection) -> Result<(), tokio_postgres::Error> {
    let (client, link) = tokio_postgres::Config::new()
        .host(connection.host.to_string())
        .port(connection.port)
        .user(&connection.username)
        .password(&connection.password)
        .dbname("postgres")
        .connect(NoTls)
        .await?;
    let link = tokio::spawn(link);
    let found = client
        .query_opt("select from pg_database where datname = $1", &[&DATABASE])
        .await?;
    if found.is_none() {
        client
            .batch_execute(&format!("create database {DATABASE}"))
            .await?;
    }
    drop(client);
    // The server ends the session when it reads our goodbye; a template in use cannot be copied.
    let _ = link.await;
    Ok(())
}

/// Why a server that has started cannot be used. Only data that want another password are a reason to delete them.
fn unusable(connection: &Connection, error: &tokio_postgres::Error) -> Failure {
    if error.code() == Some(&SqlState::INVALID_PASSWORD) {
        return Failure::new(
            "The database refuses the password that is kept beside it; --fresh makes a new one and deletes the data",
        );
    }
    let why = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    let Connection { host, port, .. } = connection;
    Failure::new(format!(
        "PostgreSQL has started and cannot be used on {host}:{port}: {why}"
    ))
}

/// Removes what runs that were killed left under `parent`.
async fn sweep(parent: &Path, account: Account, binaries: &Binaries) -> Result<(), Failure> {
    let entries = fs::read_dir(parent).map_err(Failure::at("read", parent))?;
    let runs = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"run-"));
    for run in runs {
        let home = run.path();
        if lock::take(&home.join("lock"), Duration::ZERO)
            .await?
            .is_some()
        {
            let cluster = Cluster::of_another_run(&home);
            process::stop_orphan(&cluster, account, binaries).await?;
            cluster.delete()?;
        }
    }
    Ok(())
}

impl fmt::Debug for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            username,
            database,
            password: _,
        } = self;
        write!(out, "Connection({username}@{host}:{port}/{database})")
    }
}
