//! Rows that vanish under a request: an open transaction has deleted them, the request waits for its end, and
//! is then answered as if it had come after it.

use serde_json::json;
use tokio::join;

use crate::world::{Answer, Request, World, connect};

at_both_doors! {
    async fn a_post_that_is_being_deleted_gets_no_vote(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        let answer = send_while(
            &world,
            &format!("delete from posts where id = {post}"),
            bob.ballot(post, 1),
        )
        .await;
        answer.assert_detail(404, &format!("Post with id: {post} does not exist"));
        assert_eq!(world.number("select count(*) from votes").await, 0);
    }

    async fn a_vote_that_is_being_deleted_with_its_post_cannot_be_taken_back(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        assert_eq!(world.send(bob.ballot(post, 1)).await.status, 201);
        let answer = send_while(
            &world,
            &format!("delete from posts where id = {post}"),
            bob.ballot(post, 0),
        )
        .await;
        answer.assert_detail(404, &format!("Post with id: {post} does not exist"));
    }

    async fn a_voter_who_is_being_deleted_has_no_vote(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        let answer = send_while(
            &world,
            &format!("delete from users where id = {}", bob.id),
            bob.ballot(post, 1),
        )
        .await;
        assert_bad_credentials(&answer);
        assert_eq!(world.votes(post).await, 0);
        world.assert_counts_are_exact().await;
    }

    async fn an_author_who_is_being_deleted_writes_nothing(world: World) {
        let ann = world.join("ann").await;
        let post = Request::post("/posts/")
            .bearer(&ann.access_token)
            .json(&json!({ "title": "title", "content": "" }));
        let answer = send_while(
            &world,
            &format!("delete from users where id = {}", ann.id),
            post,
        )
        .await;
        assert_bad_credentials(&answer);
        assert_eq!(world.number("select count(*) from posts").await, 0);
    }

    async fn a_post_that_is_being_deleted_cannot_be_changed_or_deleted(world: World) {
        let ann = world.join("ann").await;
        for method in ["PUT", "DELETE"] {
            let post = ann.publishes(&world, "title").await;
            let request = Request::new(method, &format!("/posts/{post}"))
                .bearer(&ann.access_token)
                .json(&json!({ "title": "new", "content": "" }));
            let answer = send_while(
                &world,
                &format!("delete from posts where id = {post}"),
                request,
            )
            .await;
            answer.assert_detail(404, &format!("Post with id: {post} not found"));
        }
    }

    async fn a_deletion_that_is_taken_back_was_none(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        let holder = connect(world.database()).await;
        holder
            .batch_execute(&format!("begin; delete from posts where id = {post}"))
            .await
            .unwrap();
        let (answer, ()) = join!(world.send(bob.ballot(post, 1)), async {
            world.until_waiting(1).await;
            holder.batch_execute("rollback").await.unwrap();
        });
        answer.assert(201, &json!({ "message": "Successfully added vote" }));
        assert_eq!(world.votes(post).await, 1);
    }
}

/// The answer to a request that came to wait for an open transaction, which then committed.
async fn send_while(world: &World, statement: &str, request: Request) -> Answer {
    let holder = connect(world.database()).await;
    holder
        .batch_execute(&format!("begin; {statement}"))
        .await
        .unwrap();
    let (answer, ()) = join!(world.send(request), async {
        world.until_waiting(1).await;
        holder.batch_execute("commit").await.unwrap();
    });
    answer
}

#[track_caller]
fn assert_bad_credentials(answer: &Answer) {
    answer.assert_detail(401, "Could not validate credentials");
    assert_eq!(
        answer.header("www-authenticate"),
        Some(r#"Bearer error="invalid_token""#)
    );
}
