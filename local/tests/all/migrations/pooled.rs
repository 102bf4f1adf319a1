//! Migrations behind a pooler that keeps nothing of a client's session apart: no lock, no setting and no name of
//! a statement stays with a server connection, which is somebody else's next.

use futures_util::future::join_all;
use serde_json::json;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{carry_out, files, history};
use crate::world::{Door, Pooler, World, connect};

/// What a server connection may keep of a client, and says of a new one.
const KEPT: &str = "
    select current_setting('lock_timeout'), current_setting('statement_timeout'),
           current_setting('idle_in_transaction_session_timeout'), current_setting('search_path'),
           current_setting('client_connection_check_interval'),
           current_setting('default_transaction_isolation'), current_setting('maintenance_work_mem'),
           (select count(*) from pg_prepared_statements),
           (select count(*) from pg_locks where locktype = 'advisory' and database = (
               select oid from pg_database where datname = current_database()))";

/// How many connections the pooler has to the server.
const SERVERS: usize = 2;

async fn behind_pooler(mut world: World) -> (World, Pooler) {
    let pooler = Pooler::before(world.config.database.as_mut().unwrap(), SERVERS).await;
    (world, pooler)
}

/// Asserts that each server connection of the pooler is as a new one.
async fn assert_nothing_kept(world: &World) {
    let new = connect(world.database()).await;
    let expected = row(&new, KEPT).await;
    let pooled = world.config.database.as_ref().unwrap();
    let clients = join_all((0..SERVERS).map(|_| connect(pooled))).await;
    let mut seen = Vec::new();
    for client in &clients {
        // A transaction holds its server connection, so each has another.
        client.batch_execute("begin").await.unwrap();
        seen.push(row(client, "select pg_backend_pid()").await);
        assert_eq!(row(client, KEPT).await, expected);
    }
    seen.dedup();
    assert_eq!(seen.len(), SERVERS);
    for client in &clients {
        client.batch_execute("rollback").await.unwrap();
    }
}

/// The one row of a statement that is sent without a name.
async fn row(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap();
    (0..row.len())
        .map(|column| row.get(column).unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn three_at_once_apply_every_migration_once() {
    let (world, _pooler) = behind_pooler(World::unmigrated(Door::Event).await).await;
    let (all, none) = (files(), json!([]));
    let mut applied = Vec::new();
    for report in join_all((0..3).map(|_| carry_out(&world, "migrate"))).await {
        applied.push(report.unwrap()["applied"].clone());
    }
    applied.sort_by_key(|names| names.as_array().unwrap().len());
    assert_eq!(applied, [none.clone(), none, all.clone()]);
    assert_eq!(history(&world).await, all);
    assert_nothing_kept(&world).await;
}

#[tokio::test]
async fn one_that_fails_leaves_nothing_behind() {
    let (world, _pooler) = behind_pooler(World::unmigrated(Door::Event).await).await;
    world
        .sql
        .batch_execute("create table vote_counts ()")
        .await
        .unwrap();
    for failure in join_all((0..3).map(|_| carry_out(&world, "migrate"))).await {
        assert!(failure.unwrap_err().contains("42P07"));
    }
    assert_nothing_kept(&world).await;
    assert_eq!(super::tables(&world).await, ["vote_counts"]);
}

#[tokio::test]
async fn every_order_at_once_is_right() {
    let (world, _pooler) = behind_pooler(World::new(Door::Event).await).await;
    let orders = ["status", "clean-up", "migrate", "adopt"];
    let orders = orders.iter().cycle().take(40);
    for report in join_all(orders.map(|order| carry_out(&world, order))).await {
        report.unwrap();
    }
    assert_nothing_kept(&world).await;
}

#[tokio::test]
async fn an_adoption_is_right_too() {
    let (world, _pooler) = behind_pooler(World::old(Door::Event).await).await;
    let survey = json!({ "action": "adopt", "dry-run": true });
    for survey in join_all((0..3).map(|_| world.order(survey.clone()))).await {
        assert_eq!(survey.unwrap()["can_proceed"], true);
    }
    assert_nothing_kept(&world).await;
    let adopt = json!({ "action": "adopt" });
    let mut taken_over = 0;
    for report in join_all((0..3).map(|_| world.order(adopt.clone()))).await {
        taken_over += i32::from(report.unwrap().get("taken_over").is_some());
    }
    assert_eq!(taken_over, 1);
    assert_nothing_kept(&world).await;
}

#[tokio::test]
async fn a_database_whose_transactions_see_one_state_alone_is_migrated_once() {
    for isolation in ["serializable", "repeatable read"] {
        let world = World::unmigrated(Door::Event).await;
        let name = &world.database().name;
        let set = format!(
            "alter database {name} set default_transaction_isolation = '{isolation}';
             alter database {name} set default_transaction_read_only = on;
             alter database {name} set statement_timeout = '5ms'"
        );
        world.sql.batch_execute(&set).await.unwrap();
        let mut applied = 0;
        for report in join_all((0..5).map(|_| carry_out(&world, "migrate"))).await {
            applied += report.unwrap()["applied"].as_array().unwrap().len();
        }
        assert_eq!(applied, files().as_array().unwrap().len());
    }
}

#[tokio::test]
async fn the_lock_is_that_of_builds_that_keep_it_with_their_connection() {
    let world = World::unmigrated(Door::Event).await;
    let older = connect(world.database()).await;
    older
        .batch_execute("select pg_advisory_lock(x'736f6369616c'::bigint)")
        .await
        .unwrap();
    let finish = async {
        world.until_waiting(1).await;
        assert_eq!(super::tables(&world).await, [] as [String; 0]);
        drop(older);
    };
    let (report, ()) = tokio::join!(carry_out(&world, "migrate"), finish);
    assert_eq!(report.unwrap()["applied"], files());
}
