//! The release binaries: built, found, weighed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Failure, cargo::cargo};

/// The functions behind API Gateway.
pub(crate) const FUNCTIONS: [&str; 5] = ["auth", "posts", "system", "users", "votes"];
/// What they are compared with: a function that does nothing.
pub(crate) const HELLO: &str = "hello";

/// Where everything that is built goes.
pub(crate) fn target() -> &'static Path {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp)
}

/// Builds the functions as they are deployed, and what they are compared with, in one go: what they are built of
/// is built once.
pub(crate) fn build() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let mut command = cargo();
    command
        .current_dir(root.ok_or("the workspace has no folder")?)
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(target())
        .args(FUNCTIONS.iter().flat_map(|name| ["--package", name]))
        .args(["--package", "shared", "--bins", "--example", HELLO]);
    let status = command.stdin(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(())
}

pub(crate) fn program(name: &str) -> PathBuf {
    let release = target().join("release");
    match name {
        HELLO => release.join("examples").join(HELLO),
        name => release.join(name),
    }
}

/// The size of a binary in a zip, in bytes: deflated as well as `zip -9` does it.
pub(crate) fn zipped(program: &Path) -> Result<f64, Failure> {
    const DEFLATED: &str =
        "import sys, zlib; print(len(zlib.compress(open(sys.argv[1], 'rb').read(), 9)))";
    let output = Command::new("python3")
        .args(["-c", DEFLATED])
        .arg(program)
        .stderr(Stdio::inherit())
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
