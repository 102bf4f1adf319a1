//! A database that is named: it is brought to the schema and served, until somebody ends it.

use std::fs;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Program, free_port, variables};
use crate::world::{Door, PASSWORD, Request, SECRET_KEY, World, connect};

/// A world whose database was never migrated.
async fn bare() -> World {
    let world = World::new(Door::Event).await;
    let empty = "drop schema public cascade; create schema public";
    world.sql.batch_execute(empty).await.unwrap();
    world
}

/// What a command printed, as JSON; it said nothing else.
async fn report(program: &Program, command: &str) -> Value {
    let output = program.run(&[command]).await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn migrate_and_status_tell_what_they_did_in_json() {
    let world = bare().await;
    let program = Program::new("migrate").with_database(world.database());
    let before = report(&program, "status").await;
    let all = before["pending"].clone();
    assert_eq!(
        all[0],
        json!({ "version": 1, "name": "users_and_sessions" })
    );
    let last = all.as_array().unwrap().last().unwrap()["version"].clone();
    assert_eq!(before, json!({ "applied": [], "pending": all }));
    assert_eq!(report(&program, "status").await, before);
    assert_eq!(
        report(&program, "migrate").await,
        json!({ "applied": all, "version": last })
    );
    assert_eq!(
        report(&program, "migrate").await,
        json!({ "applied": [], "version": last })
    );
    assert_eq!(
        report(&program, "status").await,
        json!({ "applied": all, "pending": [] })
    );
    assert!(
        !program.folder.home().exists(),
        "a private database was made"
    );
}

#[tokio::test]
async fn two_migrations_at_once_apply_everything_once() {
    let world = bare().await;
    let program = Program::new("at-once").with_database(world.database());
    let all = report(&program, "status").await["pending"].clone();
    let (one, other) = tokio::join!(report(&program, "migrate"), report(&program, "migrate"));
    let mut applied = [one["applied"].clone(), other["applied"].clone()];
    applied.sort_by_key(|applied| applied.as_array().unwrap().len());
    assert_eq!(applied, [json!([]), all]);
}

#[tokio::test]
async fn a_named_database_is_migrated_and_served() {
    let world = bare().await;
    let program = Program::new("named")
        .with_database(world.database())
        .set("SECRET_KEY", SECRET_KEY)
        .set("CORS_ORIGINS", "https://one.example, https://two.example");
    let served = program.serve(&[]).await;
    let database = world.database();
    let expected = [
        format!("Documentation: http://{}/docs", served.address),
        format!(
            "Database: psql -h 127.0.0.1 -p {} -U postgres {}",
            database.port, database.name
        ),
    ];
    let expected = expected.map(|line| line.replace("http://127.0.0.1:", "http://localhost:"));
    assert_eq!(served.said, expected);
    let health = served.send(Request::get("/health")).await;
    health.assert(200, &json!({ "status": "ok" }));
    let account = json!({ "email": "ann@example.com", "password": PASSWORD });
    assert_eq!(
        served
            .send(Request::post("/users/").json(&account))
            .await
            .status,
        201
    );
    assert_eq!(world.number("select count(*) from users").await, 1);
    for (origin, allowed) in [
        ("https://one.example", Some("https://one.example")),
        ("https://two.example", Some("https://two.example")),
        ("https://three.example", None),
    ] {
        let answer = served
            .send(Request::get("/").header("origin", origin))
            .await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
    }
    let said = served.stop().await;
    // One line a request, and nothing secret in any.
    assert_eq!(said.matches("\"route\":\"/users\"").count(), 1, "{said}");
    for secret in [
        SECRET_KEY,
        PASSWORD,
        "ann@example.com",
        world.database().password.reveal(),
    ] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(
        !program.folder.home().exists(),
        "a private database was made"
    );
}

#[tokio::test]
async fn the_env_file_is_read_and_the_environment_goes_before_it() {
    let world = bare().await;
    let program = Program::new("env-file");
    let port = free_port();
    let mut lines: Vec<_> = variables(world.database())
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    lines.push(format!("SECRET_KEY=\"{SECRET_KEY}\""));
    lines.push("export ALGORITHM=HS512 # a comment".to_owned());
    lines.push("PORT=1".to_owned());
    fs::write(program.here().join(".env"), lines.join("\n")).unwrap();
    let program = program.set("PORT", &port);
    let served = program.serve(&[]).await;
    let account = json!({ "email": "ann@example.com", "password": PASSWORD });
    assert_eq!(
        served
            .send(Request::post("/users/").json(&account))
            .await
            .status,
        201
    );
    let login = crate::world::credentials("ann@example.com", PASSWORD);
    let pair = served.send(login).await.json();
    let token = pair["access_token"].as_str().unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.alg, jsonwebtoken::Algorithm::HS512);
    assert_eq!(world.number("select count(*) from sessions").await, 1);
    served.stop().await;
    // An empty variable counts as none, and leaves the file's.
    let program = program.set("ALGORITHM", "");
    let served = program.serve(&[]).await;
    let me = served.send(Request::get("/users/1").bearer(token)).await;
    assert_eq!(me.json()["email"], "ann@example.com");
    served.stop().await;
}

#[tokio::test]
async fn both_signals_end_it_well_and_what_is_under_way_is_finished() {
    for signal in ["TERM", "INT"] {
        let world = World::new(Door::Event).await;
        let program = Program::new(&format!("signal-{signal}"))
            .with_database(world.database())
            .set("SECRET_KEY", SECRET_KEY);
        let served = program.serve(&[]).await;
        // A connection that waits for its next request holds nothing up.
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 1];
        idle.read_exact(&mut first).await.unwrap();

        let body = json!({ "email": "ann@example.com", "password": PASSWORD }).to_string();
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!(
            "POST /users/ HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The handler waits for the body now.
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut said = vec![0; go_on.len()];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(said, go_on);
        served.signal(signal);
        served.closed().await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        idle.read_to_end(&mut Vec::new()).await.unwrap();
        let (code, said) = served.ended().await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(world.number("select count(*) from users").await, 1);
    }
}

#[tokio::test]
async fn a_signal_ends_it_while_it_waits_for_another_migration() {
    let world = bare().await;
    let program = Program::new("waiting")
        .with_database(world.database())
        .set("PORT", &free_port());
    // The lock that every migration takes.
    let other = connect(world.database()).await;
    other
        .batch_execute("select pg_advisory_lock(x'736f6369616c'::bigint)")
        .await
        .unwrap();
    let process = program.command(&[]).spawn().unwrap();
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
                   and database = (select oid from pg_database where datname = current_database())";
    while world.number(waiting).await == 0 {}
    super::signal(&process, "TERM");
    let output = process.wait_with_output().await.unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[tokio::test]
async fn a_request_is_one_line_of_json_in_the_log_without_metrics() {
    let world = World::new(Door::Event).await;
    let program = Program::new("log").with_database(world.database());
    let served = program.serve(&[]).await;
    assert_eq!(served.send(Request::get("/posts/")).await.status, 200);
    let said = served.stop().await;
    let line: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&line["level"], &line["route"], &line["status"]),
        (&json!("INFO"), &json!("/posts"), &json!(200))
    );
    assert!(line["request.id"].is_string() && line["duration_ms"].is_f64());
    for name in ["_aws", "Function", "Route", "Duration", "ColdStarts"] {
        assert!(line.get(name).is_none(), "{name}");
    }
}

#[tokio::test]
async fn env_tells_functions_how_to_reach_the_database_and_what_signs() {
    let world = World::new(Door::Event).await;
    let program = Program::new("env")
        .with_database(world.database())
        .set("SECRET_KEY", SECRET_KEY);
    let output = program.run(&["env"]).await;
    let mut expected: Vec<_> = variables(world.database())
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    expected.push("DATABASE_SSLMODE=disable".to_owned());
    expected.push("DATABASE_PREPARED_STATEMENTS=false".to_owned());
    expected.push(format!("SECRET_KEY={SECRET_KEY}"));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(output.status.code(), Some(0));
}
