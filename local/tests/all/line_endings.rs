//! A clone has the same bytes whatever git's settings: the database remembers the checksums of its migrations.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn a_clone_with_the_line_endings_of_windows_has_the_same_bytes() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("line_endings");
    let _ = fs::remove_dir_all(&place);
    let (original, clone) = (place.join("original"), place.join("clone"));
    // Migrations, shell scripts, and what is compared byte by byte by other tests.
    for part in [
        ".gitattributes",
        ".ci",
        "migrations",
        "local/checks",
        "functions/system",
    ] {
        copy(&Path::new(ROOT).join(part), &original.join(part));
    }
    git(&original, &["init", "--quiet"]);
    git(&original, &["add", "--all"]);
    let commit = ["commit", "--quiet", "--no-verify", "--message", "All of it"];
    git(&original, &commit);
    let source = original.to_str().unwrap();
    let clone_path = clone.to_str().unwrap();
    git(
        &place,
        &["clone", "--quiet", "--no-local", source, clone_path],
    );

    let expected = files(&original);
    assert!(expected.contains_key(Path::new("migrations/V1__users_and_sessions.sql")));
    assert!(expected.contains_key(Path::new(".ci/run")));
    let differing: Vec<PathBuf> = files(&clone)
        .into_iter()
        .filter(|(path, bytes)| expected.get(path) != Some(bytes))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(differing, Vec::<PathBuf>::new());
    assert_eq!(files(&clone).len(), expected.len());
    fs::remove_dir_all(place).unwrap();
}

/// Runs git as it is set up on Windows, with nothing of this machine's own settings.
fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "core.autocrlf=true", "-c", "core.safecrlf=false"])
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

/// Every file of a folder but git's own, by its path in there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".git") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}
