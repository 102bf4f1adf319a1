//! The program `local` as a process of its own, as a person at a terminal meets it.

mod adopted;
mod cors;
mod failures;
#[cfg(feature = "checks")]
mod load;
#[cfg(feature = "checks")]
mod pooled;
mod private;
mod served;
mod terminal;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use shared::config::Database;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

use crate::{
    private_postgres::Folder,
    world::{Answer, DOCUMENT, Request, send_http},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// The program with a folder of its own, so that its private database is its own too.
struct Program {
    folder: Folder,
    environment: Vec<(String, String)>,
}

/// The program as it serves.
struct Served {
    process: Child,
    address: SocketAddr,
    /// What it said before it served.
    said: Vec<String>,
    later: mpsc::UnboundedReceiver<String>,
}

impl Program {
    fn new(name: &str) -> Self {
        let folder = Folder::new(&format!("commands-{name}"));
        fs::create_dir(folder.base.join("here")).unwrap();
        let environment = Vec::new();
        Self {
            folder,
            environment,
        }
    }

    /// The current folder of the program, where its `.env` is looked for.
    fn here(&self) -> PathBuf {
        self.folder.base.join("here")
    }

    fn set(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    fn with_database(self, database: &Database) -> Self {
        variables(database)
            .into_iter()
            .fold(self, |program, (name, value)| program.set(name, &value))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
        command
            .args(arguments)
            .current_dir(self.here())
            .env_clear()
            // Where PostgreSQL's programs may be, and those that every system has.
            .env("PATH", option_env!("PATH").unwrap_or("/usr/bin:/bin"))
            .env("LOCAL_DATA", &self.folder.base)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        finish(self.command(arguments)).await
    }

    /// Runs it to its end with one more variable.
    async fn run_with(&self, arguments: &[&str], name: &str, value: &str) -> Output {
        let mut command = self.command(arguments);
        command.env(name, value);
        finish(command).await
    }

    /// Runs it until it serves, on any port that is free, unless a port is set.
    async fn serve(&self, arguments: &[&str]) -> Served {
        let set = self.environment.iter().find(|(name, _)| name == "PORT");
        let set = set.map_or("0", |(_, port)| port);
        let mut command = self.command(arguments);
        let mut process = command.env("PORT", set).spawn().unwrap();
        let mut lines = lines_of(&mut process);
        let mut said = Vec::new();
        let port = loop {
            let line = timeout(PATIENCE, lines.recv()).await.unwrap();
            let Some(line) = line else {
                let output = process.wait_with_output().await.unwrap();
                panic!("{said:?} {}", String::from_utf8_lossy(&output.stderr));
            };
            let port = line
                .strip_prefix("Serving on http://localhost:")
                .and_then(|rest| rest.strip_suffix("/ until Ctrl-C."));
            if let Some(port) = port {
                break port.parse::<u16>().unwrap();
            }
            said.push(line);
        };
        assert!(
            set == "0" || set == port.to_string(),
            "{set} was set, {port} is"
        );
        Served {
            process,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            said,
            later: lines,
        }
    }
}

impl Served {
    async fn send(&self, request: Request) -> Answer {
        let answer = send_http(self.address, request.clone()).await;
        DOCUMENT.demand(&request, &answer);
        answer
    }

    /// Sends it a signal by name.
    fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    /// Waits until it takes no more connections.
    async fn closed(&self) {
        crate::private_postgres::ended(self.address.port()).await;
    }

    /// Waits for its end: its status, and what it said on either way out since it served.
    async fn ended(mut self) -> (Option<i32>, String) {
        let output = timeout(PATIENCE, self.process.wait_with_output());
        let output = output.await.unwrap().unwrap();
        let mut said = String::from_utf8(output.stderr).unwrap();
        while let Some(line) = self.later.recv().await {
            said.push_str(&line);
        }
        (output.status.code(), said)
    }

    /// Ends it as `systemd` would, and expects a good end.
    async fn stop(self) -> String {
        self.signal("TERM");
        let (code, said) = self.ended().await;
        assert_eq!(code, Some(0), "{said}");
        said
    }
}

async fn finish(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

/// The lines of a process's standard output, read as they come so that it never waits for us.
pub(crate) fn lines_of(process: &mut Child) -> mpsc::UnboundedReceiver<String> {
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let (told, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    hears
}

pub(crate) fn signal(process: &Child, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{name}"), &process.id().unwrap().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// A database in the words of the settings.
pub(crate) fn variables(database: &Database) -> [(&'static str, String); 5] {
    [
        ("DATABASE_HOSTNAME", database.hostname.clone()),
        ("DATABASE_PORT", database.port.to_string()),
        ("DATABASE_NAME", database.name.clone()),
        ("DATABASE_USERNAME", database.username.clone()),
        ("DATABASE_PASSWORD", database.password.reveal().to_owned()),
    ]
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Asserts that a run ended in failure with one sentence, exactly this one.
#[track_caller]
fn assert_complaint(output: &Output, sentence: &str) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(complaint, format!("error: {sentence}\n"));
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}
