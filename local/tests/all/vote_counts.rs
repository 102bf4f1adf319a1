//! What happens to the counts of votes when votes, posts and people come and go beside the API.

use crate::world::{Request, World, connect};

at_both_doors! {
    async fn bulk_loads_and_bulk_deletions_are_counted(world: World) {
        let (people, posts) = fill(&world).await;
        // Everybody but the first votes for every post, in one statement.
        let loaded = world
            .sql
            .execute(
                "insert into votes select users.id, posts.id from users, posts
                         where users.id <> $1",
                &[&people[0]],
            )
            .await
            .unwrap();
        assert_eq!(loaded, 95);
        world.assert_counts_are_exact().await;
        assert_eq!(world.votes(posts[2]).await, 19);

        // What is there already is not counted again.
        let loaded = world
            .sql
            .execute(
                "insert into votes select users.id, posts.id from users, posts
                         on conflict do nothing",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(loaded, 5);
        world.assert_counts_are_exact().await;
        assert_eq!(world.votes(posts[2]).await, 20);

        let deleted = world
            .sql
            .execute("delete from votes where user_id % 3 = 0", &[])
            .await
            .unwrap();
        assert!(deleted > 25, "{deleted}");
        world.assert_counts_are_exact().await;

        world.sql.execute("delete from votes", &[]).await.unwrap();
        world.assert_counts_are_exact().await;
        assert_eq!(world.votes(posts[2]).await, 0);
    }

    async fn a_deleted_person_takes_their_votes_from_every_post(world: World) {
        let (people, posts) = fill(&world).await;
        world
            .sql
            .execute(
                "insert into votes select users.id, posts.id from users, posts",
                &[],
            )
            .await
            .unwrap();
        // Two who wrote nothing: every post stays, two votes short.
        world
            .sql
            .execute("delete from users where id = any($1)", &[&&people[5..7]])
            .await
            .unwrap();
        assert_eq!(world.number("select count(*) from votes").await, 90);
        world.assert_counts_are_exact().await;
        for post in &posts {
            assert_eq!(world.votes(*post).await, 18);
        }

        // One who wrote a post and voted for it: that post goes with all its votes.
        world
            .sql
            .execute("delete from users where id = $1", &[&people[0]])
            .await
            .unwrap();
        assert_eq!(world.number("select count(*) from votes").await, 68);
        world.assert_counts_are_exact().await;
        world
            .get(&format!("/posts/{}", posts[0]))
            .await
            .assert_detail(404, &format!("Post with id: {} not found", posts[0]));
        assert_eq!(world.votes(posts[1]).await, 17);
    }

    async fn a_deleted_post_takes_its_votes_and_their_count_with_it(world: World) {
        let people = world.crowd(5).await;
        let (ann, others) = people.split_first().unwrap();
        let (gone, kept) = (
            ann.publishes(&world, "gone").await,
            ann.publishes(&world, "kept").await,
        );
        for person in others {
            for post in [gone, kept] {
                assert_eq!(world.send(person.ballot(post, 1)).await.status, 201);
            }
        }
        let answer = world
            .send(Request::delete(&format!("/posts/{gone}")).bearer(&ann.access_token))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (204, String::new())
        );
        for table in ["votes", "vote_counts"] {
            let left = world
                .number(&format!(
                    "select count(*) from {table} where post_id = {gone}"
                ))
                .await;
            assert_eq!(left, 0, "{table}");
        }
        world.assert_counts_are_exact().await;
        assert_eq!(world.votes(kept).await, 4);
    }

    async fn emptied_votes_are_forgotten_and_counted_anew(world: World) {
        let (_, posts) = fill(&world).await;
        world
            .sql
            .execute(
                "insert into votes select users.id, posts.id from users, posts",
                &[],
            )
            .await
            .unwrap();
        world.sql.batch_execute("truncate votes").await.unwrap();
        world.assert_counts_are_exact().await;
        assert_eq!(world.votes(posts[0]).await, 0);

        let ann = world.join("ann").await;
        assert_eq!(world.send(ann.ballot(posts[0], 1)).await.status, 201);
        world.assert_counts_are_exact().await;
        assert_eq!(world.votes(posts[0]).await, 1);
    }

    async fn votes_that_are_rolled_back_were_never_counted(world: World) {
        let (people, posts) = fill(&world).await;
        world
            .sql
            .batch_execute(&format!(
                "begin; insert into votes values ({}, {}); rollback",
                people[0], posts[0]
            ))
            .await
            .unwrap();
        world.assert_counts_are_exact().await;
        assert_eq!(world.votes(posts[0]).await, 0);
    }

    /// A popular post is no queue of its voters: whoever finds its count locked opens another row. A vote
    /// that waited would be given up in the end, since the holder lets go only after its answer.
    async fn nobody_waits_for_another_voter(world: World) {
        let people = world.crowd(3).await;
        let post = people[0].publishes(&world, "title").await;
        assert_eq!(world.send(people[0].ballot(post, 1)).await.status, 201);
        // Not the row that a connection of the API would open of its own accord.
        world.rows("update vote_counts set slot = 64", &[]).await;

        let holder = connect(world.database()).await;
        holder
            .batch_execute(&format!(
                "begin; insert into votes values ({}, {post})",
                people[1].id
            ))
            .await
            .unwrap();
        assert_eq!(world.send(people[2].ballot(post, 1)).await.status, 201);
        // The vote in the open transaction is no vote yet.
        assert_eq!(world.votes(post).await, 2);
        assert_eq!(world.number("select count(*) from vote_counts").await, 2);
        holder.batch_execute("commit").await.unwrap();

        assert_eq!(world.votes(post).await, 3);
        world.assert_counts_are_exact().await;
    }

    async fn voters_who_do_not_meet_share_one_row(world: World) {
        let people = world.crowd(20).await;
        let post = people[0].publishes(&world, "title").await;
        for person in &people {
            assert_eq!(world.send(person.ballot(post, 1)).await.status, 201);
        }
        assert_eq!(world.votes(post).await, 20);
        assert_eq!(world.number("select count(*) from vote_counts").await, 1);
    }
}

/// Twenty people, of whom the first five wrote a post each; both by id.
async fn fill(world: &World) -> (Vec<i64>, Vec<i64>) {
    let people: Vec<i64> = world
        .crowd(20)
        .await
        .iter()
        .map(|person| person.id)
        .collect();
    let insert = "insert into posts (title, content, owner_id)
                  select 'title', '', id from unnest($1::bigint[]) as id returning id";
    let posts = world.rows(insert, &[&&people[..5]]).await;
    (people, posts.iter().map(|row| row.get(0)).collect())
}
