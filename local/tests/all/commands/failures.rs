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
            "http://a,*",
            "CORS_ORIGINS allows every origin with *, which must then stand alone.".to_owned(),
        ),
        (
            "CORS_ORIGINS",
            "https://a.example/",
            "CORS_ORIGINS holds \"https://a.example/\", which no browser sends; it would send \"https://a.example\".".to_owned(),
        ),
        (
            "TRUSTED_PROXIES",
            "nginx",
            "TRUSTED_PROXIES holds \"nginx\", which is neither an address nor a network like 10.0.0.0/8.".to_owned(),
        ),
        (
            "LOCAL_POSTGRES",
            "/nowhere",
            "LOCAL_POSTGRES: /nowhere does not hold `postgres`, `initdb` and `pg_ctl`".to_owned(),
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
        (
            "SIGN_UPS_PER_HOUR",
            "many",
            whole("SIGN_UPS_PER_HOUR", 0, 1_000_000, "many"),
        ),
    ];
    refuses_before_anything_is_made("setting", &cases).await;
}

#[tokio::test]
async fn a_setting_of_a_database_is_judged_also_while_the_private_one_is_not_started() {
    let cases = [
        ("DATABASE_PORT", "0", whole("DATABASE_PORT", 1, 65535, "0")),
        (
            "DATABASE_POOL_SIZE",
            "0",
            whole("DATABASE_POOL_SIZE", 1, 200, "0"),
        ),
        (
            "DATABASE_STATEMENT_TIMEOUT_SECONDS",
            "16",
            whole("DATABASE_STATEMENT_TIMEOUT_SECONDS", 1, 15, "16"),
        ),
        (
            "DATABASE_SSLMODE",
            "prefer",
            "DATABASE_SSLMODE must be disable, require or verify-full, not \"prefer\".".to_owned(),
        ),
        (
            "DATABASE_SSLMODE",
            "require",
            "DATABASE_SSLMODE must be disable for the private PostgreSQL, which has no TLS; DATABASE_HOSTNAME names another database.".to_owned(),
        ),
        (
            "DATABASE_CA",
            "-----BEGIN",
            "DATABASE_CA holds no certificate.".to_owned(),
        ),
        (
            "DATABASE_HOSTNAME",
            "postgresql://ann:hunter2@localhost/social",
            "DATABASE_HOSTNAME must be a host, perhaps with a port, and not a URL; the user, the password and the name have settings of their own.".to_owned(),
        ),
        (
            "DATABASE_SECRET_ARN",
            "arn:aws:secretsmanager:…",
            "AWS_REGION is not set.".to_owned(),
        ),
        (
            "JWT_SECRET_ARN",
            "arn:aws:secretsmanager:…",
            "AWS_REGION is not set.".to_owned(),
        ),
    ];
    refuses_before_anything_is_made("unnamed-database", &cases).await;
}

async fn refuses_before_anything_is_made(what: &str, cases: &[(&str, &str, String)]) {
    // Somebody may use the default one, for instance `cargo local` itself.
    let program = Program::new(what).set("PORT", &free_port());
    for (name, value, sentence) in cases {
        for arguments in [&[][..], &["migrate"], &["status"]] {
            let output = program.run_with(arguments, name, value).await;
            assert_complaint(&output, sentence);
        }
    }
    assert!(
        !program.folder.home().join("database").exists()
            && !program.folder.home().join("server.log").exists(),
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
        format!("127.0.0.1:{port} cannot be listened on ({in_use}); set PORT to another port.");
    assert_complaint(&output, &sentence);
    assert!(!program.folder.home().exists());
}

#[tokio::test]
async fn an_address_of_another_machine_is_told_before_a_database_is_made() {
    // Of a network that is nobody's (RFC 5737).
    let not_ours = std::net::TcpListener::bind("192.0.2.1:0").unwrap_err();
    let program = Program::new("host").set("HOST", &"192.0.2.1");
    let output = program.run_with(&[], "PORT", "8000").await;
    let sentence = format!(
        "192.0.2.1:8000 cannot be listened on ({not_ours}); set HOST to an address of this machine."
    );
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
    for (arguments, sentence) in [
        (&["srve"][..], "there is no command srve"),
        (
            &["stats"],
            "there is no command stats; did you mean status?",
        ),
        (
            &["--frsh"],
            "there is no option --frsh; did you mean --fresh?",
        ),
        (&["--port=1"], "there is no option --port=1"),
        (&["-x", "migrate"], "there is no option -x"),
        (&["migrate", "--force"], "there is no option --force"),
        (&["migrate", "now"], "`migrate` stands alone, without: now"),
        (&["--fresh", "migrate"], "`migrate` has no option --fresh"),
        (
            &["--fresh", "--version"],
            "these do not go together: --fresh --version",
        ),
        (&[""], "there is no command "),
    ] {
        let output = program.run(arguments).await;
        let complaint = String::from_utf8(output.stderr).unwrap();
        let sentence = format!("error: {sentence}\n\n");
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
        complaint.starts_with("error: there is no command m\u{fffd}\n"),
        "{complaint}"
    );
    assert_eq!(output.status.code(), Some(2));
    for version in ["--version", "-V"] {
        let output = program.run(&[version]).await;
        let expected = concat!("cargo local ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        assert_eq!(output.status.code(), Some(0));
    }
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
        &format!("LOCAL_POSTGRES: {here} does not hold `postgres`, `initdb` and `pg_ctl`"),
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

#[tokio::test]
async fn where_nothing_can_be_fetched_the_network_is_named_and_not_pip() {
    let install = "install PostgreSQL 15 or newer (Debian, Ubuntu: `apt install postgresql`; \
                   Fedora: `dnf install postgresql-server postgresql-contrib`; macOS: \
                   `brew install postgresql@18`)";
    for (name, index) in [
        ("refused", "http://127.0.0.1:1/simple"),
        ("unresolved", "https://packages.invalid/simple"),
    ] {
        let program = Program::new(&format!("offline-{name}"))
            .set("PORT", &free_port())
            .set("LOCAL_POSTGRES", "fetch")
            .set("PIP_CONFIG_FILE", "/dev/null")
            .set("PIP_INDEX_URL", index);
        let output = program.run(&[]).await;
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!(
                "error: There is no PostgreSQL to run, and without a network none can be fetched: {install}\n"
            )
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

#[tokio::test]
async fn a_value_that_would_be_substituted_stops_the_start() {
    let program = Program::new("substituted");
    fs::write(
        program.here().join(".env"),
        "PORT=0\nsecret_key=pre$HOME/hunter2-hunter2-hunter2\n",
    )
    .unwrap();
    for arguments in [&[][..], &["migrate"], &["status"], &["env"]] {
        let output = program.run(arguments).await;
        assert_complaint(
            &output,
            ".env, line 2: the value of secret_key holds a $ that would be substituted; \
             put the value in single quotes: secret_key='…'.",
        );
    }
    assert!(!program.folder.home().exists());
}

#[tokio::test]
async fn what_is_nearly_a_setting_is_a_warning() {
    let program = Program::new("nearly");
    fs::write(
        program.here().join(".env"),
        "DATABSE_HOSTNAME=localhost\nCOLOUR=red\n",
    )
    .unwrap();
    let output = program
        .run_with(&["env"], "DATABASE_URL", "postgresql://hunter2@localhost/")
        .await;
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "warning: DATABASE_URL in the environment is not a setting and is ignored; did you mean \
         DATABASE_HOSTNAME, DATABASE_PORT, DATABASE_NAME, DATABASE_USERNAME and DATABASE_PASSWORD?\n\
         warning: DATABSE_HOSTNAME in the .env file is not a setting and is ignored; did you mean \
         DATABASE_HOSTNAME?\n\
         error: No private database runs; `cargo local` in another terminal starts it.\n"
    );
}
