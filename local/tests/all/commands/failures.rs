//! What goes wrong at the start is told in one sentence, and nothing secret in it.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use super::{Program, assert_complaint, finish, free_port};
use crate::world::{Door, World};

/// What is said of a number that is none, or is beyond its limits.
fn whole(name: &str, least: u32, most: u32, text: &str) -> String {
    format!("{name} must be a whole number from {least} to {most}, not \"{text}\".")
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_named() {
    let cases = [
        ("PORT", "x", whole("PORT", 0, 65535, "x")),
        ("PORT", "-1", whole("PORT", 0, 65535, "-1")),
        ("PORT", "65536", whole("PORT", 0, 65535, "65536")),
        ("PORT", " 80", whole("PORT", 0, 65535, " 80")),
        (
            "HOST",
            "nowhere",
            "HOST must be an IP address, not \"nowhere\".".to_owned(),
        ),
        (
            "CORS_ORIGINS",
            "http://a,\u{1}",
            "CORS_ORIGINS must be origins with commas between them, or *.".to_owned(),
        ),
        (
            "CORS_ORIGINS",
            "http://a,*",
            "CORS_ORIGINS must be origins with commas between them, or *.".to_owned(),
        ),
        (
            "ALGORITHM",
            "none",
            "ALGORITHM must be HS256, HS384 or HS512, not \"none\".".to_owned(),
        ),
        (
            "ALGORITHM",
            "RS256",
            "ALGORITHM must be HS256, HS384 or HS512, not \"RS256\".".to_owned(),
        ),
        (
            "SECRET_KEY",
            "hunter2",
            "SECRET_KEY must be at least 32 bytes long, not 7.".to_owned(),
        ),
        (
            "SECRET_KEY_PREVIOUS",
            "hunter2",
            "SECRET_KEY_PREVIOUS must be at least 32 bytes long, not 7.".to_owned(),
        ),
        (
            "ACCESS_TOKEN_EXPIRE_MINUTES",
            "0",
            whole("ACCESS_TOKEN_EXPIRE_MINUTES", 1, 1440, "0"),
        ),
        (
            "REFRESH_TOKEN_EXPIRE_DAYS",
            "1.5",
            whole("REFRESH_TOKEN_EXPIRE_DAYS", 1, 365, "1.5"),
        ),
        (
            "REFRESH_TOKEN_REUSE_GRACE_SECONDS",
            "61",
            whole("REFRESH_TOKEN_REUSE_GRACE_SECONDS", 0, 60, "61"),
        ),
    ];
    let program = Program::new("setting");
    for (name, value, sentence) in cases {
        let output = program.run_with(&[], name, value).await;
        assert_complaint(&output, &sentence);
    }
    assert!(
        !program.folder.home().exists(),
        "a database was made all the same"
    );
}

#[tokio::test]
async fn a_setting_of_the_database_that_makes_no_sense_is_named() {
    let program = Program::new("database-setting")
        .set("DATABASE_HOSTNAME", "127.0.0.1")
        .set("DATABASE_NAME", "social")
        .set("DATABASE_USERNAME", "somebody");
    let cases = [
        ("DATABASE_PORT", "x", whole("DATABASE_PORT", 1, 65535, "x")),
        (
            "DATABASE_POOL_SIZE",
            "0",
            whole("DATABASE_POOL_SIZE", 1, 200, "0"),
        ),
        (
            "DATABASE_STATEMENT_TIMEOUT_SECONDS",
            "26",
            whole("DATABASE_STATEMENT_TIMEOUT_SECONDS", 1, 15, "26"),
        ),
        (
            "DATABASE_SSLMODE",
            "prefer",
            "DATABASE_SSLMODE must be disable, require or verify-full, not \"prefer\".".to_owned(),
        ),
        ("DATABASE_NAME", "", "DATABASE_NAME is not set.".to_owned()),
        (
            "DATABASE_USERNAME",
            "",
            "DATABASE_USERNAME is not set.".to_owned(),
        ),
    ];
    for (name, value, sentence) in cases {
        for arguments in [&[][..], &["migrate"], &["status"]] {
            let output = program.run_with(arguments, name, value).await;
            assert_complaint(&output, &sentence);
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_told_before_a_database_is_made() {
    let somebody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = somebody.local_addr().unwrap().port();
    let in_use = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap_err();
    let program = Program::new("port").set("PORT", &port);
    let output = program.run(&[]).await;
    let sentence =
        format!("127.0.0.1:{port} cannot be listened on ({in_use}); PORT names another port.");
    assert_complaint(&output, &sentence);
    assert!(!program.folder.home().exists());
}

#[tokio::test]
async fn an_env_file_that_is_none_is_told_by_its_line_and_not_shown() {
    let program = Program::new("dotenv");
    let cases = [
        (
            "PORT=8000\n\n# a comment\nSECRET_KEY=\"hunter2-hunter2\n",
            4,
        ),
        ("SECRET_KEY=hunter2 hunter2\n", 1),
        ("PORT=8000\nhunter2\n", 2),
        ("PORT=8000\r\nDATABASE_PASSWORD='hunter2\r\n", 2),
        ("DATABASE_PASSWORD=hun\\ter2\nPORT=1", 1),
    ];
    for (text, line) in cases {
        fs::write(program.here().join(".env"), text).unwrap();
        for arguments in [&[][..], &["migrate"], &["status"]] {
            let output = program.run(arguments).await;
            let sentence = format!(".env cannot be read: line {line} is not NAME=value.");
            assert_complaint(&output, &sentence);
        }
    }
    fs::write(program.here().join(".env"), b"SECRET_KEY=hunter2\xff\n").unwrap();
    let output = program.run(&[]).await;
    assert_complaint(
        &output,
        ".env cannot be read: stream did not contain valid UTF-8.",
    );
    fs::remove_file(program.here().join(".env")).unwrap();
    let folder = program.here().join(".env");
    fs::create_dir(&folder).unwrap();
    let cannot = fs::read_to_string(folder).unwrap_err();
    let output = program.run(&[]).await;
    assert_complaint(&output, &format!(".env cannot be read: {cannot}."));
}

#[tokio::test]
async fn a_database_that_is_down_is_named() {
    let port = free_port();
    let refused = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    let program = Program::new("down")
        .set("PORT", &free_port())
        .set("DATABASE_HOSTNAME", "127.0.0.1")
        .set("DATABASE_PORT", &port)
        .set("DATABASE_NAME", "social")
        .set("DATABASE_USERNAME", "somebody")
        .set("DATABASE_PASSWORD", "hunter2");
    for arguments in [&[][..], &["migrate"], &["status"]] {
        let output = program.run(arguments).await;
        let sentence = format!(
            "The database social on 127.0.0.1:{port} cannot be used: \
             error connecting to server: {refused}."
        );
        assert_complaint(&output, &sentence);
    }
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_named_and_the_password_is_not_shown() {
    let world = World::new(Door::Event).await;
    let database = world.database();
    let (name, port) = (&database.name, database.port);
    let program = Program::new("refused")
        .set("PORT", &free_port())
        .with_database(database);
    let cannot =
        |why: &str| format!("The database {name} on 127.0.0.1:{port} cannot be used: {why}.");
    let cases = [
        (
            "DATABASE_PASSWORD",
            "hunter2",
            cannot("SQLSTATE 28P01, password authentication failed for user \"postgres\""),
        ),
        (
            "DATABASE_PASSWORD",
            "",
            cannot("SQLSTATE 28P01, password authentication failed for user \"postgres\""),
        ),
        (
            "DATABASE_NAME",
            "nothing",
            format!(
                "The database nothing on 127.0.0.1:{port} cannot be used: \
                 SQLSTATE 3D000, database \"nothing\" does not exist."
            ),
        ),
    ];
    for (variable, value, sentence) in cases {
        for arguments in [&[][..], &["migrate"], &["status"]] {
            let output = program.run_with(arguments, variable, value).await;
            assert_complaint(&output, &sentence);
        }
    }
}

#[tokio::test]
async fn an_unknown_command_is_repeated_with_those_there_are() {
    let program = Program::new("unknown");
    for arguments in [
        &["srve"][..],
        &["--frsh"],
        &["migrate", "now"],
        &["--fresh", "migrate"],
        &[""],
    ] {
        let output = program.run(arguments).await;
        let complaint = String::from_utf8(output.stderr).unwrap();
        let sentence = format!("error: there is no such command: {}\n", arguments.join(" "));
        assert!(complaint.starts_with(&sentence), "{complaint}");
        assert!(complaint.contains("cargo local migrate"), "{complaint}");
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
    }
    let mut command = program.command(&[]);
    command.arg(OsStr::from_bytes(b"m\xff"));
    let output = finish(command).await;
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.starts_with("error: there is no such command: m\u{fffd}\n"),
        "{complaint}"
    );
    assert_eq!(output.status.code(), Some(2));
    for help in ["help", "--help", "-h"] {
        let output = program.run(&[help]).await;
        assert_eq!(output.status.code(), Some(0));
        assert!(
            output
                .stdout
                .starts_with(b"Serves the whole API on this machine.\n")
        );
    }
}

#[tokio::test]
async fn a_folder_that_holds_no_postgresql_is_named() {
    let program = Program::new("programs");
    let here = program.here().display().to_string();
    let program = program
        .set("LOCAL_POSTGRES", &here)
        .set("PORT", &free_port());
    let output = program.run(&[]).await;
    assert_complaint(
        &output,
        &format!("{here} does not hold `postgres`, `initdb` and `pg_ctl`"),
    );
}

#[tokio::test]
async fn fresh_is_never_for_a_database_that_is_somebody_elses() {
    let world = World::new(Door::Event).await;
    world.join("ann").await;
    let program = Program::new("fresh").with_database(world.database());
    let output = program.run(&["--fresh"]).await;
    assert_complaint(
        &output,
        "--fresh is for the private database, and DATABASE_HOSTNAME names another one; nothing was deleted.",
    );
    assert_eq!(world.number("select count(*) from users").await, 1);
}

#[tokio::test]
async fn env_without_a_database_that_runs_says_how_to_start_one() {
    let output = Program::new("env-without").run(&["env"]).await;
    let sentence = "No private database runs; `cargo local` in another terminal starts it.";
    assert_complaint(&output, sentence);
}
