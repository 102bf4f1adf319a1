//! pgbouncer in front of a database: a pooler that hands out a server connection for each transaction and keeps
//! nothing of a client's session apart.

use std::{fs, net::TcpListener, path::Path, process::Stdio, time::Duration};

use shared::config::Database;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Ends with this value.
pub(crate) struct Pooler {
    _process: Child,
}

impl Pooler {
    /// Starts one with so many server connections, and leads the settings through it.
    pub(crate) async fn before(database: &mut Database, server_connections: usize) -> Self {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pooler-{port}.ini"));
        let settings = format!(
            "[databases]
             * = host={} port={} user={} password={}
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {port}
             unix_socket_dir =
             auth_type = any
             pool_mode = transaction
             default_pool_size = {server_connections}
             max_client_conn = 1000",
            database.hostname,
            database.port,
            database.username,
            database.password.reveal(),
        );
        fs::write(&file, settings.replace("\n             ", "\n")).unwrap();
        let mut command = Command::new("/usr/sbin/pgbouncer");
        // It refuses to run as root, and becomes somebody else where it is started so.
        if std::process::Command::new("id")
            .arg("-u")
            .output()
            .is_ok_and(|id| id.stdout == b"0\n")
        {
            command.args(["-u", "nobody"]);
        }
        let mut process = command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("pgbouncer is installed (Debian: `pgbouncer`)");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let up = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("process up") {
                    return;
                }
            }
            panic!("pgbouncer did not start");
        };
        timeout(Duration::from_secs(15), up).await.unwrap();
        // It says every connection, and must not have to wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        fs::remove_file(file).unwrap();
        database.port = port;
        Self { _process: process }
    }
}
