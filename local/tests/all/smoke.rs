//! The script that tries a deployed API is right about this one.

use std::process::Output;

use tokio::process::Command;

use crate::world::{Door, World};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/checks/smoke");

#[tokio::test]
async fn nothing_is_wrong_here_and_nothing_is_left_behind() {
    let world = World::new(Door::Http).await;
    let run = smoke(&format!("http://{}/", world.address())).await;
    assert!(run.status.success(), "{run:?}");
    assert_eq!(world.number("select count(*) from users").await, 0);
}

#[tokio::test]
async fn an_api_that_breaks_half_way_is_found_out_and_nothing_is_left_behind() {
    let world = World::new(Door::Http).await;
    world
        .rows("alter table votes add constraint broken check (false)", &[])
        .await;
    let run = smoke(&format!("http://{}", world.address())).await;
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(said.contains("POST /vote/: 500, not 201"), "{said}");
    assert_eq!(world.number("select count(*) from users").await, 0);
}

#[tokio::test]
async fn what_is_not_the_api_is_found_out() {
    let world = World::new(Door::Http).await;
    let run = smoke(&format!("http://{}/elsewhere", world.address())).await;
    assert_eq!(run.status.code(), Some(1), "{run:?}");
}

async fn smoke(url: &str) -> Output {
    Command::new("python3")
        .args([SCRIPT, url])
        .output()
        .await
        .unwrap()
}
