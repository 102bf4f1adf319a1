//! A folder of a test's own for a private PostgreSQL, and ways to look at what runs there.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use local::postgres::{Connection, Failure, Server, Source};
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

/// A folder for one test, removed with all that was put under /var/tmp in its stead.
pub(crate) struct Folder {
    pub(crate) base: PathBuf,
}

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("private_postgres")
            .join(name);
        let folder = Self { base };
        folder.remove();
        fs::create_dir_all(&folder.base).unwrap();
        folder
    }

    /// Where the private database of a program in `base/debug` is.
    pub(crate) fn home(&self) -> PathBuf {
        self.base.join("postgres")
    }

    pub(crate) async fn start(&self, fresh: bool) -> Result<(Server, Vec<String>), Failure> {
        let mut said = Vec::new();
        let mut say = |line: &str| said.push(line.to_owned());
        let server = Server::start(&self.home(), &Source::Search, fresh, &mut say).await?;
        Ok((server, said))
    }

    fn remove(&self) {
        if let Ok(link) = fs::read_link(self.home().join("database")) {
            // /var/tmp/social-…
            let stand_in: PathBuf = link.components().take(4).collect();
            fs::remove_dir_all(stand_in).unwrap();
        }
        if self.base.exists() {
            fs::remove_dir_all(&self.base).unwrap();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}

pub(crate) async fn connect(connection: &Connection) -> Client {
    try_connect(connection).await.unwrap()
}

pub(crate) async fn try_connect(connection: &Connection) -> Result<Client, tokio_postgres::Error> {
    let (client, link) = tokio_postgres::Config::new()
        .host(connection.host.to_string())
        .port(connection.port)
        .user(&connection.username)
        .password(&connection.password)
        .dbname(&connection.database)
        .connect(NoTls)
        .await?;
    tokio::spawn(link);
    Ok(client)
}

/// Waits until nobody listens on this port of a server that is ending.
pub(crate) async fn ended(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < deadline, "it goes on listening");
        tokio::task::yield_now().await;
    }
}
