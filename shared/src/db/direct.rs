//! A connection outside the pool, for work that takes longer than a request: migrations.

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{CONNECT, FAREWELL, connect_directly};
use crate::{config, error::Error, tls};

/// One connection that ends with this value, whatever the server is doing for it. A [`Client`] alone is no such
/// thing: when it is dropped, its connection waits for the answer to what was sent.
pub struct Direct {
    /// What to ask the server through.
    pub client: Client,
    guard: ConnectionGuard,
    tls: MakeRustlsConnect,
}

/// Closes the connection's socket when it is dropped.
struct ConnectionGuard(JoinHandle<()>);

impl Direct {
    /// Connects, with the login from Secrets Manager where it is there.
    pub async fn open(database: &config::Database) -> Result<Self, Error> {
        let (client, connection) = connect_directly(database).await?;
        Ok(Self {
            client,
            guard: ConnectionGuard(connection),
            tls: tls::connector(database.sslmode, &database.certificates),
        })
    }

    /// Ends the statement that runs, if one does, and waits until the server has taken back the transaction of a
    /// future that was dropped: its locks are gone then. Where no answer comes within a few seconds, as through a
    /// proxy that does not pass on what cancels, the end of the connection is left to do it.
    pub async fn cancel(&self) {
        let ended = async {
            // The statement may have ended by itself, and the rollback behind it is waited for all the same.
            let _ = self
                .client
                .cancel_token()
                .cancel_query(self.tls.clone())
                .await;
            self.client.simple_query("").await
        };
        let _ = timeout(CONNECT, ended).await;
    }

    /// Takes leave of the server.
    pub async fn close(self) {
        let Self {
            client, mut guard, ..
        } = self;
        drop(client);
        let _ = timeout(FAREWELL, &mut guard.0).await;
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
