//! The grace period of a spent refresh token: a lost answer costs nobody their session.

use std::time::Duration;

use migrate::{Order, Report};

use crate::{
    refresh::{assert_refused, digest_of, refresh},
    world::{Answer, World, assert_pair, connect, pair},
};

impl World {
    async fn with_grace(self, seconds: u64) -> Self {
        self.configured(|config| config.reuse_grace = Duration::from_secs(seconds))
            .await
    }

    async fn exchanges(&self, refresh_token: &str) -> (String, String) {
        pair(&self.refresh(refresh_token).await)
    }

    /// As if the token had been spent so many seconds earlier.
    async fn spent_earlier(&self, refresh_token: &str, seconds: i32) {
        let update =
            "update refresh_tokens set spent_at = spent_at - make_interval(secs => $2::int4)
                      where digest = $1";
        self.sql
            .execute(update, &[&digest_of(refresh_token), &seconds])
            .await
            .unwrap();
    }

    /// Of the token: what it was exchanged for, sealed.
    async fn sealed_for(&self, refresh_token: &str) -> Option<Vec<u8>> {
        let select = "select successor_sealed from refresh_tokens where digest = $1";
        self.rows(select, &[&digest_of(refresh_token)]).await[0].get(0)
    }

    async fn live_digests(&self) -> Vec<Vec<u8>> {
        let rows = self
            .rows(
                "select digest from refresh_tokens where spent_at is null",
                &[],
            )
            .await;
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Asserts a whole token pair with this refresh token.
#[track_caller]
fn assert_same(answer: &Answer, refresh_token: &str) {
    assert_eq!(assert_pair(answer).1, refresh_token);
}

at_both_doors! {
    async fn a_lost_answer_is_given_again_while_it_was_not_used(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        let (_, second) = world.exchanges(&ann.refresh_token).await;
        for _ in 0..3 {
            let again = world.refresh(&ann.refresh_token).await;
            assert_same(&again, &second);
            assert!(world.accepts(&pair(&again).0).await);
        }
        assert_eq!(world.live_digests().await, [digest_of(&second)]);
        let (access_token, third) = world.exchanges(&second).await;
        assert_ne!(third, second);
        assert!(world.accepts(&access_token).await);
        assert_eq!(world.sessions().await, 1);
    }

    async fn once_the_successor_was_used_its_predecessor_ends_the_session(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        let (elsewhere, _) = world.log_in_again(&ann).await;
        let (_, second) = world.exchanges(&ann.refresh_token).await;
        let (access_token, third) = world.exchanges(&second).await;
        assert_refused(&world.refresh(&ann.refresh_token).await);
        for token in [&second, &third] {
            assert_refused(&world.refresh(token).await);
        }
        assert!(!world.accepts(&access_token).await);
        assert!(world.accepts(&elsewhere).await);
        assert_eq!(world.sessions().await, 1);
    }

    async fn the_immediate_predecessor_has_grace_and_none_before_it(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        let (_, second) = world.exchanges(&ann.refresh_token).await;
        let (_, third) = world.exchanges(&second).await;
        assert_same(&world.refresh(&second).await, &third);
        assert_same(&world.refresh(&second).await, &third);
        assert_refused(&world.refresh(&ann.refresh_token).await);
        assert_eq!(world.sessions().await, 0);
    }

    async fn once_the_window_has_closed_a_spent_token_ends_the_session(world: World) {
        let world = world.with_grace(30).await;
        let ann = world.join("ann").await;
        let (access_token, second) = world.exchanges(&ann.refresh_token).await;
        world.spent_earlier(&ann.refresh_token, 15).await;
        assert_same(&world.refresh(&ann.refresh_token).await, &second);
        world.spent_earlier(&ann.refresh_token, 15).await;
        assert_refused(&world.refresh(&ann.refresh_token).await);
        assert_refused(&world.refresh(&second).await);
        assert!(!world.accepts(&access_token).await);
        assert_eq!(world.sessions().await, 0);
    }

    async fn the_window_never_slides(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        let (_, second) = world.exchanges(&ann.refresh_token).await;
        for _ in 0..3 {
            assert_same(&world.refresh(&ann.refresh_token).await, &second);
            world.spent_earlier(&ann.refresh_token, 20).await;
        }
        assert_refused(&world.refresh(&ann.refresh_token).await);
        assert_eq!(world.sessions().await, 0);
    }

    async fn grace_outlives_no_session(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        let (_, second) = world.exchanges(&ann.refresh_token).await;
        world.sql.batch_execute("update sessions set expires_at = now()").await.unwrap();
        assert_refused(&world.refresh(&ann.refresh_token).await);
        assert_refused(&world.refresh(&second).await);
    }

    async fn a_spent_token_logs_nobody_out_within_its_grace_either(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        let (_, second) = world.exchanges(&ann.refresh_token).await;
        world.log_out(&ann.refresh_token).await.assert_detail(404, "Refresh token not found");
        assert_same(&world.refresh(&ann.refresh_token).await, &second);
        assert_eq!(world.log_out(&second).await.status, 200);
        assert_refused(&world.refresh(&ann.refresh_token).await);
    }

    async fn of_twenty_refreshes_at_once_all_get_the_same_successor(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        let answers = world.send_at_once((0..20).map(|_| refresh(&ann.refresh_token))).await;
        let (_, second) = pair(&answers[0]);
        for answer in &answers {
            assert_same(answer, &second);
            assert!(world.accepts(&pair(answer).0).await);
        }
        assert_eq!(world.live_digests().await, [digest_of(&second)]);
        assert_eq!(world.number("select count(*) from refresh_tokens").await, 2);
        world.exchanges(&second).await;
    }

    async fn refreshes_that_wait_see_whether_the_successor_was_used(world: World) {
        let world = world.with_grace(60).await;
        let mut other = connect(world.database()).await;
        for spent_first in [false, true] {
            let ann = world.join(if spent_first { "ann" } else { "bob" }).await;
            let (_, second) = world.exchanges(&ann.refresh_token).await;
            let lock = other.transaction().await.unwrap();
            lock.execute("select from sessions for update", &[]).await.unwrap();
            let order = if spent_first {
                [&ann.refresh_token, &second]
            } else {
                [&second, &ann.refresh_token]
            };
            let then = async {
                world.until_waiting(1).await;
                let release = async {
                    world.until_waiting(2).await;
                    lock.commit().await.unwrap();
                };
                tokio::join!(world.refresh(order[1]), release).0
            };
            let (before, after) = tokio::join!(world.refresh(order[0]), then);
            if spent_first {
                assert_same(&before, &second);
                assert_ne!(pair(&after).1, second);
                assert_eq!(world.sessions().await, 1);
            } else {
                assert_ne!(pair(&before).1, second);
                assert_refused(&after);
                assert_eq!(world.sessions().await, 0);
            }
        }
    }

    async fn without_grace_nothing_is_sealed(world: World) {
        let ann = world.join("ann").await;
        world.exchanges(&ann.refresh_token).await;
        assert_eq!(world.sealed_for(&ann.refresh_token).await, None);
        assert_refused(&world.refresh(&ann.refresh_token).await);
        assert_eq!(world.sessions().await, 0);
    }

    async fn grace_that_is_taken_back_covers_nothing_that_it_sealed(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        world.exchanges(&ann.refresh_token).await;
        let world = world.with_grace(0).await;
        assert!(world.sealed_for(&ann.refresh_token).await.is_some());
        assert_refused(&world.refresh(&ann.refresh_token).await);
        assert_eq!(world.sessions().await, 0);
    }

    async fn the_successor_is_sealed_until_it_is_used(world: World) {
        let world = world.with_grace(60).await;
        let ann = world.join("ann").await;
        let (elsewhere, other_token) = world.log_in_again(&ann).await;
        world.exchanges(&other_token).await;
        let (_, second) = world.exchanges(&ann.refresh_token).await;
        let sealed = world.sealed_for(&ann.refresh_token).await.unwrap();
        // The token and the tag of AES-GCM.
        assert_eq!(sealed.len(), 43 + 16);
        for known in [raw(&second), second.as_bytes().to_vec(), digest_of(&second), raw(&ann.refresh_token)] {
            assert!(!sealed.windows(known.len()).any(|part| part == known));
        }
        world.exchanges(&second).await;
        assert_eq!(world.sealed_for(&ann.refresh_token).await, None);
        assert!(world.sealed_for(&second).await.is_some());
        // What another session has sealed is its own.
        assert!(world.sealed_for(&other_token).await.is_some());
        assert!(world.accepts(&elsewhere).await);
    }

    async fn what_no_grace_can_cover_any_more_is_cleaned_up(world: World) {
        let world = world.with_grace(60).await;
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        for person in [&ann, &bob] {
            world.exchanges(&person.refresh_token).await;
        }
        world.spent_earlier(&ann.refresh_token, 61).await;
        world.spent_earlier(&bob.refresh_token, 30).await;
        let clean_up = || migrate::carry_out(&Order::CleanUp, world.database());
        let report = Report::CleanedUp { sessions: 0, sessions_left: None };

        // What a request holds right now is left for the next time.
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from refresh_tokens for update", &[]).await.unwrap();
        assert_eq!(clean_up().await.unwrap(), report);
        lock.commit().await.unwrap();
        assert!(world.sealed_for(&ann.refresh_token).await.is_some());

        assert_eq!(clean_up().await.unwrap(), report);
        assert_eq!(world.sealed_for(&ann.refresh_token).await, None);
        assert!(world.sealed_for(&bob.refresh_token).await.is_some());
        assert_eq!(world.sessions().await, 2);
    }
}

/// The random bytes of a refresh token.
fn raw(refresh_token: &str) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(refresh_token).unwrap()
}
