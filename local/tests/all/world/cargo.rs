//! Cargo, run by a program that cargo itself runs.

use std::{ffi::OsStr, process::Command};

/// Variables that cargo sets for the programs it runs, besides [`PREFIXES`]; see "Environment variables Cargo sets"
/// in its book. The others that begin with `CARGO_` configure it and have to stay.
const NAMES: [&str; 9] = [
    "CARGO",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];
const PREFIXES: [&str; 4] = [
    "CARGO_BIN_EXE_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_PKG_",
];

/// A cargo that finds the environment of a shell. The build script of `ring` names some of these variables to cargo
/// as its inputs, so that a cargo which inherits them compiles `ring`, and whatever stands on it, anew; so does the
/// next one that is run from a shell.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        if is_set_by_cargo(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn is_set_by_cargo(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}
