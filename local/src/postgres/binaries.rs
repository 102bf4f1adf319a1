//! Finding PostgreSQL's programs on this machine.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use super::account::Account;
use super::failure::Failure;
use super::fetch;

const OLDEST: u32 = 15;

/// What every failure to have a server ends with.
pub(super) const INSTALL: &str = "install PostgreSQL 15 or newer (Debian, Ubuntu: `apt install postgresql`; \
    Fedora: `dnf install postgresql-server postgresql-contrib`; macOS: `brew install postgresql@18`)";

/// Where installers put the programs: parent, start of the folder's name, the folder inside it.
const USUAL_PLACES: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/local", "pgsql", "bin"),
    ("/usr/lib", "postgresql", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Where the server's programs come from. Parsed from a setting: empty or `search`, `fetch`, or the path of
/// a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// `PATH` and the usual places, the newest first; fetched where there are none.
    #[default]
    Search,
    /// Fetched, whatever is installed.
    Fetch,
    /// This folder, which holds `postgres`, `initdb` and `pg_ctl`, and no other.
    Directory(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(setting: &str) -> Result<Self, Infallible> {
        Ok(match setting {
            "" | "search" => Self::Search,
            "fetch" => Self::Fetch,
            folder => Self::Directory(folder.into()),
        })
    }
}

/// The programs of one installation, known to run as the server's account.
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    pub(super) major: u32,
    /// As it calls itself: 15.18.
    pub(super) version: String,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The programs in `folder`, or what is wrong with it.
    pub(super) fn inspect(folder: &Path, account: Account) -> Result<Self, Failure> {
        let complete = ["postgres", "initdb", "pg_ctl"]
            .iter()
            .all(|name| folder.join(name).is_file());
        if !complete {
            return Err(flaw(
                folder,
                "does not hold `postgres`, `initdb` and `pg_ctl`",
            ));
        }
        let said = account
            .command(folder.join("postgres"))
            .arg("-V")
            .stderr(Stdio::null())
            .output()
            .map_err(|error| {
                flaw(
                    folder,
                    &format!("has a `postgres` that cannot be run: {error}"),
                )
            })?;
        // postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = said.split_whitespace().nth(2).unwrap_or_default();
        let digits = version
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default();
        match digits.parse() {
            Ok(major) if major >= OLDEST => Ok(Self {
                folder: folder.to_owned(),
                major,
                version: version.to_owned(),
            }),
            Ok(_) => Err(flaw(
                folder,
                &format!("holds PostgreSQL {version}, which is too old"),
            )),
            Err(_) => Err(flaw(folder, "has a `postgres` that does not run")),
        }
    }

    /// Fedora, for one, packs the contrib modules apart, and the search index needs one of them.
    pub(super) fn check_contrib(&self, account: Account) -> Result<(), Failure> {
        let shown = account
            .command(self.program("initdb"))
            .args(["--show", "-D", "/"])
            .output()
            .map_err(|error| {
                flaw(
                    &self.folder,
                    &format!("has an `initdb` that cannot be run: {error}"),
                )
            })?;
        // It shows its settings as an error message.
        let shown = String::from_utf8_lossy(&shown.stderr).into_owned();
        let share = shown
            .lines()
            .find_map(|line| line.trim().strip_prefix("share_path="));
        if share.is_some_and(|share| Path::new(share).join("extension/pg_trgm.control").is_file()) {
            return Ok(());
        }
        let problem = format!(
            "holds PostgreSQL {} without its module pg_trgm (Fedora's package `postgresql-contrib`)",
            self.version
        );
        Err(flaw(&self.folder, &problem))
    }
}

/// The programs to use: those that fit the existing data, made by PostgreSQL `made_by`, else the newest.
/// Fetches into `shelf` where `source` says so or nothing fits.
pub(super) async fn choose(
    source: &Source,
    made_by: Option<u32>,
    shelf: &Path,
    account: Account,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Binaries, Failure> {
    let fits = |major: u32| made_by.is_none_or(|made_by| made_by == major);
    let misfit = |found: &[u32]| {
        let found: Vec<String> = found.iter().map(u32::to_string).collect();
        Failure::new(format!(
            "The database was made by PostgreSQL {}, and here is PostgreSQL {}: install that version, or start anew with --fresh, which deletes the data",
            made_by.unwrap_or_default(),
            found.join(", ")
        ))
    };
    let mut candidates = match source {
        Source::Fetch => Vec::new(),
        Source::Directory(folder) => {
            let inspected = Binaries::inspect(folder, account);
            let flawless =
                inspected.and_then(|binaries| binaries.check_contrib(account).map(|()| binaries));
            let binaries =
                flawless.map_err(|flaw| Failure::new(format!("LOCAL_POSTGRES: {flaw}")))?;
            return if fits(binaries.major) {
                Ok(binaries)
            } else {
                Err(misfit(&[binaries.major]))
            };
        }
        Source::Search => search(account),
    };
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.major));
    let found: Vec<u32> = candidates.iter().map(|candidate| candidate.major).collect();
    for candidate in candidates
        .into_iter()
        .filter(|candidate| fits(candidate.major))
    {
        match candidate.check_contrib(account) {
            Ok(()) => return Ok(candidate),
            Err(failure) => say(&format!("{failure}; passing over it.")),
        }
    }
    if fits(fetch::MAJOR) {
        return fetch::fetch(shelf, account, say).await;
    }
    Err(misfit(if found.is_empty() {
        &[fetch::MAJOR]
    } else {
        &found
    }))
}

fn search(account: Account) -> Vec<Binaries> {
    let usual = USUAL_PLACES.iter().flat_map(|&(parent, start, inside)| {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        entries
            .filter(move |entry| entry.file_name().to_string_lossy().starts_with(start))
            .map(move |entry| entry.path().join(inside))
    });
    on_path()
        .into_iter()
        .chain(usual)
        .filter_map(|folder| Binaries::inspect(&folder, account).ok())
        .collect()
}

/// The folder of the `postgres` that a shell would run.
fn on_path() -> Option<PathBuf> {
    let shell = Command::new("sh")
        .args(["-c", "command -v postgres"])
        .output()
        .ok()?;
    let program = fs::canonicalize(String::from_utf8(shell.stdout).ok()?.trim()).ok()?;
    Some(program.parent()?.to_owned())
}

fn flaw(folder: &Path, problem: &str) -> Failure {
    Failure::new(format!("{} {problem}", folder.display()))
}
