//! Functions of the schema on tables that grew after their statements were planned: a plan that is made while a table
//! is empty is kept for as long as the connection, and must do for a full one.

use tokio_postgres::Client;

use crate::world::{Door, World};

/// How many rows the functions may read by going through a whole table. Each table has many times as many.
const FEW: i64 = 1000;

/// Runs a statement in a transaction: the tables of which it read too much by going through all of them, and how many
/// rows.
async fn scanned_by(sql: &Client, statement: &str) -> Vec<(String, i64)> {
    // What the connection did before may not be reported yet, and counts here; nothing is reported meanwhile.
    let scanned =
        "select relname::text, seq_tup_read from pg_stat_xact_user_tables order by relname";
    let read = async || -> Vec<(String, i64)> {
        let rows = sql.query(scanned, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    sql.batch_execute("begin").await.unwrap();
    let before = read().await;
    sql.batch_execute(statement).await.unwrap();
    let mut after = read().await;
    sql.batch_execute("commit").await.unwrap();
    for (table, rows) in &mut after {
        let earlier = before.iter().find(|(name, _)| name == table);
        *rows -= earlier.map_or(0, |(_, rows)| *rows);
    }
    after.retain(|(_, rows)| *rows > FEW);
    after
}

/// Has everything planned while the tables are as good as empty, a connection's plans being kept after some runs.
async fn plan(sql: &Client, use_once: &str) {
    for _ in 0..8 {
        sql.batch_execute(use_once).await.unwrap();
    }
}

#[tokio::test]
async fn votes_in_bulk_are_counted_by_key() {
    let world = World::new(Door::Event).await;
    let sql = &world.sql;
    let no_statistics = "
        alter table users set (autovacuum_enabled = off);
        alter table posts set (autovacuum_enabled = off);
        alter table votes set (autovacuum_enabled = off);
        alter table vote_counts set (autovacuum_enabled = off);
        insert into users (id, email, password_hash)
        select number, number || '@example.com', '' from generate_series(-11, -1) as number;
        insert into posts (id, title, content, owner_id) values (-1, '', '', -1)";
    sql.batch_execute(no_statistics).await.unwrap();
    plan(
        sql,
        "insert into votes (user_id, post_id) values (-1, -1), (-2, -1);
         delete from votes where user_id = -1;
         truncate votes",
    )
    .await;
    // Each post has a vote already, so that its count is found and not made.
    let fill = "
        insert into posts (id, title, content, owner_id)
        select number, '', '', -1 from generate_series(1, 5000) as number;
        insert into votes (user_id, post_id) select -11, id from posts where id > 0";
    sql.batch_execute(fill).await.unwrap();
    let vote = "insert into votes (user_id, post_id)
                select -voter, post from generate_series(1, 5000) as post, generate_series(1, 10) as voter";
    let take_back = "delete from votes where user_id = -3";
    let leave = "delete from users where id = -4";
    for statement in [vote, take_back, leave] {
        assert_eq!(scanned_by(sql, statement).await, [], "{statement}");
    }
    world.assert_counts_are_exact().await;
    assert_eq!(world.number("select count(*) from votes").await, 45_000);
}

#[tokio::test]
async fn sessions_are_pruned_and_attempts_are_counted_by_key() {
    let world = World::new(Door::Event).await;
    let sql = &world.sql;
    let no_statistics = "
        alter table users set (autovacuum_enabled = off);
        alter table sessions set (autovacuum_enabled = off);
        alter table refresh_tokens set (autovacuum_enabled = off);
        alter table attempts set (autovacuum_enabled = off);
        alter table known_sources set (autovacuum_enabled = off);
        insert into users (id, email, password_hash) values (-1, '', '')";
    sql.batch_execute(no_statistics).await.unwrap();
    let open = "
        with opened as (
            insert into sessions (user_id, expires_at) values (-1, now() + interval '1 hour') returning id)
        insert into refresh_tokens (digest, session_id)
        select sha256(gen_random_uuid()::text::bytea), id from opened";
    let change = "select change_password(-1, null, '', '')";
    let count = "select count_attempt('one', 5, '1 hour')";
    plan(sql, &format!("{open}; {change}; {count}")).await;
    let fill = "
        insert into users (id, email, password_hash)
        select number, number || '@example.com', '' from generate_series(1, 3000) as number;
        insert into sessions (user_id, expires_at)
        select id, now() + interval '1 hour' from users where id > 0;
        insert into refresh_tokens (digest, session_id)
        select sha256(id::text::bytea), id from sessions;
        insert into attempts (bucket, attempts, window_ends_at)
        select sha256(id::text::bytea), 1, now() + interval '1 hour' from users where id > 0";
    sql.batch_execute(fill).await.unwrap();
    for _ in 0..25 {
        sql.batch_execute(open).await.unwrap();
    }
    for statement in [open, change, count] {
        assert_eq!(scanned_by(sql, statement).await, [], "{statement}");
    }
    assert_eq!(world.number("select count(*) from sessions").await, 3000);
}
