//! Adopting while others are connected: the old service, another adoption, and whoever cuts the connection.

use serde_json::json;

use super::old::access_token;
use crate::world::{Door, World, connect};

#[tokio::test]
async fn of_two_at_once_one_adopts_and_the_other_finds_nothing_to_do() {
    let world = World::old(Door::Event).await;
    let mut other = connect(world.database()).await;
    // The old service is just writing: one adoption waits for it, the other for the first.
    let writing = other.transaction().await.unwrap();
    writing
        .execute("insert into votes (user_id, post_id) values (4, 4)", &[])
        .await
        .unwrap();
    let finish = async {
        world.until_waiting(2).await;
        writing.commit().await.unwrap();
    };
    let (first, second, ()) = tokio::join!(world.adopt(), world.adopt(), finish);
    let (first, second) = (first.unwrap(), second.unwrap());
    let (done, nothing) = if first["taken_over"].is_null() {
        (second, first)
    } else {
        (first, second)
    };
    // What was written last is there too.
    assert_eq!(
        done["taken_over"],
        json!({ "users": 6, "posts": 5, "votes": 6, "sessions": 37 })
    );
    assert_eq!(
        nothing["nothing_to_do"],
        "The database has this service's schema already."
    );
    assert_eq!(world.votes(4).await, 1);
}

#[tokio::test]
async fn a_change_of_the_schema_that_is_just_being_made_is_seen() {
    let world = World::old(Door::Event).await;
    let mut other = connect(world.database()).await;
    let changing = other.transaction().await.unwrap();
    changing
        .batch_execute("alter table posts add column summary text")
        .await
        .unwrap();
    let finish = async {
        world.until_waiting(1).await;
        changing.commit().await.unwrap();
    };
    let (adopted, ()) = tokio::join!(world.adopt(), finish);
    let refusal = adopted.unwrap_err();
    assert!(refusal.contains("column posts.summary text"), "{refusal}");
}

#[tokio::test]
async fn tables_that_stay_in_use_are_not_waited_for() {
    let world = World::old(Door::Event).await;
    let before = world.whole_dump().await;
    let mut other = connect(world.database()).await;
    let reading = other.transaction().await.unwrap();
    reading.execute("select from posts", &[]).await.unwrap();
    assert_eq!(
        world.adopt().await,
        Err(
            "The tables are in use, and nothing was changed: stop the FastAPI service and \
             whatever else is connected, and try again."
                .to_owned()
        )
    );
    reading.commit().await.unwrap();
    assert_eq!(world.whole_dump().await, before);
    world.adopt().await.unwrap();
}

#[tokio::test]
async fn an_adoption_that_is_cut_off_in_the_middle_changed_nothing() {
    let world = World::old(Door::Event).await;
    let before = world.whole_dump().await;
    // The second migration waits for somebody who makes the same extension.
    let mut other = connect(world.database()).await;
    let making = other.transaction().await.unwrap();
    making
        .batch_execute("create extension pg_trgm")
        .await
        .unwrap();
    let cut = async {
        world.until_waiting(1).await;
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
        assert_eq!(world.number(cut).await, 1);
    };
    let (adopted, ()) = tokio::join!(world.adopt(), cut);
    let failure = adopted.unwrap_err();
    assert!(
        failure.starts_with("The adoption did not finish, and nothing was changed: ")
            && failure.contains("57P01"),
        "{failure}"
    );
    making.rollback().await.unwrap();
    assert_eq!(world.whole_dump().await, before);

    world.adopt().await.unwrap();
    assert!(world.accepts(&access_token(1)).await);
}
