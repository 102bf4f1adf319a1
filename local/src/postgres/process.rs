//! The server's process, on a leash: it ends when we do, whatever ends us.

use std::fs;
use std::io::{self, PipeWriter, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::Keep;
use super::account::Account;
use super::binaries::Binaries;
use super::cluster::Cluster;
use super::failure::Failure;

/// The shell becomes the server, so that the process we wait for is the server's. It leaves a watcher behind
/// that reads from a pipe of ours. A word there says what to do; the end of the pipe says that we are gone,
/// killed perhaps. The watcher is a grandchild that nobody waits for: a server takes note of its children.
/// `$1` is the signal to stop with, `$2` the data to remove then, if any; the rest is the server.
const ON_A_LEASH: &str = r#"
signal=$1 doomed=$2
shift 2
exec 3<&0 </dev/null
( (
    read -r word <&3
    case $word in
        ended) exit ;;
        stop) kill "-$signal" $$ ; exit ;;
    esac
    kill "-$signal" $$
    [ -n "$doomed" ] || exit
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ -e "$doomed/postmaster.pid" ] || break
        sleep 0.1
    done
    rm -rf "$doomed"
) & ) 2>/dev/null
exec "$@" 3<&-
"#;

const READY_WITHIN: Duration = Duration::from_mins(1);
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Process {
    child: Child,
    leash: PipeWriter,
    pub(super) port: u16,
}

impl Process {
    /// Starts the server on one of these ports and waits until it is ready.
    pub(super) async fn start(
        cluster: &Cluster,
        account: Account,
        binaries: &Binaries,
        keep: Keep,
        mut ports: impl FnMut() -> Result<u16, Failure>,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let mut process = Self::spawn(cluster, account, binaries, keep, ports()?)?;
            let Some(status) = process.ready(cluster, deadline).await? else {
                return Ok(process);
            };
            process.say("ended");
            let last_words = cluster.last_words();
            // Somebody took the port between our look and the server's, or what a killed server leaves is
            // still ending: both pass.
            let will_pass = ["Address already in use", "is still in use"];
            if Instant::now() > deadline
                || !will_pass.iter().any(|words| last_words.contains(words))
            {
                return Err(Failure::new(format!(
                    "PostgreSQL did not start ({status}); its last words, from {}:\n{last_words}",
                    cluster.log().display()
                )));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn spawn(
        cluster: &Cluster,
        account: Account,
        binaries: &Binaries,
        keep: Keep,
        port: u16,
    ) -> Result<Self, Failure> {
        let [out, err] = cluster.new_log()?;
        let cannot = |error: io::Error| Failure::new(format!("Cannot run PostgreSQL: {error}"));
        let (reader, leash) = io::pipe().map_err(cannot)?;
        let mut command = account.command("sh");
        command.args(["-c", ON_A_LEASH, "sh"]);
        match keep {
            Keep::Data => command.args(["INT", ""]),
            Keep::Nothing => command.arg("QUIT").arg(cluster.data()),
        };
        command
            .arg(binaries.program("postgres"))
            .arg("-D")
            .arg(cluster.data());
        let mut set = |setting: &str| {
            command.args(["-c", setting]);
        };
        set(&format!("port={port}"));
        set("listen_addresses=127.0.0.1");
        set("unix_socket_directories=");
        set("timezone=UTC");
        set("log_timezone=UTC");
        set("jit=off");
        if keep == Keep::Nothing {
            set("fsync=off");
            set("synchronous_commit=off");
            set("full_page_writes=off");
            set("max_connections=200");
            set("shared_buffers=64MB");
            // A test finds the lines of its own database.
            set("log_line_prefix=%m [%p] %d ");
        }
        // A group of its own: Ctrl-C in the terminal is for us, who let requests finish first.
        command
            .process_group(0)
            .stdin(reader)
            .stdout(out)
            .stderr(err);
        let child = Command::from(command).spawn().map_err(cannot)?;
        Ok(Self { child, leash, port })
    }

    /// Waits until the server is ready; if it ends instead, its status.
    async fn ready(
        &mut self,
        cluster: &Cluster,
        deadline: Instant,
    ) -> Result<Option<ExitStatus>, Failure> {
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(Some(status));
            }
            let postmaster = cluster.postmaster();
            if postmaster.is_some_and(|it| it.is_ready && Some(it.pid) == self.child.id()) {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!(
                    "PostgreSQL was not ready within {} seconds; its last words, from {}:\n{}",
                    READY_WITHIN.as_secs(),
                    cluster.log().display(),
                    cluster.last_words()
                )));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the server ends by itself.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.say("ended");
        status
    }

    /// Stops the server and waits for its end: politely, then firmly, then by force.
    pub(super) async fn stop(
        mut self,
        cluster: &Cluster,
        account: Account,
        binaries: &Binaries,
    ) -> Result<(), Failure> {
        self.say("stop");
        if timeout(STOPPED_WITHIN, self.child.wait()).await.is_ok() {
            return Ok(());
        }
        pg_ctl_stop(cluster, account, binaries, "immediate").await;
        match timeout(STOPPED_WITHIN, self.child.kill()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Failure::new(format!(
                "PostgreSQL (process {}) does not stop",
                self.child.id().unwrap_or_default()
            ))),
        }
    }

    fn say(&mut self, word: &str) {
        // If there is no watcher to hear it, the wait that follows says so.
        let _ = writeln!(self.leash, "{word}");
    }
}

/// The server that a killed run left behind, if it did.
pub(super) async fn orphan(cluster: &Cluster) -> Option<u32> {
    let pid = cluster.postmaster()?.pid;
    let data = cluster.data();
    let command_line = command_line(pid).await?;
    command_line
        .contains(&*data.to_string_lossy())
        .then_some(pid)
}

/// Stops the server that a killed run left behind, if it did, and clears its traces where they would be in
/// the way of a new one. Whether there was one.
pub(super) async fn stop_orphan(
    cluster: &Cluster,
    account: Account,
    binaries: &Binaries,
) -> Result<bool, Failure> {
    let Some(orphan) = cluster.postmaster() else {
        return Ok(false);
    };
    let Some(command_line) = command_line(orphan.pid).await else {
        return Ok(false);
    };
    if !command_line.contains(&*cluster.data().to_string_lossy()) {
        // Somebody else has its number by now, or it is dead and nobody buried it. A new server would take
        // it for the old one and refuse to start.
        let pid_file = cluster.pid_file();
        fs::remove_file(&pid_file).map_err(Failure::at("remove", &pid_file))?;
        return Ok(false);
    }
    pg_ctl_stop(cluster, account, binaries, "fast").await;
    if cluster.postmaster().is_some_and(|it| it.pid == orphan.pid) {
        pg_ctl_stop(cluster, account, binaries, "immediate").await;
    }
    Ok(true)
}

async fn pg_ctl_stop(cluster: &Cluster, account: Account, binaries: &Binaries, mode: &str) {
    let mut pg_ctl = account.command(binaries.program("pg_ctl"));
    pg_ctl
        .arg("stop")
        .arg("-D")
        .arg(cluster.data())
        .args(["-s", "-w", "-t", "10", "-m", mode]);
    // What matters is whether the server is gone, and the caller looks at that.
    let _ = Command::from(pg_ctl)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
}

/// How this process was started, if it lives.
async fn command_line(pid: u32) -> Option<String> {
    if fs::exists("/proc/self/cmdline").unwrap_or_default() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&line).into_owned());
    }
    let pid = pid.to_string();
    let ps = Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &pid])
        .output()
        .await
        .ok()?;
    ps.status
        .success()
        .then(|| String::from_utf8_lossy(&ps.stdout).into_owned())
}

/// A port that nobody listens on at the moment.
pub(super) fn free_port() -> Result<u16, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| Ok(listener.local_addr()?.port()))
        .map_err(|error| Failure::new(format!("There is no free port on 127.0.0.1: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::binaries::{self, Source};
    use crate::postgres::cluster;
    use std::path::Path;

    #[tokio::test]
    async fn a_port_that_somebody_took_meanwhile_is_passed_over() {
        let name = format!("social-test-{}", cluster::random().unwrap());
        let home = std::env::temp_dir().join(name);
        fs::create_dir(&home).unwrap();
        let home = fs::canonicalize(home).unwrap();
        let account = Account::choose(Path::new("")).unwrap();
        let cluster = Cluster::new(&home, home.parent().unwrap(), account).unwrap();
        let binaries = binaries::choose(&Source::Search, None, &home, account, &mut |_| ())
            .await
            .unwrap();
        cluster.create(account, &binaries).await.unwrap();

        let somebody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = somebody.local_addr().unwrap().port();
        let free = free_port().unwrap();
        let mut ports = [taken, free].into_iter();
        let next = || Ok(ports.next().unwrap());
        let process = Process::start(&cluster, account, &binaries, Keep::Nothing, next)
            .await
            .unwrap();
        assert_eq!(process.port, free);
        process.stop(&cluster, account, &binaries).await.unwrap();
        cluster.delete().unwrap();
    }
}
