//! How often somebody may try to log in: by address and source, by source, by address.

use std::{net::IpAddr, sync::Arc};

use futures_util::FutureExt;
use shared::{
    config::{Secret, Signing},
    limits::LoginBuckets,
    tokens::{KeySet, Keys},
};

use crate::{
    login::assert_refused,
    world::{Answer, Door, PASSWORD, SECRET_KEY, World, connect, credentials, pair},
};

pub(crate) const WRONG: &str = "opal-lantern-43";

/// The answer to whoever tried too often within 15 minutes.
#[track_caller]
pub(crate) fn assert_too_many(answer: &Answer) {
    answer.assert_detail(429, "Too many failed logins");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!((1..=900).contains(&retry_after(answer)), "{answer:?}");
}

#[track_caller]
pub(crate) fn retry_after(answer: &Answer) -> i64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

/// The keys of every world.
pub(crate) fn keys() -> Arc<KeySet> {
    let keys = Keys::new(&Signing {
        algorithm: jsonwebtoken::Algorithm::HS256,
        key: Secret::new(SECRET_KEY),
        previous_key: None,
        secret: None,
    });
    keys.set().now_or_never().unwrap().unwrap()
}

/// What a login is counted by.
pub(crate) fn buckets(address: &str, source: &str) -> LoginBuckets {
    LoginBuckets::new(&keys(), address, Some(source.parse().unwrap()))
}

impl World {
    /// The source of this world's requests, where they name no other.
    pub(crate) fn usual_source(&self) -> IpAddr {
        match self.way {
            Door::Http => [127, 0, 0, 1].into(),
            _ => [192, 0, 2, 1].into(),
        }
    }

    /// As if so many attempts had just been made.
    pub(crate) async fn suppose_attempts(&self, bucket: &[u8], attempts: i32) {
        let insert = "
            insert into attempts (bucket, attempts, window_ends_at)
            values ($1, $2, now() + interval '15 minutes')
            on conflict (bucket) do update set attempts = excluded.attempts";
        self.rows(insert, &[&bucket, &attempts]).await;
    }

    /// How many attempts are counted.
    pub(crate) async fn attempts(&self, bucket: &[u8]) -> Option<i32> {
        let select = "select attempts from attempts where bucket = $1";
        self.rows(select, &[&bucket])
            .await
            .first()
            .map(|row| row.get(0))
    }
}

at_both_doors! {
    async fn ten_failed_logins_are_answered_and_the_eleventh_is_refused(world: World) {
        world.sign_up("ann@example.com", PASSWORD).await;
        let mut refused = Vec::new();
        for address in ["ann@example.com", "nobody@example.com"] {
            for _ in 0..10 {
                assert_refused(&world.log_in(address, WRONG).await);
            }
            refused.push(world.log_in(address, WRONG).await);
            for typed in [address, "ANN@Example.COM", " nobody@EXAMPLE.com\t"] {
                if typed.trim().eq_ignore_ascii_case(address) {
                    refused.push(world.log_in(typed, PASSWORD).await);
                }
            }
        }
        for answer in &refused {
            assert_too_many(answer);
        }
        // Nothing tells an address that has an account from one that has none.
        let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
        assert!(refused.iter().all(|answer| names(answer) == names(&refused[0])));
        assert_eq!(world.number("select count(*) from sessions").await, 0);
    }

    async fn another_address_has_ten_of_its_own(world: World) {
        for address in ["ann@example.com", "bob@example.com"] {
            for _ in 0..10 {
                assert_refused(&world.log_in(address, WRONG).await);
            }
        }
        assert_too_many(&world.log_in("ann@example.com", WRONG).await);
        assert_refused(&world.log_in("carla@example.com", WRONG).await);
    }

    async fn a_source_has_a_hundred_over_all_addresses(world: World) {
        world.sign_up("ann@example.com", PASSWORD).await;
        let source = world.usual_source().to_string();
        let by_source = buckets("", &source).source.unwrap();
        world.suppose_attempts(&by_source, 99).await;
        assert_refused(&world.log_in("bob@example.com", WRONG).await);
        assert_too_many(&world.log_in("carla@example.com", WRONG).await);
        assert_too_many(&world.log_in("ann@example.com", PASSWORD).await);
        // What the source is refused is not held against the addresses.
        let by_address = |address| buckets(address, &source).address;
        assert_eq!(world.attempts(&by_address("bob@example.com")).await, Some(1));
        assert_eq!(world.attempts(&by_address("carla@example.com")).await, None);
        assert_eq!(world.attempts(&by_source).await, Some(100));
    }

    async fn a_good_login_takes_itself_out_of_the_counts(world: World) {
        world.sign_up("ann@example.com", PASSWORD).await;
        let counted_by = buckets("ann@example.com", &world.usual_source().to_string());
        for round in 1..=3 {
            for _ in 0..9 {
                assert_refused(&world.log_in("ann@example.com", WRONG).await);
            }
            pair(&world.log_in("Ann@Example.com", PASSWORD).await);
            assert_eq!(world.attempts(&counted_by.address_and_source).await, None);
            assert_eq!(world.attempts(&counted_by.address).await, Some(9 * round));
            assert_eq!(world.attempts(counted_by.source.as_ref().unwrap()).await, Some(9 * round));
        }
        let known = world.rows("select bucket from known_sources", &[]).await;
        let known: Vec<Vec<u8>> = known.iter().map(|row| row.get(0)).collect();
        assert_eq!(known, [counted_by.known_as[0].clone()]);
    }

    async fn a_window_ends_whatever_else_is_tried(world: World) {
        let counted_by = buckets("ann@example.com", &world.usual_source().to_string());
        for _ in 0..11 {
            world.log_in("ann@example.com", WRONG).await;
        }
        let ends = "update attempts set window_ends_at = now() + interval '50 minutes'";
        world.sql.batch_execute(ends).await.unwrap();
        let refused = world.log_in("ann@example.com", WRONG).await;
        refused.assert_detail(429, "Too many failed logins");
        assert!((2_900..=3_000).contains(&retry_after(&refused)));
        let stays = "select count(*) from attempts
                     where window_ends_at > now() + interval '49 minutes'";
        assert_eq!(world.number(stays).await, 3);
        world.sql.batch_execute("update attempts set window_ends_at = now()").await.unwrap();
        assert_refused(&world.log_in("ann@example.com", WRONG).await);
        for bucket in [
            &counted_by.address_and_source,
            counted_by.source.as_ref().unwrap(),
            &counted_by.address,
        ] {
            assert_eq!(world.attempts(bucket).await, Some(1));
        }
        let anew = "select count(*) from attempts
                    where window_ends_at between now() + interval '14 minutes'
                                             and now() + interval '15 minutes'";
        assert_eq!(world.number(anew).await, 3);
    }

    async fn of_thirty_wrong_logins_at_once_ten_are_verified(world: World) {
        world.sign_up("ann@example.com", PASSWORD).await;
        for address in ["ann@example.com", "nobody@example.com"] {
            world.sql.batch_execute("truncate attempts").await.unwrap();
            let answers = world.send_at_once((0..30).map(|_| credentials(address, WRONG))).await;
            let (verified, refused): (Vec<_>, Vec<_>) =
                answers.iter().partition(|answer| answer.status == 401);
            for answer in &verified {
                assert_refused(answer);
            }
            for answer in &refused {
                assert_too_many(answer);
            }
            assert_eq!((verified.len(), refused.len()), (10, 20));
            let counted_by = buckets(address, &world.usual_source().to_string());
            assert_eq!(world.attempts(&counted_by.address_and_source).await, Some(10));
            assert_eq!(world.attempts(&counted_by.address).await, Some(10));
        }
    }

    async fn what_a_client_claims_of_its_source_changes_nothing(world: World) {
        let claimed = |number: usize| {
            let source = format!("203.0.113.{number}");
            ["x-forwarded-for", "x-real-ip", "true-client-ip", "cf-connecting-ip", "client-ip"]
                .iter()
                .fold(credentials("ann@example.com", WRONG), |request, name| {
                    request.header(name, &source)
                })
                .header("forwarded", &format!("for={source}"))
        };
        for number in 0..10 {
            assert_refused(&world.send(claimed(number)).await);
        }
        assert_too_many(&world.send(claimed(10)).await);
    }

    async fn counts_that_vanish_under_a_login_do_not_go_below_nothing(world: World) {
        world.sign_up("ann@example.com", PASSWORD).await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from users for update", &[]).await.unwrap();
        let forget = async {
            world.until_waiting(1).await;
            world.sql.batch_execute("update attempts set attempts = 0").await.unwrap();
            lock.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(world.log_in("ann@example.com", PASSWORD), forget);
        pair(&answer);
        let counted_by = buckets("ann@example.com", &world.usual_source().to_string());
        assert_eq!(world.attempts(&counted_by.address).await, Some(0));
        assert_eq!(world.attempts(counted_by.source.as_ref().unwrap()).await, Some(0));
    }
}
