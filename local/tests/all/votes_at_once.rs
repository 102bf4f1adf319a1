//! Many votes at once: whatever their order, one stays for each person and post, and the count is exact.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::{Answer, Request};

at_both_doors! {
    async fn fifty_votes_of_one_person_at_once_leave_one(world: World) {
        let ann = world.join("ann").await;
        let post = ann.publishes(&world, "title").await;

        let answers = world.send_at_once(vec![ann.ballot(post, 1); 50]).await;
        let twice = format!("user {} has already voted on post {post}", ann.id);
        assert_eq!(
            tally(&answers),
            [
                (201, json!({ "message": "Successfully added vote" }), 1),
                (409, json!({ "detail": twice }), 49)
            ]
        );
        assert_eq!(
            (
                world.votes(post).await,
                world.number("select count(*) from votes").await
            ),
            (1, 1)
        );

        let answers = world.send_at_once(vec![ann.ballot(post, 0); 50]).await;
        assert_eq!(
            tally(&answers),
            [
                (201, json!({ "message": "Successfully removed vote" }), 1),
                (404, json!({ "detail": "Vote does not exist" }), 49)
            ]
        );
        assert_eq!(
            (
                world.votes(post).await,
                world.number("select count(*) from votes").await
            ),
            (0, 0)
        );
    }

    async fn fifty_people_at_once_leave_fifty_votes(world: World) {
        let people = world.crowd(50).await;
        let post = people[0].publishes(&world, "title").await;

        let answers = world
            .send_at_once(people.iter().map(|person| person.ballot(post, 1)))
            .await;
        assert_eq!(
            tally(&answers),
            [(201, json!({ "message": "Successfully added vote" }), 50)]
        );
        assert_eq!(
            (
                world.votes(post).await,
                world.number("select count(*) from votes").await
            ),
            (50, 50)
        );
        world.assert_counts_are_exact().await;

        let answers = world
            .send_at_once(people[..20].iter().map(|person| person.ballot(post, 0)))
            .await;
        assert_eq!(
            tally(&answers),
            [(201, json!({ "message": "Successfully removed vote" }), 20)]
        );
        assert_eq!(
            (
                world.votes(post).await,
                world.number("select count(*) from votes").await
            ),
            (30, 30)
        );
        world.assert_counts_are_exact().await;
    }

    async fn a_storm_of_votes_given_and_taken_back_leaves_every_count_exact(world: World) {
        let people = world.crowd(12).await;
        let posts = [
            people[0].publishes(&world, "first").await,
            people[1].publishes(&world, "second").await,
        ];
        for round in 0..4 {
            let mut ballots: Vec<Request> = Vec::new();
            for turn in 0..3_usize {
                for (number, person) in people.iter().enumerate() {
                    let dir = i64::from((number + turn + round).is_multiple_of(2));
                    ballots.extend(posts.map(|post| person.ballot(post, dir)));
                }
            }
            for answer in world.send_at_once(ballots).await {
                assert!(
                    [201, 404, 409].contains(&answer.status.as_u16()),
                    "{}",
                    answer.text()
                );
            }
            world.assert_counts_are_exact().await;
            for post in posts {
                let stored = world
                    .number(&format!(
                        "select count(*) from votes where post_id = {post}"
                    ))
                    .await;
                assert_eq!(world.votes(post).await, stored);
            }
        }
    }

    async fn votes_while_their_posts_are_deleted_are_answered_and_leave_nothing(world: World) {
        let people = world.crowd(10).await;
        let ann = &people[0];
        for _ in 0..5 {
            let post = ann.publishes(&world, "title").await;
            let mut requests: Vec<Request> =
                people.iter().map(|person| person.ballot(post, 1)).collect();
            requests.insert(
                5,
                Request::delete(&format!("/posts/{post}")).bearer(&ann.access_token),
            );
            for answer in world.send_at_once(requests).await {
                assert!(
                    [201, 204, 404].contains(&answer.status.as_u16()),
                    "{} {}",
                    answer.status,
                    answer.text()
                );
            }
        }
        for table in ["posts", "votes", "vote_counts"] {
            assert_eq!(
                world.number(&format!("select count(*) from {table}")).await,
                0,
                "{table}"
            );
        }
    }
}

/// How often each answer came.
fn tally(answers: &[Answer]) -> Vec<(u16, Value, usize)> {
    let mut counts: BTreeMap<(u16, String), usize> = BTreeMap::new();
    for answer in answers {
        answer.assert_common();
        *counts
            .entry((answer.status.as_u16(), answer.text()))
            .or_default() += 1;
    }
    counts
        .into_iter()
        .map(|((status, body), count)| (status, serde_json::from_str(&body).unwrap(), count))
        .collect()
}
