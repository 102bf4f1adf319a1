//! The files of one server: where they are, and how they are made, looked at and removed.
//!
//! Beside each other in a folder of ours: `lock`, `server.log`, and `database`, which holds the server's
//! `data` and our `password`. Where the server's account cannot reach that folder, `database` is a link.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::account::{Account, make_folder};
use super::binaries::Binaries;
use super::failure::Failure;
use super::{Connection, DATABASE, USERNAME};

pub(super) struct Cluster {
    /// The folder of ours.
    home: PathBuf,
    /// The folder that `database` is really in.
    place: PathBuf,
}

/// What the server tells of itself in `postmaster.pid`.
pub(super) struct Postmaster {
    pub(super) pid: u32,
    port: u16,
    pub(super) is_ready: bool,
}

impl Cluster {
    /// The cluster of `home`, a folder somewhere in `base`; both exist and are canonical.
    pub(super) fn new(home: &Path, base: &Path, account: Account) -> Result<Self, Failure> {
        let link = home.join("database");
        // It keeps leading to the data when the home is moved.
        if let Ok(database) = fs::read_link(&link)
            && database.is_dir()
            && let Some(place) = database.parent()
        {
            Account::examine_stand_in(place)?;
            return Ok(Self {
                home: home.to_owned(),
                place: place.to_owned(),
            });
        }
        let ground = if link.is_symlink() {
            Account::stand_in(base)?
        } else {
            account.ground(base)?
        };
        let mut place = ground.clone();
        for folder in home.strip_prefix(base).unwrap_or(Path::new("")) {
            place.push(folder);
            make_folder(&place, 0o711)?;
            account.let_through(&place)?;
        }
        let database = place.join("database");
        if ground != base && fs::read_link(&link).ok().as_ref() != Some(&database) {
            if link.is_symlink() {
                remove(&link)?;
            }
            symlink(database, &link).map_err(Failure::at("create", &link))?;
        }
        Ok(Self {
            home: home.to_owned(),
            place,
        })
    }

    /// The cluster that another run has made in `home`.
    pub(super) fn of_another_run(home: &Path) -> Self {
        let link = fs::read_link(home.join("database")).ok();
        let place = link
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(home)
            .to_owned();
        Self {
            home: home.to_owned(),
            place,
        }
    }

    fn database(&self) -> PathBuf {
        self.place.join("database")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.place.join("database/data")
    }

    pub(super) fn password_file(&self) -> PathBuf {
        self.home.join("database/password")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.join("server.log")
    }

    /// The major version that made the data, if there are any.
    pub(super) fn made_by(&self) -> Result<Option<u32>, Failure> {
        let file = self.data().join("PG_VERSION");
        match fs::read_to_string(&file) {
            // Unreadable data are somebody's data still: version 0 fits no server, so nothing touches them.
            Ok(version) => Ok(Some(version.trim().parse().unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::at("read", &file)(error)),
        }
    }

    /// Deletes the data and what killed runs left of data in the making.
    pub(super) fn delete_data(&self) -> Result<(), Failure> {
        self.delete_half_made();
        remove(&self.database())
    }

    /// Deletes everything, the folder too.
    pub(super) fn delete(&self) -> Result<(), Failure> {
        remove(&self.place)?;
        remove(&self.home)
    }

    /// A new database. It appears under its name when it is complete, so one that was killed in the
    /// making is never mistaken for one.
    pub(super) async fn create(
        &self,
        account: Account,
        binaries: &Binaries,
    ) -> Result<(), Failure> {
        self.delete_half_made();
        let made = self
            .place
            .join(format!("database.new-{}", random()?.split_at(8).0));
        let (data, password_copy) = (made.join("data"), made.join("password-for-initdb"));
        make_folder(&made, 0o711)?;
        make_folder(&data, 0o700)?;
        account.give(&data)?;
        let password = random()?;
        write_secret(&made.join("password"), &password)?;
        // initdb runs as the server's account, which cannot read ours.
        write_secret(&password_copy, &password)?;
        account.give(&password_copy)?;

        let mut initdb = account.command(binaries.program("initdb"));
        initdb
            .arg("-D")
            .arg(&data)
            .arg(format!("--username={USERNAME}"))
            .arg(format!("--pwfile={}", password_copy.display()))
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            // Sorted by code point and yet in command of all of Unicode's letters. The module pg_trgm asks
            // the C library for those, whoever else provides the locale.
            .arg(if cfg!(target_os = "macos") {
                "--lc-ctype=en_US.UTF-8"
            } else {
                "--lc-ctype=C.UTF-8"
            })
            .args(["--no-sync", "--no-instructions"]);
        if binaries.major >= 17 {
            initdb.args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
        }
        let output = Command::from(initdb)
            .process_group(0)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| Failure::new(format!("Cannot run initdb: {error}")))?;
        if !output.status.success() {
            remove(&made)?;
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!(
                "PostgreSQL could not create a database: {}",
                said.trim()
            )));
        }
        remove(&password_copy)?;
        fs::rename(&made, self.database()).map_err(Failure::at("create", &self.database()))
    }

    /// A new log for a new server, and the one before it kept.
    pub(super) fn new_log(&self) -> Result<[Stdio; 2], Failure> {
        let log = self.log();
        let _ = fs::rename(&log, self.home.join("server.previous.log"));
        let open = || {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&log)?;
            Ok([file.try_clone()?.into(), file.into()])
        };
        open().map_err(Failure::at("write", &log))
    }

    /// The end of the log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// How to reach the server on this port.
    pub(super) fn connection(&self, port: u16) -> Result<Connection, Failure> {
        let file = self.database().join("password");
        let password = fs::read_to_string(&file).map_err(Failure::at("read", &file))?;
        Ok(Connection {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            username: USERNAME.to_owned(),
            password,
            database: DATABASE.to_owned(),
        })
    }

    /// How to reach the server that is running, if it says that it is ready.
    pub(super) fn running_connection(&self) -> Option<Connection> {
        let postmaster = self.postmaster().filter(|postmaster| postmaster.is_ready)?;
        self.connection(postmaster.port).ok()
    }

    /// What the server that runs, or the last one that ran and was killed, tells of itself.
    pub(super) fn postmaster(&self) -> Option<Postmaster> {
        // Process, data, start, port, socket folder, address, shared memory, status.
        let text = fs::read_to_string(self.pid_file()).ok()?;
        let mut lines = text.lines().map(str::trim);
        Some(Postmaster {
            pid: lines.next()?.parse().ok()?,
            port: lines
                .nth(2)
                .and_then(|port| port.parse().ok())
                .unwrap_or_default(),
            is_ready: lines.nth(3) == Some("ready"),
        })
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// An initdb that outlives its killed parent may still write there, so this may fail: the names are
    /// never used again, and the next start tries again.
    fn delete_half_made(&self) {
        let entries = fs::read_dir(&self.place).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(b"database.new-")
        }) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// 128 random bits, in hexadecimal.
pub(super) fn random() -> Result<String, Failure> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Failure::at("read", source))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn write_secret(path: &Path, secret: &str) -> Result<(), Failure> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(secret.as_bytes()))
        .map_err(Failure::at("write", path))
}

fn remove(path: &Path) -> Result<(), Failure> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::at("remove", path)(error))
        }
        _ => Ok(()),
    }
}
