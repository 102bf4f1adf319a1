//! `POST /vote/`: up once, back once, and what is refused.

use serde_json::{Value, json};

use crate::world::{Answer, Person, Request, World};

at_both_doors! {
    async fn a_vote_goes_up_once_and_comes_back_once(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        let (up, down) = (bob.ballot(post, 1), bob.ballot(post, 0));

        let answer = world.send(up.clone()).await;
        answer.assert(201, &json!({ "message": "Successfully added vote" }));
        assert_eq!(
            (world.votes(post).await, voters(&world, post).await),
            (1, vec![bob.id])
        );

        let twice = format!("user {} has already voted on post {post}", bob.id);
        world.send(up.clone()).await.assert_detail(409, &twice);
        assert_eq!(
            (world.votes(post).await, voters(&world, post).await),
            (1, vec![bob.id])
        );

        let answer = world.send(down.clone()).await;
        answer.assert(201, &json!({ "message": "Successfully removed vote" }));
        assert_eq!(
            (world.votes(post).await, voters(&world, post).await),
            (0, vec![])
        );

        world
            .send(down)
            .await
            .assert_detail(404, "Vote does not exist");
        assert_eq!(
            (world.votes(post).await, voters(&world, post).await),
            (0, vec![])
        );

        let answer = world.send(up).await;
        answer.assert(201, &json!({ "message": "Successfully added vote" }));
        assert_eq!(
            (world.votes(post).await, voters(&world, post).await),
            (1, vec![bob.id])
        );
    }

    async fn votes_count_one_for_each_person_and_post(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let (first, second) = (
            ann.publishes(&world, "first").await,
            ann.publishes(&world, "second").await,
        );
        for ballot in [
            ann.ballot(first, 1),
            bob.ballot(first, 1),
            bob.ballot(second, 1),
        ] {
            assert_eq!(world.send(ballot).await.status, 201);
        }
        // Taking one back leaves that person's other votes and other people's votes alone.
        assert_eq!(world.send(bob.ballot(first, 0)).await.status, 201);

        assert_eq!(voters(&world, first).await, [ann.id]);
        assert_eq!(voters(&world, second).await, [bob.id]);
        let list = world.get("/posts/").await.json();
        let counts: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (&entry["Post"]["id"], &entry["votes"]))
            .collect();
        assert_eq!(
            counts,
            [(&json!(second), &json!(1)), (&json!(first), &json!(1))]
        );
        assert_eq!(
            (world.votes(first).await, world.votes(second).await),
            (1, 1)
        );
    }

    async fn an_author_votes_for_posts_and_drafts_of_their_own(world: World) {
        let ann = world.join("ann").await;
        for post in [
            ann.publishes(&world, "post").await,
            ann.drafts(&world, "draft").await,
        ] {
            let answer = world.send(ann.ballot(post, 1)).await;
            answer.assert(201, &json!({ "message": "Successfully added vote" }));
            let shown = world
                .send(Request::get(&format!("/posts/{post}")).bearer(&ann.access_token))
                .await;
            assert_eq!(
                (shown.status.as_u16(), &shown.json()["votes"]),
                (200, &json!(1))
            );
        }
    }

    async fn a_draft_of_somebody_else_is_no_post_to_vote_for(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.drafts(&world, "draft").await;
        let no_such_post = format!("Post with id: {post} does not exist");
        for dir in [1, 0] {
            world
                .send(bob.ballot(post, dir))
                .await
                .assert_detail(404, &no_such_post);
        }
        assert_eq!(voters(&world, post).await, [] as [i64; 0]);
    }

    async fn votes_for_a_post_that_becomes_a_draft_stay_and_cannot_be_taken_back(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        assert_eq!(world.send(bob.ballot(post, 1)).await.status, 201);
        world
            .rows("update posts set is_published = false", &[])
            .await;

        let no_such_post = format!("Post with id: {post} does not exist");
        for dir in [0, 1] {
            world
                .send(bob.ballot(post, dir))
                .await
                .assert_detail(404, &no_such_post);
        }
        assert_eq!(voters(&world, post).await, [bob.id]);

        world
            .rows("update posts set is_published = true", &[])
            .await;
        let twice = format!("user {} has already voted on post {post}", bob.id);
        world
            .send(bob.ballot(post, 1))
            .await
            .assert_detail(409, &twice);
        assert_eq!(world.votes(post).await, 1);
    }

    async fn an_id_that_matches_nothing_is_a_404_with_its_digits(world: World) {
        let ann = world.join("ann").await;
        let post = ann.publishes(&world, "title").await;
        let huge = "9".repeat(60);
        for id in [
            &(post + 1).to_string(),
            "0",
            "-1",
            "2147483648",
            "-2147483649",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775809",
            &huge,
            &format!("-{huge}"),
        ] {
            for dir in [1, 0] {
                let body = format!(r#"{{"post_id": {id}, "dir": {dir}}}"#);
                let answer = world.send(cast(&ann, &body)).await;
                answer.assert_detail(404, &format!("Post with id: {id} does not exist"));
            }
        }
        assert_eq!(world.number("select count(*) from votes").await, 0);
    }

    async fn what_is_no_json_integer_is_no_vote(world: World) {
        let ann = world.join("ann").await;
        let post = ann.publishes(&world, "title").await;
        let (no_integer, none) = ("int_type", "missing");
        for (field, value, kind) in [
            ("dir", r#""1""#, no_integer),
            ("dir", "1.0", no_integer),
            ("dir", "1e0", no_integer),
            ("dir", "true", no_integer),
            ("dir", "null", no_integer),
            ("dir", "[1]", no_integer),
            ("dir", "{}", no_integer),
            ("dir", r#""up""#, "int_parsing"),
            ("dir", "2", "less_than_equal"),
            ("dir", "99999999999999999999", "less_than_equal"),
            ("dir", "-1", "greater_than_equal"),
            ("dir", "-99999999999999999999", "greater_than_equal"),
            ("post_id", r#""1""#, no_integer),
            ("post_id", "1.0", no_integer),
            ("post_id", "1.5", no_integer),
            ("post_id", "true", no_integer),
            ("post_id", "null", no_integer),
            ("post_id", "[1]", no_integer),
            ("post_id", r#""one""#, "int_parsing"),
        ] {
            let body = match field {
                "dir" => format!(r#"{{"post_id": {post}, "dir": {value}}}"#),
                _ => format!(r#"{{"post_id": {value}, "dir": 1}}"#),
            };
            let answer = world.send(cast(&ann, &body)).await;
            assert_one_problem(&answer, kind, field, value);
        }
        let answer = world
            .send(cast(&ann, &format!(r#"{{"post_id": {post}}}"#)))
            .await;
        answer.assert_problems(&[(none, json!(["body", "dir"]))]);
        let answer = world.send(cast(&ann, r#"{"dir": 1}"#)).await;
        answer.assert_problems(&[(none, json!(["body", "post_id"]))]);
        assert_eq!(world.number("select count(*) from votes").await, 0);
    }

    async fn all_that_is_wrong_with_a_vote_is_told_at_once(world: World) {
        let ann = world.join("ann").await;
        let answer = world
            .send(cast(
                &ann,
                r#"{"dir": 2, "post_id": "one", "reason": "none"}"#,
            ))
            .await;
        answer.assert(
            422,
            &json!({ "detail": [
            {
                "type": "int_parsing",
                "loc": ["body", "post_id"],
                "msg": "Input should be a valid integer, unable to parse string as an integer",
                "input": "one",
            },
            {
                "type": "less_than_equal",
                "loc": ["body", "dir"],
                "msg": "Input should be less than or equal to 1",
                "input": 2,
                "ctx": { "le": 1 },
            },
        ] }),
        );
        let answer = world.send(cast(&ann, "{}")).await;
        answer.assert_problems(&[
            ("missing", json!(["body", "post_id"])),
            ("missing", json!(["body", "dir"])),
        ]);
        for body in ["[]", "1", r#""text""#, "[[1, 1]]"] {
            world
                .send(cast(&ann, body))
                .await
                .assert_problems(&[("model_attributes_type", json!(["body"]))]);
        }
        for body in ["", "null"] {
            world
                .send(cast(&ann, body))
                .await
                .assert_problems(&[("missing", json!(["body"]))]);
        }
    }

    async fn nobody_votes_in_another_name(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        let body = format!(
            r#"{{"post_id": {post}, "dir": 1, "user_id": {}, "voter_id": {}}}"#,
            ann.id, ann.id
        );
        world
            .send(cast(&bob, &body))
            .await
            .assert(201, &json!({ "message": "Successfully added vote" }));
        assert_eq!(voters(&world, post).await, [bob.id]);
    }
}

/// A vote with any body.
fn cast(person: &Person, body: &str) -> Request {
    Request::post("/vote/")
        .bearer(&person.access_token)
        .json_text(body)
}

/// Who voted for a post, as it is stored.
async fn voters(world: &World, post: i64) -> Vec<i64> {
    let select = "select user_id from votes where post_id = $1 order by user_id";
    let rows = world.rows(select, &[&post]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

#[track_caller]
fn assert_one_problem(answer: &Answer, kind: &str, field: &str, value: &str) {
    answer.assert_problems(&[(kind, json!(["body", field]))]);
    let value: Value = serde_json::from_str(value).unwrap();
    assert_eq!(answer.json()["detail"][0]["input"], value);
}
