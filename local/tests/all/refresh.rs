//! Refresh tokens: each buys one pair, and one that comes back ends its session.

use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde_json::{Value, json};

use crate::world::{
    Answer, Door, Person, Request, World, assert_pair, connect, pair, token::contents,
};

/// What is stored of a refresh token.
pub(crate) fn digest_of(refresh_token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, refresh_token.as_bytes())
        .as_ref()
        .to_vec()
}

pub(crate) fn refresh(refresh_token: &str) -> Request {
    Request::post("/auth/refresh").json(&json!({ "refresh_token": refresh_token }))
}

#[track_caller]
pub(crate) fn assert_refused(answer: &Answer) {
    answer.assert_detail(401, "Invalid or expired refresh token");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

impl World {
    /// Asserts that nothing is left of the only session there was.
    async fn assert_nothing_survives(&self, access_tokens: &[&str], refresh_tokens: &[&str]) {
        for table in ["sessions", "refresh_tokens"] {
            let count = self.number(&format!("select count(*) from {table}")).await;
            assert_eq!(count, 0, "{table}");
        }
        for access_token in access_tokens {
            assert!(!self.accepts(access_token).await);
        }
        for refresh_token in refresh_tokens {
            assert_refused(&self.refresh(refresh_token).await);
        }
    }

    /// The sessions and tokens of somebody, as they are stored.
    async fn stored_for(&self, person: &Person) -> Vec<String> {
        let rows = "select sessions::text || refresh_tokens::text
                    from sessions join refresh_tokens on refresh_tokens.session_id = sessions.id
                    where sessions.user_id = $1 order by 1";
        let rows = self.rows(rows, &[&person.id]).await;
        rows.iter().map(|row| row.get(0)).collect()
    }
}

at_both_doors! {
    async fn a_refresh_token_buys_the_next_pair_of_the_same_session(world: World) {
        let ann = world.join("ann").await;
        let session = "select id, user_id, created_at::text, expires_at::text from sessions";
        let before = format!("{:?}", world.rows(session, &[]).await);
        let answer = world.refresh(&ann.refresh_token).await;
        let (access_token, refresh_token) = assert_pair(&answer);
        assert_ne!(refresh_token, ann.refresh_token);
        let [_, first] = contents(&ann.access_token);
        let [_, second] = contents(&access_token);
        assert_eq!(
            (&first["sid"], &first["user_id"]),
            (&second["sid"], &second["user_id"])
        );
        for token in [&ann.access_token, &access_token] {
            assert!(world.accepts(token).await);
        }
        assert_eq!(format!("{:?}", world.rows(session, &[]).await), before);
    }

    async fn of_a_refresh_token_its_sha_256_is_stored_and_nothing_else(world: World) {
        let ann = world.join("ann").await;
        let (_, next) = pair(&world.refresh(&ann.refresh_token).await);
        for token in [&ann.refresh_token, &next] {
            assert_eq!(token.len(), 43);
            assert!(
                token
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)),
                "{token}"
            );
        }
        let select =
            "select digest, spent_at is null, successor_sealed from refresh_tokens order by 2";
        let rows = world.rows(select, &[]).await;
        let stored: Vec<(Vec<u8>, bool)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(
            stored,
            [
                (digest_of(&ann.refresh_token), false),
                (digest_of(&next), true)
            ]
        );
        assert!(
            rows.iter()
                .all(|row| row.get::<_, Option<Vec<u8>>>(2).is_none())
        );
        let everything = "select (select json_agg(sessions)::text from sessions)
                              || (select json_agg(refresh_tokens)::text from refresh_tokens)";
        let everything: String = world.rows(everything, &[]).await[0].get(0);
        for token in [&ann.refresh_token, &next] {
            let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
            let hex: String = world.rows("select encode($1, 'hex')", &[&bytes]).await[0].get(0);
            assert!(!everything.contains(token.as_str()) && !everything.contains(&hex));
        }
    }

    async fn spent_tokens_stay_and_the_end_of_the_session_does_not_move(world: World) {
        let ann = world.join("ann").await;
        let end = "select expires_at::text from sessions";
        let ends_at: String = world.rows(end, &[]).await[0].get(0);
        let mut tokens = vec![ann.refresh_token];
        for spent in 1..=5 {
            let (_, next) = pair(&world.refresh(tokens.last().unwrap()).await);
            tokens.push(next);
            assert_eq!(world.rows(end, &[]).await[0].get::<_, String>(0), ends_at);
            let count = "select count(*) from refresh_tokens where spent_at is not null";
            assert_eq!(world.number(count).await, spent);
        }
        for token in &tokens {
            let known = "select count(*) from refresh_tokens where digest = $1";
            assert_eq!(
                world.rows(known, &[&digest_of(token)]).await[0].get::<_, i64>(0),
                1
            );
        }
    }

    async fn a_session_ends_when_the_clock_of_the_database_says_so(world: World) {
        let ann = world.join("ann").await;
        let (_, live) = pair(&world.refresh(&ann.refresh_token).await);
        world
            .rows(
                "update sessions set expires_at = now() + interval '1 minute'",
                &[],
            )
            .await;
        let (access_token, live) = pair(&world.refresh(&live).await);
        assert!(world.accepts(&access_token).await);
        world
            .rows("update sessions set expires_at = now()", &[])
            .await;
        assert!(!world.accepts(&access_token).await);
        for token in [&live, &ann.refresh_token] {
            assert_refused(&world.refresh(token).await);
        }
        world
            .log_out(&live)
            .await
            .assert_detail(404, "Refresh token not found");
        assert_eq!(
            world
                .number("select count(*) from refresh_tokens where spent_at is null")
                .await,
            1
        );
    }

    async fn a_spent_token_that_comes_back_ends_its_session_and_no_other(world: World) {
        let ann = world.join("ann").await;
        let bob = world.join("bob").await;
        let other_device = world.log_in_again(&ann).await;
        let (access_token, live) = pair(&world.refresh(&ann.refresh_token).await);
        let before = world.stored_for(&bob).await;
        assert_refused(&world.refresh(&ann.refresh_token).await);

        assert!(!world.accepts(&ann.access_token).await);
        assert!(!world.accepts(&access_token).await);
        assert_refused(&world.refresh(&live).await);
        let left = "select digest from refresh_tokens join sessions on sessions.id = session_id where user_id = $1";
        let rows = world.rows(left, &[&ann.id]).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].get::<_, Vec<u8>>(0), digest_of(&other_device.1));
        assert_eq!(world.number("select count(*) from sessions").await, 2);
        assert_eq!(world.stored_for(&bob).await, before);
        assert!(world.accepts(&other_device.0).await);
        assert!(world.accepts(&bob.access_token).await);
        pair(&world.refresh(&other_device.1).await);
        pair(&world.refresh(&bob.refresh_token).await);
    }

    async fn a_token_that_was_spent_long_ago_still_ends_its_session(world: World) {
        let ann = world.join("ann").await;
        let (_, second) = pair(&world.refresh(&ann.refresh_token).await);
        let (_, third) = pair(&world.refresh(&second).await);
        let (access_token, live) = pair(&world.refresh(&third).await);
        let aged = "update refresh_tokens set issued_at = issued_at - interval '25 days',
                           spent_at = spent_at - interval '20 days'";
        world.rows(aged, &[]).await;
        assert_refused(&world.refresh(&ann.refresh_token).await);
        world
            .assert_nothing_survives(
                &[&access_token],
                &[&live, &third, &second, &ann.refresh_token],
            )
            .await;
    }

    async fn a_token_that_nobody_has_ends_nobodys_session(world: World) {
        let ann = world.join("ann").await;
        let (access_token, live) = pair(&world.refresh(&ann.refresh_token).await);
        let before = world.stored_for(&ann).await;
        for token in [
            "A".repeat(43).as_str(),
            &"_".repeat(42),
            "garbage",
            "",
            &live.to_lowercase(),
            &live[..42],
        ] {
            assert_refused(&world.refresh(token).await);
        }
        assert_eq!(world.stored_for(&ann).await, before);
        assert!(world.accepts(&access_token).await);
        pair(&world.refresh(&live).await);
    }

    async fn a_deleted_user_refreshes_nothing(world: World) {
        let ann = world.join("ann").await;
        world.rows("delete from users", &[]).await;
        assert_refused(&world.refresh(&ann.refresh_token).await);
        world
            .assert_nothing_survives(&[&ann.access_token], &[&ann.refresh_token])
            .await;
    }

    async fn of_many_refreshes_at_once_one_succeeds(world: World) {
        let ann = world.join("ann").await;
        let (mut token, mut access_token) = (ann.refresh_token.clone(), ann.access_token.clone());
        for _ in 0..3 {
            let answers = world.send_at_once((0..20).map(|_| refresh(&token))).await;
            let (good, refused): (Vec<_>, Vec<_>) = answers
                .iter()
                .partition(|answer| answer.status == StatusCode::OK);
            assert_eq!((good.len(), refused.len()), (1, 19));
            refused.into_iter().for_each(assert_refused);
            // The second of them brought a spent token, and that ended the session, the winner's too.
            let (next_access_token, next) = pair(good[0]);
            world
                .assert_nothing_survives(&[&access_token, &next_access_token], &[&token, &next])
                .await;
            (access_token, token) = world.log_in_again(&ann).await;
        }
    }

    async fn refreshes_that_wait_for_each_other_see_what_the_first_one_did(world: World) {
        let ann = world.join("ann").await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from sessions for update", &[])
            .await
            .unwrap();
        let release = async {
            world.until_waiting(2).await;
            lock.commit().await.unwrap();
        };
        let (mut answers, ()) = tokio::join!(
            world.send_at_once([refresh(&ann.refresh_token), refresh(&ann.refresh_token)]),
            release
        );
        answers.sort_by_key(|answer| answer.status);
        let (access_token, next) = pair(&answers[0]);
        assert_refused(&answers[1]);
        world
            .assert_nothing_survives(&[&access_token], &[&next])
            .await;
    }

    async fn a_refresh_token_is_a_text_and_must_be_there(world: World) {
        let ann = world.join("ann").await;
        let field = json!(["body", "refresh_token"]);
        for target in ["/auth/refresh", "/auth/logout"] {
            for (body, kind, message) in [
                (json!({}), "missing", "Field required"),
                (
                    json!({ "token": ann.refresh_token }),
                    "missing",
                    "Field required",
                ),
                (
                    json!({ "refresh_token": null }),
                    "string_type",
                    "Input should be a valid string",
                ),
                (
                    json!({ "refresh_token": 1 }),
                    "string_type",
                    "Input should be a valid string",
                ),
                (
                    json!({ "refresh_token": [ann.refresh_token] }),
                    "string_type",
                    "Input should be a valid string",
                ),
                (
                    json!({ "refresh_token": { "is": ann.refresh_token } }),
                    "string_type",
                    "Input should be a valid string",
                ),
            ] {
                let problem = json!({ "type": kind, "loc": field, "msg": message, "input": null });
                world
                    .post(target, body)
                    .await
                    .assert(422, &json!({ "detail": [problem] }));
            }
            let with_nul = format!("{}\0", ann.refresh_token);
            let answer = world
                .post(target, json!({ "refresh_token": with_nul }))
                .await;
            answer.assert_problems(&[("value_error", field.clone())]);
            assert_eq!(answer.json()["detail"][0]["input"], Value::Null);
            let broken = format!(r#"{{"refresh_token":"{}""#, ann.refresh_token);
            let answer = world.send(Request::post(target).json_text(&broken)).await;
            assert_eq!(answer.status, 422);
            assert!(!answer.text().contains(&ann.refresh_token));
            let form = Request::post(target).form(&format!("refresh_token={}", ann.refresh_token));
            world
                .send(form)
                .await
                .assert_detail(415, "Unsupported Media Type: send application/json");
        }
        pair(&world.refresh(&ann.refresh_token).await);
    }
}

#[tokio::test]
async fn any_text_may_be_a_token_of_the_old_service_save_an_empty_one() {
    for door in [Door::Http, Door::Event] {
        // Whatever needs a database is a 503 here.
        let world = World::with(door, |config| config.database = None).await;
        assert_refused(&world.refresh("").await);
        world
            .log_out("")
            .await
            .assert_detail(404, "Refresh token not found");
        for token in ["A", &"A".repeat(43), &"A".repeat(7 * 1024), " ", "Ä"] {
            for answer in [world.refresh(token).await, world.log_out(token).await] {
                answer.assert_detail(503, "Service Unavailable");
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
        }
    }
}

at_both_doors! {
    async fn a_session_ends_with_its_ten_thousandth_refresh(world: World) {
        let ann = world.join("ann").await;
        let (other_access, other_refresh) = world.log_in_again(&ann).await;
        let refreshes = "select refreshes::bigint from refresh_tokens
                         where session_id = (select min(id) from sessions) and spent_at is null";
        assert_eq!(world.number(refreshes).await, 0);
        let (_, first) = pair(&world.refresh(&ann.refresh_token).await);
        assert_eq!(world.number(refreshes).await, 1);
        // As if it had gone on like this.
        let go_on = "update refresh_tokens set refreshes = 9998 where digest = $1";
        world.rows(go_on, &[&digest_of(&first)]).await;
        let (access_token, last) = pair(&world.refresh(&first).await);
        assert!(world.accepts(&access_token).await);
        assert_eq!(world.number(refreshes).await, 9999);

        let answers = world.send_at_once([refresh(&last), refresh(&last)]).await;
        for answer in &answers {
            assert_refused(answer);
        }
        assert!(!world.accepts(&access_token).await);
        assert_refused(&world.refresh(&last).await);
        // The other session goes on.
        assert!(world.accepts(&other_access).await);
        pair(&world.refresh(&other_refresh).await);
        assert_eq!(world.number("select count(*) from sessions").await, 1);
        assert_eq!(world.number("select count(*) from refresh_tokens").await, 2);
    }
}
