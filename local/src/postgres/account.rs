//! The account that the server runs as: ours, or an unprivileged one where we are root, whom PostgreSQL
//! refuses; and a place for its files that it can reach.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::failure::Failure;

#[derive(Clone, Copy)]
pub(super) struct Account {
    /// User and group to become; none where we run the server as ourselves.
    become_ids: Option<(u32, u32)>,
}

impl Account {
    /// Ours; for root the owner of `data` if that exists already, else `postgres`, else `nobody`.
    pub(super) fn choose(data: &Path) -> Result<Self, Failure> {
        if id(&["-u"]) != Some(0) {
            return Ok(Self { become_ids: None });
        }
        if let Ok(found) = fs::metadata(data)
            && found.uid() != 0
        {
            return Ok(Self {
                become_ids: Some((found.uid(), found.gid())),
            });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some((id(&["-u", name])?, id(&["-g", name])?)))
            .map(|ids| Self { become_ids: Some(ids) })
            .ok_or_else(|| {
                Failure::new(
                    "PostgreSQL refuses to run as root, and neither `postgres` nor `nobody` exists to run it: run this as a normal user",
                )
            })
    }

    /// A command run as this account, in a language and a directory that suit every account.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir("/")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        if let Some((user, group)) = self.become_ids {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes it the owner of a file or folder that we created for it.
    pub(super) fn give(self, path: &Path) -> Result<(), Failure> {
        match self.become_ids {
            Some((user, group)) => chown(path, Some(user), Some(group))
                .map_err(Failure::at("hand to the server's account", path)),
            None => Ok(()),
        }
    }

    /// `folder` itself where the account can reach it (root's home, for one, it cannot), else a stand-in
    /// for it under /var/tmp, always the same.
    pub(super) fn ground(self, folder: &Path) -> Result<PathBuf, Failure> {
        if self.become_ids.is_none() || self.reaches(folder) {
            return Ok(folder.to_owned());
        }
        Self::stand_in(folder)
    }

    /// The stand-in, made if need be.
    pub(super) fn stand_in(folder: &Path) -> Result<PathBuf, Failure> {
        let stand_in = Path::new("/var/tmp").join(format!("social-{:016x}", fingerprint(folder)));
        make_folder(&stand_in, 0o711)?;
        Self::examine(&stand_in)?;
        Ok(stand_in)
    }

    /// Whether the stand-in that this folder is in can be trusted.
    pub(super) fn examine_stand_in(folder: &Path) -> Result<(), Failure> {
        // /var/tmp/social-…
        Self::examine(&folder.components().take(4).collect::<PathBuf>())
    }

    /// Anybody may write to /var/tmp, so a name there proves nothing.
    fn examine(stand_in: &Path) -> Result<(), Failure> {
        let found = fs::symlink_metadata(stand_in).map_err(Failure::at("examine", stand_in))?;
        if !found.is_dir() || found.uid() != 0 || found.mode() & 0o022 != 0 {
            return Err(Failure::new(format!(
                "{} exists but is not a folder that only root can write: remove it and try again",
                stand_in.display()
            )));
        }
        Ok(())
    }

    /// Lets the account through a folder of ours that root's umask may have closed to it.
    pub(super) fn let_through(self, folder: &Path) -> Result<(), Failure> {
        if self.become_ids.is_none() {
            return Ok(());
        }
        let open = || {
            let mode = fs::metadata(folder)?.mode() | 0o111;
            fs::set_permissions(folder, Permissions::from_mode(mode))
        };
        open().map_err(Failure::at("set the mode of", folder))
    }

    /// The kernel's own answer, which counts every parent, access list and mount.
    fn reaches(self, folder: &Path) -> bool {
        let test = self.command("test").arg("-x").arg(folder).status();
        test.is_ok_and(|status| status.success())
    }
}

/// Creates `folder`, not its parents, with exactly this mode whatever the umask; no harm if it exists.
pub(super) fn make_folder(folder: &Path, mode: u32) -> Result<(), Failure> {
    match DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode))
            .map_err(Failure::at("set the mode of", folder)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Failure::at("create", folder)(error)),
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// FNV-1a: the standard library promises no hash that stays the same from one release to the next, and
/// a restart has to find its data.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
