//! Functions as processes of their own, on a Runtime API as Lambda's: how they serve, and how they end.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::json;

use crate::world::{Door, Function, Proxy, Request, Said, World, connect};

/// A function's posts over a world's database, through a proxy that hears what is said to it.
async fn behind_proxy(variables: &[(&str, &str)]) -> (World, Proxy, Function) {
    let world = World::new(Door::Event).await;
    let mut database = world.database().clone();
    let proxy = Proxy::before(&mut database);
    let function = Function::start("posts", &database, variables).await;
    (world, proxy, function)
}

fn startups(said: &[Said]) -> usize {
    let is_startup = |said: &&Said| matches!(said, Said::Startup(_));
    said.iter().filter(is_startup).count()
}

/// How many times somebody took leave.
fn farewells(said: &[Said]) -> usize {
    said.iter()
        .filter(|said| **said == Said::Other('X'))
        .count()
}

#[tokio::test]
async fn a_function_that_is_told_to_end_takes_leave_of_the_database() {
    let (_world, proxy, function) = behind_proxy(&[]).await;
    assert_eq!(function.extensions().len(), 1);
    function
        .send(Request::get("/posts/"))
        .await
        .assert(200, &json!([]));
    let said = proxy.heard();
    assert_eq!((startups(&said), farewells(&said)), (1, 0));
    let (code, _) = function.end().await;
    assert_eq!(code, Some(0));
    proxy.hears(|said| *said == Said::Other('X')).await;
}

#[tokio::test]
async fn a_managed_instance_takes_leave_with_all_its_connections() {
    let (world, proxy, function) = behind_proxy(&[("AWS_LAMBDA_MAX_CONCURRENCY", "3")]).await;
    function.until_idle(3).await;
    slow(&world, &function, 3).await;
    assert_eq!(startups(&proxy.heard()), 3);
    let (code, _) = function.end().await;
    assert_eq!(code, Some(0));
    let mut said = Vec::new();
    while farewells(&said) < 3 {
        proxy.hears(|said| *said == Said::Other('X')).await;
        said.extend(proxy.heard());
    }
}

#[tokio::test]
async fn a_managed_instance_serves_its_requests_at_once() {
    let (world, _proxy, function) = behind_proxy(&[("AWS_LAMBDA_MAX_CONCURRENCY", "8")]).await;
    function.until_idle(8).await;
    slow(&world, &function, 8).await;
}

/// Sends so many requests, all of which wait in the database at the same time.
async fn slow(world: &World, function: &Function, requests: usize) {
    let mut other = connect(world.database()).await;
    let lock = other.transaction().await.unwrap();
    lock.batch_execute("lock table posts in access exclusive mode")
        .await
        .unwrap();
    let answers = join_all((0..requests).map(|_| function.send(Request::get("/posts/"))));
    let release = async {
        world.until_waiting(requests.try_into().unwrap()).await;
        lock.commit().await.unwrap();
    };
    let (answers, ()) = tokio::join!(answers, release);
    for answer in &answers {
        answer.assert(200, &json!([]));
    }
    let ids: HashSet<_> = answers
        .iter()
        .map(|answer| answer.header("x-request-id"))
        .collect();
    assert_eq!(ids.len(), requests);
}

#[tokio::test]
async fn an_ordinary_instance_asks_for_one_event_at_a_time_over_one_connection() {
    let (world, proxy, function) = behind_proxy(&[]).await;
    let answers = join_all((0..4).map(|_| function.send(Request::get("/posts/")))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    function.until_idle(1).await;
    assert_eq!(startups(&proxy.heard()), 1);
    drop(world);
}

#[tokio::test]
async fn where_no_extension_is_registered_a_function_serves_all_the_same() {
    let world = World::new(Door::Event).await;
    let mut function = Function::start_without_extensions("posts", world.database()).await;
    assert!(
        function
            .line()
            .await
            .contains("the function will end unannounced")
    );
    function
        .send(Request::get("/posts/"))
        .await
        .assert(200, &json!([]));
}
