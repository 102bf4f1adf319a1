//! The private database of a person who names none: made once, kept, recovered, and never left running.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use local::postgres::{Connection, running};
use serde_json::json;

use super::{Program, Served, free_port, lines_of, signal};
use crate::{
    private_postgres::{ended, try_connect},
    world::{Answer, PASSWORD, Request, credentials},
};

const EMAIL: &str = "ann@example.com";

/// Somebody signs up and logs in; the access token.
async fn join(served: &Served) -> String {
    let account = json!({ "email": EMAIL, "password": PASSWORD });
    let user = served.send(Request::post("/users/").json(&account)).await;
    assert_eq!(user.status, 201, "{}", user.text());
    let pair = served.send(credentials(EMAIL, PASSWORD)).await;
    pair.json()["access_token"].as_str().unwrap().to_owned()
}

/// What the user of a token sees of themselves: the whole address, if the token is still good.
async fn look(served: &Served, token: &str) -> Answer {
    served.send(Request::get("/users/1").bearer(token)).await
}

/// The private server of a program that serves.
fn server(program: &Program) -> Connection {
    running(&program.folder.home()).unwrap()
}

/// Waits until no process has this folder on its command line.
async fn is_deserted(folder: &Path) {
    let folder = folder.display().to_string();
    loop {
        let shown = std::process::Command::new("ps")
            .args(["-ww", "-eo", "args"])
            .output()
            .unwrap();
        if !String::from_utf8_lossy(&shown.stdout).contains(&folder) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn data_and_signing_key_survive_a_restart_and_fresh_starts_anew() {
    let program = Program::new("restart");
    let served = program.serve(&[]).await;
    assert_eq!(served.said.len(), 3, "{:?}", served.said);
    assert!(
        served.said[0].starts_with("Creating a PostgreSQL "),
        "{:?}",
        served.said
    );
    let token = join(&served).await;
    assert_eq!(look(&served, &token).await.json()["email"], EMAIL);
    let key_file = program.folder.base.join("secret-key");
    assert_eq!(fs::metadata(&key_file).unwrap().mode() & 0o777, 0o600);
    let key = fs::read_to_string(&key_file).unwrap();
    let password = server(&program).password;
    let said = served.stop().await;
    assert!(!said.contains(&key) && !said.contains(&password), "{said}");

    let served = program.serve(&[]).await;
    assert!(
        served.said[0].starts_with("Starting PostgreSQL "),
        "{:?}",
        served.said
    );
    let me = look(&served, &token).await;
    assert_eq!(
        (me.status.as_u16(), &me.json()["email"]),
        (200, &json!(EMAIL))
    );
    served.stop().await;

    let served = program.serve(&["--fresh"]).await;
    assert!(
        served.said[0].starts_with("Creating a PostgreSQL "),
        "{:?}",
        served.said
    );
    look(&served, &token)
        .await
        .assert_detail(401, "Could not validate credentials");
    served
        .send(Request::get("/users/1"))
        .await
        .assert_detail(404, "User with id: 1 not found");
    served.stop().await;
}

#[tokio::test]
async fn both_signals_leave_no_postgresql_behind() {
    let program = Program::new("signals");
    for name in ["TERM", "INT"] {
        let served = program.serve(&[]).await;
        let connection = server(&program);
        try_connect(&connection).await.unwrap();
        served.signal(name);
        let (code, said) = served.ended().await;
        assert_eq!(code, Some(0), "{said}");
        // It was waited for: this is so at once.
        assert!(try_connect(&connection).await.is_err());
        assert!(
            !program
                .folder
                .home()
                .join("database/data/postmaster.pid")
                .exists()
        );
        assert_eq!(running(&program.folder.home()), None);
    }
}

#[tokio::test]
async fn killed_it_takes_its_postgresql_along_and_the_next_start_recovers() {
    let program = Program::new("killed");
    let served = program.serve(&[]).await;
    let token = join(&served).await;
    let connection = server(&program);
    served.signal("KILL");
    assert_eq!(served.ended().await.0, None);

    let served = program.serve(&[]).await;
    assert_eq!(look(&served, &token).await.json()["email"], EMAIL);
    ended(connection.port).await;
    served.stop().await;
}

#[tokio::test]
async fn a_signal_while_the_database_is_made_leaves_nothing_running() {
    let program = Program::new("impatient").set("PORT", &free_port());
    let mut process = program.command(&[]).spawn().unwrap();
    let mut lines = lines_of(&mut process);
    assert!(
        lines
            .recv()
            .await
            .unwrap()
            .starts_with("Creating a PostgreSQL ")
    );
    signal(&process, "INT");
    let output = process.wait_with_output().await.unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
    let home = fs::canonicalize(program.folder.home()).unwrap();
    is_deserted(&home).await;
    let served = program.serve(&[]).await;
    join(&served).await;
    served.stop().await;
}

#[tokio::test]
async fn a_second_one_is_refused_and_the_first_goes_on() {
    let program = Program::new("second");
    let served = program.serve(&[]).await;
    let token = join(&served).await;
    for arguments in [&[][..], &["--fresh"]] {
        let port = free_port().to_string();
        let output = program.run_with(arguments, "PORT", &port).await;
        let home = program.folder.home();
        let sentence = format!(
            "error: The database in {} is already running, for another process: stop that one first, or set LOCAL_DATA to another folder\n",
            home.display()
        );
        assert_eq!(String::from_utf8(output.stderr).unwrap(), sentence);
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(look(&served, &token).await.json()["email"], EMAIL);
    // The other commands reach the database that runs.
    let output = program.run(&["status"]).await;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["pending"], json!([]));
    assert!(!status["applied"].as_array().unwrap().is_empty());
    served.stop().await;
}

#[tokio::test]
async fn migrate_makes_the_private_database_and_leaves_it_stopped() {
    let program = Program::new("private-migrate");
    let output = program.run(&["migrate"]).await;
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let (first, report) = said.split_once('\n').unwrap();
    assert!(first.starts_with("Creating a PostgreSQL "), "{said}");
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["applied"][0]["version"], 1);
    assert_eq!(running(&program.folder.home()), None);
    let output = program.run(&["status"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let (first, status) = said.split_once('\n').unwrap();
    assert!(first.starts_with("Starting PostgreSQL "), "{said}");
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    assert_eq!(status["pending"], json!([]));
    assert_eq!(status["applied"], report["applied"]);
}

#[tokio::test]
async fn when_postgresql_dies_it_says_so_and_ends() {
    let program = Program::new("died");
    let served = program.serve(&[]).await;
    let pid_file = program.folder.home().join("database/data/postmaster.pid");
    let pid = fs::read_to_string(pid_file).unwrap();
    let pid = pid.lines().next().unwrap();
    assert!(
        std::process::Command::new("kill")
            .args(["-QUIT", pid])
            .status()
            .unwrap()
            .success()
    );
    let (code, said) = served.ended().await;
    assert_eq!(code, Some(1));
    assert!(said.contains("error: PostgreSQL stopped ("), "{said}");
}
