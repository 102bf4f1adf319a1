//! Statements that lock the same rows at the same time: none is ended by a deadlock, and none fails since another ran.

use futures_util::future::join_all;
use serde_json::json;
use shared::db::Db;
use tokio_postgres::error::SqlState;

use crate::world::{Answer, Door, PASSWORD, Request, World, connect};

/// The status of each answer, which the request must allow.
async fn statuses(world: &World, requests: Vec<Request>) -> Vec<u16> {
    let answers = world.send_at_once(requests).await;
    let status = |answer: &Answer| answer.status.as_u16();
    answers.iter().map(status).collect()
}

#[track_caller]
fn assert_each_is_one_of(statuses: &[u16], allowed: &[u16]) {
    assert!(
        statuses.iter().all(|status| allowed.contains(status)),
        "{statuses:?}"
    );
}

/// Deletes an account by SQL, as the API does once the password is verified.
async fn delete_account(world: &World, id: i64) -> Result<u64, tokio_postgres::Error> {
    let sql = connect(world.database()).await;
    sql.execute("delete from users where id = $1", &[&id]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_are_taken_back_while_their_post_is_deleted() {
    let world = World::new(Door::Http).await;
    let people = world.crowd(14).await;
    for _ in 0..40 {
        let post = people[0].publishes(&world, "title").await;
        let cast = people.iter().map(|person| person.ballot(post, 1)).collect();
        assert_each_is_one_of(&statuses(&world, cast).await, &[201]);
        let mut requests: Vec<_> = people.iter().map(|person| person.ballot(post, 0)).collect();
        let delete = Request::delete(&format!("/posts/{post}")).bearer(&people[0].access_token);
        requests.insert(7, delete);
        assert_each_is_one_of(&statuses(&world, requests).await, &[201, 204, 404]);
    }
    world.assert_no_deadlocks();
    assert_eq!(world.number("select count(*) from vote_counts").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_voted_for_each_others_posts_are_deleted_at_once() {
    let world = World::new(Door::Http).await;
    let staying = world.crowd(1).await;
    let popular = staying[0].publishes(&world, "everybody's").await;
    for round in 0..15 {
        let mut people = Vec::new();
        for name in ["ann", "ben", "carl", "dora"] {
            let insert = format!(
                "insert into users (email, password_hash) values ('{name}-{round}@example.com', '') returning id"
            );
            people.push(world.number(&insert).await);
        }
        // Each writes some posts, in turn, and votes for everybody's.
        let fill = "
            with written as (
                insert into posts (title, content, owner_id)
                select 'title', '', owner_id
                from generate_series(1, 6) as turn, unnest($1::bigint[]) as owner_id
                returning id)
            insert into votes (user_id, post_id)
            select voter, post
            from unnest($1::bigint[]) as voter, (select id from written union select $2) as target (post)";
        world.rows(fill, &[&people, &popular]).await;
        let deletions = people.iter().map(|id| delete_account(&world, *id));
        for deletion in join_all(deletions).await {
            assert_eq!(deletion.unwrap(), 1);
        }
    }
    world.assert_no_deadlocks();
    world.assert_counts_are_exact().await;
    assert_eq!(world.number("select count(*) from votes").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_are_taken_back_while_the_author_and_a_voter_are_deleted() {
    let world = World::new(Door::Http).await;
    let voters = world.crowd(14).await;
    let join = "insert into users (email, password_hash) values (gen_random_uuid() || '@example.com', '') returning id";
    let fill = "
        with written as (
            insert into posts (title, content, owner_id)
            values ('left behind', '', $1), ('stays', '', $2)
            returning id),
        cast_votes as (insert into votes (user_id, post_id) select voter, id from written, unnest($3::bigint[]) as voter)
        select id from written order by id";
    let mut voting: Vec<i64> = voters.iter().map(|voter| voter.id).collect();
    for _ in 0..40 {
        let (author, voter) = (world.number(join).await, world.number(join).await);
        voting.push(voter);
        let posts = world.rows(fill, &[&author, &voters[0].id, &voting]).await;
        voting.pop();
        let posts: Vec<i64> = posts.iter().map(|row| row.get(0)).collect();
        let ballots = posts
            .iter()
            .flat_map(|post| voters.iter().map(|voter| voter.ballot(*post, 0)));
        let (answered, author, voter) = tokio::join!(
            statuses(&world, ballots.collect()),
            delete_account(&world, author),
            delete_account(&world, voter),
        );
        assert_eq!((author.unwrap(), voter.unwrap()), (1, 1));
        assert_each_is_one_of(&answered, &[201, 404]);
    }
    world.assert_no_deadlocks();
    world.assert_counts_are_exact().await;
    assert_eq!(world.number("select count(*) from votes").await, 0);
}

#[tokio::test]
async fn every_session_is_ended_while_a_login_ends_the_surplus() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    // As an adoption leaves them: more than a login leaves.
    let sessions = "
        alter table sessions disable trigger user;
        insert into sessions (user_id, expires_at)
        select id, now() + interval '1 hour' from users, generate_series(1, 60) as number;
        alter table sessions enable trigger user";
    world.sql.batch_execute(sessions).await.unwrap();
    // One of the sessions is held, so that both are under way at the same time.
    let holder = connect(world.database()).await;
    let hold = "begin; select from sessions where id = (select id from sessions order by id offset 2 limit 1) for update";
    holder.batch_execute(hold).await.unwrap();
    let end_all = Request::post("/auth/logout-all").bearer(&ann.access_token);
    let (answer, login, ()) = tokio::join!(
        world.send(end_all),
        async {
            world.until_waiting(1).await;
            world.log_in(&ann.email, PASSWORD).await
        },
        async {
            world.until_waiting(2).await;
            holder.batch_execute("commit").await.unwrap();
        }
    );
    assert_eq!((answer.status.as_u16(), login.status.as_u16()), (200, 200));
    world.assert_no_deadlocks();
    // The login came after the end of all others.
    assert_eq!(world.number("select count(*) from sessions").await, 1);
}

/// A function of SQL that fails with a SQLSTATE as often as it is told to, and then does not.
async fn fails(world: &World, sqlstate: &str, times: i64) {
    let function = format!(
        "drop sequence if exists tries;
         create sequence tries;
         create or replace function fail() returns bigint language plpgsql as $$ begin
             if nextval('tries') <= {times} then
                 raise 'as told' using errcode = '{sqlstate}';
             end if;
             return currval('tries');
         end $$"
    );
    world.sql.batch_execute(&function).await.unwrap();
}

#[tokio::test]
async fn what_the_server_rolled_back_for_the_sake_of_another_is_sent_again() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    for state in [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ] {
        for prepared_statements in [true, false] {
            let database = shared::config::Database {
                prepared_statements,
                ..world.database().clone()
            };
            let db = Db::new(Some(&database));
            let write = "insert into posts (title, content, owner_id)
                         select fail()::text, '', id from users returning title";
            // The third time it is prepared.
            for _ in 0..3 {
                fails(&world, state.code(), 1).await;
                let row = db.write(write, &[]).await.unwrap();
                assert_eq!(row.get::<_, &str>("title"), "2");
            }
            // It is not tried for ever.
            fails(&world, state.code(), 1000).await;
            let refused = db.write(write, &[]).await.unwrap_err();
            assert_eq!(refused.status(), 503);
        }
    }
    let posts = format!("select count(*) from posts where owner_id = {}", ann.id);
    assert_eq!(world.number(&posts).await, 12);
}

#[tokio::test]
async fn what_the_server_refused_for_another_reason_is_not_sent_again() {
    let world = World::new(Door::Event).await;
    for (sqlstate, status) in [
        ("57014", 503),
        ("55P03", 503),
        ("XX000", 500),
        ("23505", 500),
    ] {
        fails(&world, sqlstate, 1).await;
        let db = Db::new(Some(world.database()));
        let refused = db.write("select fail()", &[]).await.unwrap_err();
        assert_eq!(refused.status(), status, "{sqlstate}");
        assert_eq!(world.number("select last_value from tries").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_isolation_is_serializable_takes_every_vote() {
    let world = World::new(Door::Http).await;
    let isolation = format!(
        "alter database {} set default_transaction_isolation = 'serializable'",
        world.database().name
    );
    world.sql.batch_execute(&isolation).await.unwrap();
    let people = world.crowd(64).await;
    let post = people[0].publishes(&world, "title").await;
    for dir in [1, 0, 1, 0, 1] {
        let ballots = people
            .iter()
            .map(|person| person.ballot(post, dir))
            .collect();
        assert_each_is_one_of(&statuses(&world, ballots).await, &[201]);
        world.assert_counts_are_exact().await;
    }
    assert_eq!(world.votes(post).await, 64);
    let answer = world
        .send(
            Request::post("/posts/")
                .bearer(&people[0].access_token)
                .json(&json!({
                    "title": "title", "content": "content"
                })),
        )
        .await;
    assert_eq!(answer.status, 201);
}
