//! Logging out: one session ends or all of them do, and nothing that was ever issued for them lives on.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    refresh::{self, digest_of, refresh},
    tokens::assert_bad_credentials,
    world::{Answer, Person, Request, World, connect, pair, token},
};

fn log_out(refresh_token: &str) -> Request {
    Request::post("/auth/logout").json(&json!({ "refresh_token": refresh_token }))
}

fn log_out_everywhere(access_token: &str) -> Request {
    Request::post("/auth/logout-all").bearer(access_token)
}

#[track_caller]
fn assert_logged_out(answer: &Answer) {
    answer.assert(200, &json!({ "message": "Successfully logged out" }));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[track_caller]
fn assert_logged_out_everywhere(answer: &Answer) {
    let message = "Successfully logged out from all devices";
    answer.assert(200, &json!({ "message": message }));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[track_caller]
fn assert_unknown(answer: &Answer) {
    answer.assert_detail(404, "Refresh token not found");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

impl World {
    /// A session as a login opens it, without the password: its refresh token.
    async fn open_session(&self, person: &Person, number: u32) -> String {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let refresh_token = URL_SAFE_NO_PAD.encode(bytes);
        let open = "with opened as (insert into sessions (user_id, expires_at)
                                    values ($1, now() + interval '1 day') returning id)
                    insert into refresh_tokens (digest, session_id) select $2, id from opened";
        self.rows(open, &[&person.id, &digest_of(&refresh_token)])
            .await;
        refresh_token
    }

    /// Every session and refresh token, as they are stored.
    async fn stored(&self) -> Value {
        let stored = "select json_build_array((select json_agg(sessions order by id) from sessions),
                             (select json_agg(refresh_tokens order by digest) from refresh_tokens))::text";
        serde_json::from_str(self.rows(stored, &[]).await[0].get(0)).unwrap()
    }
}

at_both_doors! {
    async fn a_logout_ends_its_session_and_no_other(world: World) {
        let ann = world.join("ann").await;
        let post_id = ann.publishes(&world, "title").await;
        let other_device = world.log_in_again(&ann).await;
        let bob = world.join("bob").await;
        let (access_token, live) = pair(&world.refresh(&ann.refresh_token).await);
        assert_logged_out(&world.log_out(&live).await);
        assert_eq!(world.number("select count(*) from sessions").await, 2);
        assert_eq!(world.number("select count(*) from refresh_tokens").await, 2);
        for token in [&ann.access_token, &access_token] {
            world.refuses_everywhere(token, ann.id, post_id).await;
        }
        for token in [&live, &ann.refresh_token] {
            refresh::assert_refused(&world.refresh(token).await);
        }
        for (access_token, refresh_token) in [other_device, (bob.access_token, bob.refresh_token)] {
            assert!(world.accepts(&access_token).await);
            pair(&world.refresh(&refresh_token).await);
        }
    }

    async fn a_logout_takes_the_live_token_and_changes_nothing_for_another(world: World) {
        let ann = world.join("ann").await;
        let bob = world.join("bob").await;
        let (access_token, live) = pair(&world.refresh(&ann.refresh_token).await);
        let before = world.stored().await;
        for token in [
            ann.refresh_token.as_str(),
            &"A".repeat(43),
            "garbage",
            "",
            &live[..42],
            &format!("{live}="),
        ] {
            assert_unknown(&world.log_out(token).await);
        }
        assert_eq!(world.stored().await, before);
        assert!(world.accepts(&access_token).await);
        let (_, live) = pair(&world.refresh(&live).await);
        assert_logged_out(&world.log_out(&live).await);
        assert_unknown(&world.log_out(&live).await);
        assert!(world.accepts(&bob.access_token).await);
    }

    async fn logging_out_everywhere_ends_every_session_of_the_caller_alone(world: World) {
        let ann = world.join("ann").await;
        let bob = world.join("bob").await;
        let post_id = ann.publishes(&world, "title").await;
        let other_device = world.log_in_again(&ann).await;
        let (_, live) = pair(&world.refresh(&ann.refresh_token).await);
        assert_logged_out_everywhere(&world.send(log_out_everywhere(&ann.access_token)).await);
        let left = "select count(*) from sessions where user_id = $1";
        assert_eq!(world.rows(left, &[&ann.id]).await[0].get::<_, i64>(0), 0);
        assert_eq!(world.rows(left, &[&bob.id]).await[0].get::<_, i64>(0), 1);
        assert_eq!(world.number("select count(*) from refresh_tokens").await, 1);
        for token in [&ann.access_token, &other_device.0] {
            world.refuses_everywhere(token, ann.id, post_id).await;
        }
        for token in [&live, &other_device.1] {
            refresh::assert_refused(&world.refresh(token).await);
        }
        assert!(world.accepts(&bob.access_token).await);
        pair(&world.refresh(&bob.refresh_token).await);
        // The password still opens a new session.
        assert!(world.accepts(&world.log_in_again(&ann).await.0).await);
    }

    async fn a_token_without_a_session_logs_out_everywhere(world: World) {
        let ann = world.join("ann").await;
        let old = token::sign(token::HEADER, &token::claims(ann.id, &json!({})));
        for _ in 0..2 {
            assert_logged_out_everywhere(&world.send(log_out_everywhere(&old)).await);
            assert_eq!(world.number("select count(*) from sessions").await, 0);
        }
        assert_bad_credentials(&world.send(log_out_everywhere(&ann.access_token)).await);
    }

    async fn an_expired_session_is_logged_out_by_nobody(world: World) {
        let ann = world.join("ann").await;
        world
            .rows("update sessions set expires_at = now()", &[])
            .await;
        let before = world.stored().await;
        assert_unknown(&world.log_out(&ann.refresh_token).await);
        assert_bad_credentials(&world.send(log_out_everywhere(&ann.access_token)).await);
        assert_eq!(world.stored().await, before);
    }

    async fn of_many_logouts_at_once_one_succeeds(world: World) {
        let ann = world.join("ann").await;
        let answers = world
            .send_at_once((0..10).map(|_| log_out(&ann.refresh_token)))
            .await;
        let (good, unknown): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((good.len(), unknown.len()), (1, 9));
        good.into_iter().for_each(assert_logged_out);
        unknown.into_iter().for_each(assert_unknown);
        assert_eq!(world.stored().await, json!([null, null]));
    }

    async fn nothing_survives_a_logout_that_overtakes_or_follows_a_refresh(world: World) {
        let ann = world.join("ann").await;
        for number in 0..200 {
            let token = world.open_session(&ann, number).await;
            let mut requests = [refresh(&token), log_out(&token)];
            if number % 2 == 1 {
                requests.reverse();
            }
            let mut answers = world.send_at_once(requests).await;
            if number % 2 == 1 {
                answers.reverse();
            }
            let [refreshed, logged_out] = &answers[..] else {
                unreachable!()
            };
            let session =
                "select count(*) from refresh_tokens join sessions on sessions.id = session_id
                           where user_id = $1 and digest = $2";
            let left =
                world.rows(session, &[&ann.id, &digest_of(&token)]).await[0].get::<_, i64>(0);
            if logged_out.status == 200 {
                assert_logged_out(logged_out);
                assert_eq!(left, 0);
                if refreshed.status == 200 {
                    let (access_token, next) = pair(refreshed);
                    assert!(!world.accepts(&access_token).await);
                    refresh::assert_refused(&world.refresh(&next).await);
                } else {
                    refresh::assert_refused(refreshed);
                }
            } else {
                // The token was spent before the logout looked at it; its successor logs out.
                assert_unknown(logged_out);
                assert_eq!(left, 1);
                assert_logged_out(&world.log_out(&pair(refreshed).1).await);
            }
        }
        // Ann's own session is all that is left.
        assert_eq!(world.number("select count(*) from sessions").await, 1);
        assert_eq!(world.number("select count(*) from refresh_tokens").await, 1);
    }

    async fn a_logout_that_waits_for_a_refresh_takes_the_new_token_along(world: World) {
        let ann = world.join("ann").await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from sessions for update", &[])
            .await
            .unwrap();
        let refreshing = world.refresh(&ann.refresh_token);
        let logging_out = async {
            world.until_waiting(1).await;
            world.log_out(&ann.refresh_token).await
        };
        let release = async {
            world.until_waiting(2).await;
            lock.commit().await.unwrap();
        };
        let (refreshed, logged_out, ()) = tokio::join!(refreshing, logging_out, release);
        let (access_token, next) = pair(&refreshed);
        assert_logged_out(&logged_out);
        assert_eq!(world.stored().await, json!([null, null]));
        assert!(!world.accepts(&access_token).await);
        refresh::assert_refused(&world.refresh(&next).await);
    }

    async fn a_refresh_that_waits_for_a_logout_finds_nothing(world: World) {
        let ann = world.join("ann").await;
        for is_everywhere in [false, true] {
            // One session, so that one lock puts both in a line.
            world.rows("delete from sessions", &[]).await;
            let (access_token, refresh_token) = world.log_in_again(&ann).await;
            let end = if is_everywhere {
                log_out_everywhere(&access_token)
            } else {
                log_out(&refresh_token)
            };
            let mut other = connect(world.database()).await;
            let lock = other.transaction().await.unwrap();
            lock.execute("select from sessions for update", &[])
                .await
                .unwrap();
            let ending = world.send(end);
            let refreshing = async {
                world.until_waiting(1).await;
                world.refresh(&refresh_token).await
            };
            let release = async {
                world.until_waiting(2).await;
                lock.commit().await.unwrap();
            };
            let (ended, refreshed, ()) = tokio::join!(ending, refreshing, release);
            assert_eq!(ended.status, 200, "{}", ended.text());
            refresh::assert_refused(&refreshed);
            assert!(!world.accepts(&access_token).await);
        }
        assert_eq!(world.stored().await, json!([null, null]));
    }

    async fn logging_out_everywhere_takes_along_what_a_refresh_issued(world: World) {
        let ann = world.join("ann").await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from sessions for update", &[])
            .await
            .unwrap();
        let refreshing = world.refresh(&ann.refresh_token);
        let ending = async {
            world.until_waiting(1).await;
            world.send(log_out_everywhere(&ann.access_token)).await
        };
        let release = async {
            world.until_waiting(2).await;
            lock.commit().await.unwrap();
        };
        let (refreshed, ended, ()) = tokio::join!(refreshing, ending, release);
        let (access_token, next) = pair(&refreshed);
        assert_logged_out_everywhere(&ended);
        assert_eq!(world.stored().await, json!([null, null]));
        assert!(!world.accepts(&access_token).await);
        refresh::assert_refused(&world.refresh(&next).await);
    }
}
