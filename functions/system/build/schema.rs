//! Tells the health check which schema this build needs: the number of the last migration.

use std::{error::Error, fs};

const MIGRATIONS: &str = "../../migrations";

pub(crate) fn tell_version() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={MIGRATIONS}");
    let mut last = 0;
    for entry in fs::read_dir(MIGRATIONS)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // V3__votes.sql
        if let Some((version, _)) = name
            .strip_prefix('V')
            .and_then(|rest| rest.split_once("__"))
        {
            last = last.max(version.parse::<i32>()?);
        }
    }
    println!("cargo::rustc-env=SCHEMA_VERSION={last}");
    Ok(())
}
