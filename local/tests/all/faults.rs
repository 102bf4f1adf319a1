//! A database that is hurt: each fault has its answer within a bound, and the next request after it is well.

use std::time::Duration;

use local::postgres::{Server, Source};
use migrate::Order;
use serde_json::json;
use shared::config::Database;
use tokio_postgres::Client;

use crate::world::{Answer, Door, Proxy, Request, Said, World, connect, reached_by};

#[track_caller]
fn assert_away(answer: &Answer) {
    answer.assert_detail(503, "Service Unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// Ends every connection of the API, as an administrator would, and waits until they are gone.
async fn terminate_connections(sql: &Client) {
    let terminate = "select pg_terminate_backend(pid, 10000) from pg_stat_activity
                     where datname = current_database() and pid <> pg_backend_pid()";
    for row in sql.query(terminate, &[]).await.unwrap() {
        assert!(row.get::<_, bool>(0));
    }
}

/// Sets a time limit of PostgreSQL's for the API's connections: a tenth of a second.
async fn limit(world: &World, name: &str) {
    let limit = format!(
        "alter database {} set {name} = '100ms'",
        world.database().name
    );
    world.sql.batch_execute(&limit).await.unwrap();
    terminate_connections(&world.sql).await;
}

at_both_doors! {
    async fn an_idle_connection_that_was_terminated_is_replaced_unnoticed(world: World) {
        let ann = world.join("ann").await;
        terminate_connections(&world.sql).await;
        let post_id = ann.publishes(&world, "after the termination").await;
        terminate_connections(&world.sql).await;
        assert_eq!(world.get(&format!("/posts/{post_id}")).await.status, 200);
    }

    async fn a_write_whose_connection_is_terminated_under_it_is_a_503_and_is_not_done(world: World) {
        let ann = world.join("ann").await;
        let post_id = ann.publishes(&world, "title").await;
        // The post is locked, so that the vote is still under way when its connection ends.
        world.sql.batch_execute("begin; lock table votes in exclusive mode").await.unwrap();
        let vote = world.send(ann.ballot(post_id, 1));
        let terminate = async {
            let other = connect(world.database()).await;
            world.until_waiting(1).await;
            let terminate = "select pg_terminate_backend(pid, 10000) from pg_stat_activity
                             where datname = current_database() and wait_event_type = 'Lock'";
            other.query(terminate, &[]).await.unwrap();
        };
        let (answer, ()) = tokio::join!(vote, terminate);
        assert_away(&answer);
        world.sql.batch_execute("commit").await.unwrap();
        assert_eq!(world.number("select count(*) from votes").await, 0);
        assert_eq!(world.send(ann.ballot(post_id, 1)).await.status, 201);
    }

    async fn a_statement_past_the_servers_limit_is_a_503_and_changes_nothing(world: World) {
        let ann = world.join("ann").await;
        let post_id = ann.publishes(&world, "title").await;
        limit(&world, "statement_timeout").await;
        world.sql.batch_execute("begin; lock table votes in exclusive mode").await.unwrap();
        assert_away(&world.send(ann.ballot(post_id, 1)).await);
        world.sql.batch_execute("commit").await.unwrap();
        assert_eq!(world.number("select count(*) from votes").await, 0);
        assert_eq!(world.send(ann.ballot(post_id, 1)).await.status, 201);
    }

    async fn a_lock_that_is_not_to_be_had_is_a_503(world: World) {
        let ann = world.join("ann").await;
        let post_id = ann.publishes(&world, "title").await;
        limit(&world, "lock_timeout").await;
        world.sql.batch_execute("begin; lock table votes in exclusive mode").await.unwrap();
        assert_away(&world.send(ann.ballot(post_id, 1)).await);
        world.sql.batch_execute("commit").await.unwrap();
        assert_eq!(world.number("select count(*) from votes").await, 0);
    }

    async fn a_logout_that_could_not_be_stored_is_no_success(world: World) {
        let ann = world.join("ann").await;
        limit(&world, "lock_timeout").await;
        world.sql.batch_execute("begin; select from sessions for update").await.unwrap();
        assert_away(&world.log_out(&ann.refresh_token).await);
        world.sql.batch_execute("commit").await.unwrap();
        assert!(world.accepts(&ann.access_token).await);
    }
}

#[tokio::test]
async fn a_statement_past_our_own_limit_is_cancelled_on_the_server() {
    let world = World::with(Door::Event, |config| {
        let database = config.database.as_mut().unwrap();
        database.statement_timeout = Duration::from_secs(1);
    })
    .await;
    let ann = world.join("ann").await;
    let post_id = ann.publishes(&world, "title").await;
    world
        .sql
        .batch_execute("begin; lock table votes in exclusive mode")
        .await
        .unwrap();
    assert_away(&world.send(ann.ballot(post_id, 1)).await);
    // The lock is still held here, so nothing but the cancellation can end the statement.
    let other = connect(world.database()).await;
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    while other
        .query_one(waiting, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        > 0
    {}
    world.sql.batch_execute("commit").await.unwrap();
    assert_eq!(world.number("select count(*) from votes").await, 0);
    assert_eq!(world.send(ann.ballot(post_id, 1)).await.status, 201);
}

#[tokio::test]
async fn a_frozen_network_is_a_503_within_the_bound_and_is_left_behind_when_it_thaws() {
    let mut proxy = None;
    let world = World::with(Door::Event, |config| {
        let database = config.database.as_mut().unwrap();
        database.statement_timeout = Duration::from_secs(1);
        proxy = Some(Proxy::before(database));
    })
    .await;
    let proxy = proxy.unwrap();
    let ann = world.join("ann").await;
    proxy.freeze();
    let write = Request::post("/posts/")
        .bearer(&ann.access_token)
        .json(&json!({ "title": "title", "content": "content" }));
    assert_away(&world.send(write.clone()).await);
    proxy.cut();
    proxy.thaw();
    assert_eq!(world.number("select count(*) from posts").await, 0);
    assert_eq!(world.send(write).await.status, 201);
}

#[tokio::test]
async fn a_write_that_is_cut_off_before_it_arrives_is_a_503_and_is_not_repeated() {
    for fault in [Proxy::cut, Proxy::half_close] {
        let (world, proxy) = World::behind_proxy(Door::Event).await;
        let ann = world.join("ann").await;
        let post_id = ann.publishes(&world, "title").await;
        proxy.heard();
        proxy.freeze();
        let come_between = async {
            proxy.hears(Said::asks_for_an_answer).await;
            fault(&proxy);
        };
        let (answer, ()) = tokio::join!(world.send(ann.ballot(post_id, 1)), come_between);
        assert_away(&answer);
        proxy.cut();
        proxy.thaw();
        let statements = proxy.heard();
        assert_eq!(
            statements
                .iter()
                .filter(|said| said.asks_for_an_answer())
                .count(),
            1
        );
        assert_eq!(world.send(ann.ballot(post_id, 1)).await.status, 201);
        assert_eq!(world.number("select count(*) from votes").await, 1);
    }
}

/// A server of the test's own, behind a proxy that follows it to another port.
struct OwnServer {
    home: std::path::PathBuf,
    running: Option<Server>,
}

impl OwnServer {
    async fn start(name: &str) -> (Self, Database) {
        let home = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{name}"));
        // What an earlier run left may be of a folder that has moved since.
        let _ = std::fs::remove_dir_all(&home);
        let server = Server::start(&home, &Source::Search, true, &mut |_| ())
            .await
            .unwrap();
        let database = reached_by(&server);
        migrate::carry_out(&Order::Migrate, &database)
            .await
            .unwrap();
        (
            Self {
                home,
                running: Some(server),
            },
            database,
        )
    }

    async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    /// Starts again, on whatever port is free now.
    async fn start_again(&mut self) -> u16 {
        let server = Server::start(&self.home, &Source::Search, false, &mut |_| ())
            .await
            .unwrap();
        let port = server.connection().port;
        self.running = Some(server);
        port
    }
}

#[tokio::test]
async fn a_server_that_was_stopped_is_a_503_and_the_next_request_after_its_start_is_well() {
    let (mut server, mut database) = OwnServer::start("restart").await;
    let direct = database.clone();
    let proxy = Proxy::before(&mut database);
    let world = World::with(Door::Http, |config| config.database = Some(database)).await;
    let ann = world.join("ann").await;
    let post_id = ann.publishes(&world, "before the stop").await;

    server.stop().await;
    assert_away(&world.get(&format!("/posts/{post_id}")).await);
    assert_away(&world.send(ann.ballot(post_id, 1)).await);
    assert_away(&world.get("/health").await);

    let port = server.start_again().await;
    proxy.lead_to(port);
    assert_eq!(world.send(ann.ballot(post_id, 1)).await.status, 201);
    assert_eq!(world.get("/health").await.status, 200);
    let sql = connect(&Database { port, ..direct }).await;
    let votes: i64 = sql
        .query_one("select count(*) from votes", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(votes, 1);

    // In the middle of a request: what it does is done, and then the server goes before it is told. The statement
    // is prepared by then, so that nothing else is waited for.
    for dir in [0, 1] {
        assert_eq!(world.send(ann.ballot(post_id, dir)).await.status, 201);
    }
    proxy.heard();
    proxy.hold_answers();
    let stop = async {
        proxy.hears(Said::asks_for_an_answer).await;
        let votes = "select count(*) from votes";
        while sql.query_one(votes, &[]).await.unwrap().get::<_, i64>(0) > 0 {}
        server.stop().await;
        proxy.cut();
        proxy.thaw();
    };
    let (answer, ()) = tokio::join!(world.send(ann.ballot(post_id, 0)), stop);
    assert_away(&answer);
    proxy.lead_to(server.start_again().await);
    world
        .send(ann.ballot(post_id, 0))
        .await
        .assert_detail(404, "Vote does not exist");
    server.stop().await;
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_a_503_until_there_is_one() {
    let (mut server, database) = OwnServer::start("full").await;
    let sql = connect(&database).await;
    // As a superuser one is let in even to a full server; anybody else is not.
    sql.batch_execute(
        "create role guest login password 'guest' connection limit 1;
         grant all on all tables in schema public to guest;
         grant all on all sequences in schema public to guest",
    )
    .await
    .unwrap();
    let guest = Database {
        username: "guest".to_owned(),
        password: shared::config::Secret::new("guest"),
        ..database.clone()
    };
    let only_connection = connect(&guest).await;
    let world = World::with(Door::Http, |config| config.database = Some(guest)).await;
    assert_away(&world.get("/health").await);
    drop(only_connection);
    let guests = "select count(*) from pg_stat_activity where usename = 'guest'";
    while sql.query_one(guests, &[]).await.unwrap().get::<_, i64>(0) > 0 {}
    assert_eq!(world.get("/health").await.status, 200);
    server.stop().await;
}
