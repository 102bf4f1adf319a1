//! How long a large database of the FastAPI service takes to adopt, beside a `pg_dump | psql` of the same
//! database. Run with `cargo bench -p local -- adopt [POSTS]`: as many refresh tokens as posts, ten times
//! as many votes, a tenth as many users.

use std::{
    io::{self, Write},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use local::{
    postgres::{Connection, Server, Source},
    settings::DEFAULTS,
};
use migrate::Order;
use shared::config::{Database, Settings};
use tokio::process::Command;

use crate::Failure;

const POSTS: u64 = 1_000_000;
const SCHEMA: &str = include_str!("../../tests/all/adopt/old_schema.sql");

/// So many posts, or a million.
pub(crate) async fn run(posts: Option<u64>) -> Result<(), Failure> {
    let posts = posts.unwrap_or(POSTS);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("adopt");
    let server = Server::start(&home, &Source::Search, true, &mut |_| ()).await?;
    let connection = server.connection();

    let old = reached_by(connection, &connection.database)?;
    let client = shared::db::connect(&old)
        .await
        .map_err(|error| error.cause())?;
    client.batch_execute("create database copy").await?;
    client.batch_execute(SCHEMA).await?;
    client.batch_execute(&rows(posts)).await?;
    client.batch_execute("checkpoint").await?;

    let copied = copy(&server).await?;
    client.batch_execute("checkpoint").await?;
    drop(client);
    say(&format!("pg_dump | psql: {:.1} s", copied.as_secs_f64()));
    let survey = migrate::carry_out(&Order::Adopt { dry_run: true }, &old).await?;
    say(&serde_json::to_string_pretty(&survey)?);
    let began = Instant::now();
    let report = migrate::carry_out(&Order::Adopt { dry_run: false }, &old).await?;
    let adopted = began.elapsed();
    say(&serde_json::to_string_pretty(&report)?);
    say(&format!(
        "adopt: {:.1} s, {:.2} times as long",
        adopted.as_secs_f64(),
        adopted.as_secs_f64() / copied.as_secs_f64()
    ));
    server.stop().await?;
    Ok(())
}

/// Rows as the old service could have written them: posts of half a kilobyte with a title of forty letters.
fn rows(posts: u64) -> String {
    let (users, votes) = (posts / 10, posts * 10);
    format!(
        "set synchronous_commit = off;
         insert into users (email, password)
         select format('person-%s@example.com', number), rpad('$argon2id$v=19$m=65536,t=3,p=4$', 97, 'x')
         from generate_series(1, {users}) as number;
         insert into posts (title, content, owner_id, created_at, is_published)
         select format('title %s %s', number, md5(number::text)), repeat(md5(number::text) || ' ', 15),
                1 + number % {users}, now() - number * interval '1 second', number % 10 <> 0
         from generate_series(1, {posts}) as number;
         insert into votes (user_id, post_id)
         select 1 + number * 7 % {users}, 1 + (number / 10 + (number % 10) * (number % 10) * 37) % {posts}
         from generate_series(1, {votes}) as number
         on conflict do nothing;
         insert into refresh_tokens (user_id, token, expires_at, is_revoked)
         select 1 + number % {users}, encode(sha256(number::text::bytea), 'hex'),
                now() + (number % 60 - 20) * interval '1 day', number % 7 = 0
         from generate_series(1, {posts}) as number;
         analyze users, posts, votes, refresh_tokens"
    )
}

/// Copies the database as dump and restore would.
async fn copy(server: &Server) -> Result<Duration, Failure> {
    let connection = server.connection();
    let command = |program: &str, database: &str| {
        let mut command = Command::new(server.programs().join(program));
        command
            .args(["-h", &connection.host.to_string()])
            .args(["-p", &connection.port.to_string()])
            .args(["-U", &connection.username, "-d", database])
            .env("PGPASSWORD", &connection.password);
        command
    };
    let began = Instant::now();
    let mut dump = command("pg_dump", &connection.database)
        .stdout(Stdio::piped())
        .spawn()?;
    let dumped: Stdio = dump
        .stdout
        .take()
        .ok_or("pg_dump says nothing")?
        .try_into()?;
    let restored = command("psql", "copy")
        .args(["-q", "-v", "ON_ERROR_STOP=1"])
        .stdin(dumped)
        .stdout(Stdio::null())
        .status()
        .await?;
    if !restored.success() || !dump.wait().await?.success() {
        return Err("The copy failed.".into());
    }
    Ok(began.elapsed())
}

fn reached_by(connection: &Connection, name: &str) -> Result<Database, Failure> {
    let settings = Settings::from_lookup(|setting| match setting {
        "DATABASE_HOSTNAME" => Some(connection.host.to_string()),
        "DATABASE_PORT" => Some(connection.port.to_string()),
        "DATABASE_NAME" => Some(name.to_owned()),
        "DATABASE_USERNAME" => Some(connection.username.clone()),
        "DATABASE_PASSWORD" => Some(connection.password.clone()),
        _ => None,
    });
    Database::read(&settings, DEFAULTS)?.ok_or_else(|| "There is no database.".into())
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
