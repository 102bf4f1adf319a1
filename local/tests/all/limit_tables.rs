//! The tables that attempts are counted in: they name nobody, sweep themselves, and cost nothing to lose.

use std::collections::HashSet;

use shared::config::Secret;
use tokio_postgres::Client;

use crate::{
    limits::{WRONG, assert_too_many},
    login::assert_refused,
    world::{Door, PASSWORD, World, connect, credentials, pair},
};

/// Forty rows whose time is over and one of each kind whose time is not.
const LEFTOVERS: &str = "
    insert into attempts (bucket, attempts, window_ends_at)
    select sha256(number::text::bytea), 7, now() - interval '1 second' * number
    from generate_series(0, 39) as number;
    insert into users (email, password_hash) values ('known@example.com', '');
    insert into known_sources (user_id, bucket, last_login_at)
    select users.id, sha256(number::text::bytea), now() - interval '30 days' - interval '1 second' * number
    from users, generate_series(0, 39) as number where users.email = 'known@example.com';
    insert into attempts (bucket, attempts, window_ends_at)
    values ('live', 7, now() + interval '1 minute');
    insert into known_sources (user_id, bucket, last_login_at)
    select id, 'live', now() - interval '29 days 23 hours' from users where email = 'known@example.com'";

impl World {
    async fn leftovers(&self) -> (i64, i64) {
        (
            self.number("select count(*) from attempts where window_ends_at <= now()").await,
            self.number(
                "select count(*) from known_sources where last_login_at <= now() - interval '30 days'",
            )
            .await,
        )
    }

    async fn lose_counts(&self) {
        self.sql
            .batch_execute("truncate attempts, known_sources")
            .await
            .unwrap();
    }

    async fn live_ones(&self) -> i64 {
        self.number(
            "select (select count(*) from attempts where bucket = 'live')
                  + (select count(*) from known_sources where bucket = 'live')",
        )
        .await
    }
}

at_both_doors! {
    async fn the_counts_are_not_logged_and_name_nobody(world: World) {
        let unlogged = "select count(*) from pg_class
                        where relname in ('attempts', 'known_sources') and relpersistence = 'u'";
        assert_eq!(world.number(unlogged).await, 2);
        world.sign_up("ann@example.com", PASSWORD).await;
        world.log_in("ann@example.com", WRONG).await;
        pair(&world.log_in("ann@example.com", PASSWORD).await);
        world.log_in("nobody@example.com", WRONG).await;
        let rows = world
            .rows(
                "select bucket, encode(bucket, 'escape') || ' ' || attempts::text from attempts
                 union all
                 select bucket, encode(bucket, 'escape') || ' ' || known_sources::text from known_sources",
                &[],
            )
            .await;
        // Source and address of the login, both of the other, the source of the sign-up, where ann is known.
        assert_eq!(rows.len(), 6);
        let source = world.usual_source();
        for row in rows {
            let (bucket, text): (Vec<u8>, String) = (row.get(0), row.get(1));
            assert_eq!(bucket.len(), 32);
            for name in ["ann", "nobody", "example", &source.to_string()] {
                assert!(!text.contains(name), "{text}");
            }
        }
    }

    async fn nobody_without_the_key_can_tell_whom_a_count_is_of(world: World) {
        let buckets = async |world: &World| {
            let rows = world.rows("select bucket from attempts union select bucket from known_sources", &[]).await;
            rows.iter().map(|row| row.get(0)).collect::<HashSet<Vec<u8>>>()
        };
        world.sign_up("ann@example.com", PASSWORD).await;
        let counted = async |world: &World| {
            world.lose_counts().await;
            pair(&world.log_in("ann@example.com", PASSWORD).await);
            assert_refused(&world.log_in("ann@example.com", WRONG).await);
            buckets(world).await
        };
        let by_one_key = counted(&world).await;
        assert_eq!(by_one_key, counted(&world).await);
        let world = world
            .configured(|config| config.signing.key = Secret::new("another signing key, 32 bytes or more"))
            .await;
        let by_another = counted(&world).await;
        assert_eq!((by_one_key.len(), by_another.len()), (4, 4));
        assert!(by_one_key.is_disjoint(&by_another));
    }

    async fn attempts_in_flight_are_not_swept_out(world: World) {
        world
            .sql
            .batch_execute(
                "insert into attempts (bucket, attempts, window_ends_at, in_flight)
                 values ('in flight', 3, now(), array[now() + interval '20 seconds']),
                        ('left', 3, now(), array[now()])",
            )
            .await
            .unwrap();
        assert_refused(&world.log_in("ann@example.com", WRONG).await);
        let left = world.rows("select bucket from attempts where attempts = 3", &[]).await;
        let left: Vec<Vec<u8>> = left.iter().map(|row| row.get(0)).collect();
        assert_eq!(left, [b"in flight"]);
    }

    async fn logins_sweep_out_what_is_over(world: World) {
        world.sql.batch_execute(LEFTOVERS).await.unwrap();
        assert_refused(&world.log_in("ann@example.com", WRONG).await);
        // A few with each attempt: no login pays for all that others left.
        assert_eq!(world.leftovers().await, (34, 38));
        for number in 0..19 {
            let address = format!("ann{number}@example.com");
            assert_refused(&world.log_in(&address, WRONG).await);
        }
        assert_eq!(world.leftovers().await, (0, 0));
        assert_eq!(world.live_ones().await, 2);
    }

    async fn sign_ups_sweep_out_what_is_over(world: World) {
        world.sql.batch_execute(LEFTOVERS).await.unwrap();
        world.sign_up("ann@example.com", PASSWORD).await;
        assert_eq!(world.leftovers().await, (34, 38));
        assert_eq!(world.live_ones().await, 2);
    }

    async fn a_refused_login_sweeps_too(world: World) {
        for _ in 0..10 {
            world.log_in("ann@example.com", WRONG).await;
        }
        world.sql.batch_execute(LEFTOVERS).await.unwrap();
        assert_too_many(&world.log_in("ann@example.com", WRONG).await);
        assert_eq!(world.leftovers().await, (34, 38));
    }

    async fn nobody_waits_for_the_rows_that_are_swept(world: World) {
        world.sql.batch_execute(LEFTOVERS).await.unwrap();
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        let hold = "select from attempts where window_ends_at <= now() for update";
        assert_eq!(lock.execute(hold, &[]).await.unwrap(), 40);
        lock.execute("select from known_sources for update", &[]).await.unwrap();
        assert_refused(&world.log_in("ann@example.com", WRONG).await);
        lock.commit().await.unwrap();
        assert_eq!(world.leftovers().await, (40, 40));
    }

    async fn counts_that_are_lost_under_a_login_break_nothing(world: World) {
        world.sign_up("ann@example.com", PASSWORD).await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from users for update", &[])
            .await
            .unwrap();
        let lose = async {
            // The login is counted, and found to be right, and is about to be taken out of the counts.
            world.until_waiting(1).await;
            world.lose_counts().await;
            lock.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(world.log_in("ann@example.com", PASSWORD), lose);
        pair(&answer);
        world.lose_counts().await;
        assert_refused(&world.log_in("ann@example.com", WRONG).await);
        pair(&world.log_in("ann@example.com", PASSWORD).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_may_be_lost_at_any_time() {
    let world = World::new(Door::Event).await;
    for number in 0..4 {
        world
            .sign_up(&format!("ann{number}@example.com"), PASSWORD)
            .await;
    }
    let logins = (0..60).map(|number| {
        let address = format!("ann{}@example.com", number % 4);
        let password = if number % 2 == 0 { PASSWORD } else { WRONG };
        credentials(&address, password).from(&format!("198.51.100.{number}"))
    });
    let lose = async {
        for _ in 0..100 {
            world.lose_counts().await;
        }
    };
    let (answers, ()) = tokio::join!(world.send_at_once(logins), lose);
    for (number, answer) in answers.iter().enumerate() {
        if number % 2 == 0 {
            pair(answer);
        } else {
            assert_refused(answer);
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_longer_than_a_window_lasts() {
    let world = World::new(Door::Event).await;
    // A statement that began first and counts second.
    let late = connect(world.database()).await;
    late.batch_execute("begin; select now()").await.unwrap();
    let fail = "select end_attempt(array['a bucket'::bytea], now(), '1 hour')";
    world.sql.batch_execute(fail).await.unwrap();
    let begin = "select begin_attempt('a bucket', 1, now() + interval '20 seconds')";
    assert_eq!(wait(&late, begin).await, 3600);
}

async fn wait(sql: &Client, count: &str) -> i32 {
    sql.query_one(count, &[]).await.unwrap().get(0)
}
