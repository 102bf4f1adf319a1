//! A new password: what it takes, and whom it leaves logged in.

use serde_json::{Value, json};

use crate::{
    accounts::{assert_dead, assert_unconfirmed, farewell, token_from_before},
    limits::{WRONG, assert_too_many, buckets},
    login, refresh,
    stored_hashes::OUTDATED,
    world::{Answer, PASSWORD, Request, World, connect, pair},
};

const NEW: &str = "amber-kettle-77";

fn change(access_token: &str, old: &str, new: &str) -> Request {
    Request::put("/users/me/password")
        .bearer(access_token)
        .json(&json!({ "old_password": old, "new_password": new }))
}

#[track_caller]
fn assert_changed(answer: &Answer) {
    answer.assert(200, &json!({ "message": "Successfully changed password" }));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

impl World {
    async fn password_hash(&self) -> String {
        self.rows("select password_hash from users", &[]).await[0].get(0)
    }
}

at_both_doors! {
    async fn a_new_password_ends_every_session_but_the_callers(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let (elsewhere, elsewhere_token) = world.log_in_again(&ann).await;
        let (_, spent_elsewhere) = pair(&world.refresh(&elsewhere_token).await);
        assert_changed(&world.send(change(&ann.access_token, PASSWORD, NEW)).await);

        assert!(!world.accepts(&elsewhere).await);
        for token in [&spent_elsewhere, &elsewhere_token] {
            refresh::assert_refused(&world.refresh(token).await);
        }
        assert!(world.accepts(&ann.access_token).await);
        pair(&world.refresh(&ann.refresh_token).await);
        assert!(world.accepts(&bob.access_token).await);
        assert_eq!(world.sessions().await, 2);

        login::assert_refused(&world.log_in(&ann.email, PASSWORD).await);
        pair(&world.log_in(&ann.email, NEW).await);
        pair(&world.log_in(&bob.email, PASSWORD).await);
    }

    async fn a_token_from_before_has_no_session_to_keep(world: World) {
        let ann = world.join("ann").await;
        let from_before = token_from_before(&ann);
        assert_changed(&world.send(change(&from_before, PASSWORD, NEW)).await);
        assert!(!world.accepts(&ann.access_token).await);
        assert_eq!(world.sessions().await, 0);
        pair(&world.log_in(&ann.email, NEW).await);
    }

    async fn the_new_password_is_stored_as_all_are(world: World) {
        let ann = world.join("ann").await;
        let before = world.password_hash().await;
        assert_changed(&world.send(change(&ann.access_token, PASSWORD, NEW)).await);
        let after = world.password_hash().await;
        assert!(after.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{after}");
        assert_ne!(after, before);
        // The same password once more gets another salt.
        assert_changed(&world.send(change(&ann.access_token, NEW, PASSWORD)).await);
        assert_ne!(world.password_hash().await, before);
    }

    async fn a_wrong_old_password_changes_nothing_and_counts(world: World) {
        let ann = world.join("ann").await;
        let (elsewhere, _) = world.log_in_again(&ann).await;
        let before = world.password_hash().await;
        for _ in 0..9 {
            assert_unconfirmed(&world.send(change(&ann.access_token, WRONG, NEW)).await);
        }
        assert_unconfirmed(&world.send(change(&ann.access_token, "velvet-anchor-9", NEW)).await);
        for old in [WRONG, PASSWORD] {
            assert_too_many(&world.send(change(&ann.access_token, old, NEW)).await);
        }
        assert_too_many(&world.send(farewell(&ann.access_token, PASSWORD)).await);
        assert_too_many(&world.log_in(&ann.email, PASSWORD).await);
        let counted_by = buckets(&ann.email, &world.usual_source().to_string());
        assert_eq!(world.attempts(&counted_by.address).await, Some(10));
        assert_eq!(world.password_hash().await, before);
        assert!(world.accepts(&elsewhere).await);
    }

    async fn the_new_password_must_be_one_that_a_sign_up_would_take(world: World) {
        let ann = world.join("ann").await;
        let before = world.password_hash().await;
        for (new, kind, message, context) in [
            (
                "1234567".to_owned(),
                "string_too_short",
                "String should have at least 8 characters",
                json!({ "min_length": 8 }),
            ),
            (
                "p".repeat(129),
                "string_too_long",
                "String should have at most 128 characters",
                json!({ "max_length": 128 }),
            ),
            (
                "Iloveyou".to_owned(),
                "value_error",
                "Value error, This password is among the most common ones",
                json!({ "reason": "This password is among the most common ones" }),
            ),
        ] {
            let problem = json!({
                "type": kind,
                "loc": ["body", "new_password"],
                "msg": message,
                "input": null,
                "ctx": context,
            });
            world
                .send(change(&ann.access_token, PASSWORD, &new))
                .await
                .assert(422, &json!({ "detail": [problem] }));
        }
        assert_eq!(world.password_hash().await, before);
        for new in ["ö".repeat(8), "p".repeat(128)] {
            assert_changed(&world.send(change(&ann.access_token, PASSWORD, &new)).await);
            assert_changed(&world.send(change(&ann.access_token, &new, PASSWORD)).await);
        }
    }

    async fn every_problem_of_a_change_is_told_at_once(world: World) {
        let ann = world.join("ann").await;
        let changed = async |body: Value| {
            let request = Request::put("/users/me/password").bearer(&ann.access_token).json(&body);
            world.send(request).await
        };
        let (old, new) = (json!(["body", "old_password"]), json!(["body", "new_password"]));
        changed(json!({})).await.assert_problems(&[("missing", old.clone()), ("missing", new.clone())]);
        let answer = changed(json!({ "old_password": "p".repeat(129), "new_password": 12_345_678 })).await;
        answer.assert_problems(&[("string_too_long", old.clone()), ("string_type", new.clone())]);
        assert!(!answer.text().contains("ppp") && !answer.text().contains("1234"));
        let spoiled = json!({ "old_password": format!("{PASSWORD}\0"), "new_password": format!("{NEW}\0") });
        changed(spoiled).await.assert_problems(&[("value_error", old), ("value_error", new)]);
        pair(&world.log_in(&ann.email, PASSWORD).await);
    }

    async fn a_login_with_the_old_password_is_ended_by_the_change_that_follows(world: World) {
        let ann = world.join("ann").await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from users for no key update", &[]).await.unwrap();
        let then = async {
            // The old password was found right, and the session is about to be opened.
            world.until_waiting(1).await;
            let release = async {
                world.until_waiting(2).await;
                lock.commit().await.unwrap();
            };
            tokio::join!(world.send(change(&ann.access_token, PASSWORD, NEW)), release).0
        };
        let (login, changed) = tokio::join!(world.log_in(&ann.email, PASSWORD), then);
        assert_changed(&changed);
        let (access_token, refresh_token) = pair(&login);
        assert!(!world.accepts(&access_token).await);
        refresh::assert_refused(&world.refresh(&refresh_token).await);
        assert!(world.accepts(&ann.access_token).await);
        assert_eq!(world.sessions().await, 1);
    }

    async fn a_login_with_the_old_password_opens_nothing_after_the_change(world: World) {
        let ann = world.join("ann").await;
        world.log_in_again(&ann).await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        // The change has the new password in place, and waits to end the other session.
        let hold = "select from sessions where id = (select max(id) from sessions) for update";
        lock.execute(hold, &[]).await.unwrap();
        let then = async {
            world.until_waiting(1).await;
            let release = async {
                world.until_waiting(2).await;
                lock.commit().await.unwrap();
            };
            tokio::join!(world.log_in(&ann.email, PASSWORD), release).0
        };
        let (changed, login) = tokio::join!(world.send(change(&ann.access_token, PASSWORD, NEW)), then);
        assert_changed(&changed);
        login::assert_refused(&login);
        assert_eq!(world.sessions().await, 1);
        pair(&world.log_in(&ann.email, NEW).await);
    }

    async fn of_two_changes_at_once_one_ends_the_session_of_the_other(world: World) {
        let ann = world.join("ann").await;
        let (elsewhere, _) = world.log_in_again(&ann).await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from users for no key update", &[]).await.unwrap();
        let then = async {
            world.until_waiting(1).await;
            let release = async {
                world.until_waiting(2).await;
                lock.commit().await.unwrap();
            };
            tokio::join!(world.send(change(&elsewhere, PASSWORD, "velvet-anchor-9")), release).0
        };
        let (first, second) = tokio::join!(world.send(change(&ann.access_token, PASSWORD, NEW)), then);
        assert_changed(&first);
        assert_dead(&second);
        assert_eq!(world.sessions().await, 1);
        assert!(world.accepts(&ann.access_token).await);
        pair(&world.log_in(&ann.email, NEW).await);
    }

    async fn a_hash_that_is_replaced_meanwhile_is_changed_all_the_same(world: World) {
        let ann = world.join("ann").await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("update users set password_hash = $1", &[&OUTDATED[1]]).await.unwrap();
        let commit = async {
            world.until_waiting(1).await;
            lock.commit().await.unwrap();
        };
        let request = change(&ann.access_token, PASSWORD, NEW);
        let (answer, ()) = tokio::join!(world.send(request), commit);
        assert_changed(&answer);
        pair(&world.log_in(&ann.email, NEW).await);
        login::assert_refused(&world.log_in(&ann.email, PASSWORD).await);
    }

    async fn a_session_that_ends_while_the_password_is_hashed_changes_nothing(world: World) {
        let ann = world.join("ann").await;
        let before = world.password_hash().await;
        for act in [|token: &str| change(token, PASSWORD, NEW), |token: &str| farewell(token, PASSWORD)] {
            let (access_token, _) = world.log_in_again(&ann).await;
            let mut other = connect(world.database()).await;
            let lock = other.transaction().await.unwrap();
            lock.execute("select from users for no key update", &[]).await.unwrap();
            let log_out = async {
                // The password was found right, and what it allows is about to be done.
                world.until_waiting(1).await;
                lock.execute("delete from sessions", &[]).await.unwrap();
                lock.commit().await.unwrap();
            };
            let (answer, ()) = tokio::join!(world.send(act(&access_token)), log_out);
            assert_dead(&answer);
            assert_eq!(world.password_hash().await, before);
            pair(&world.log_in(&ann.email, PASSWORD).await);
        }
    }

    async fn a_token_of_before_needs_no_session_to_change_or_leave(world: World) {
        let ann = world.join("ann").await;
        let from_before = token_from_before(&ann);
        world.log_out(&ann.refresh_token).await;
        assert_changed(&world.send(change(&from_before, PASSWORD, NEW)).await);
        assert_eq!(world.send(farewell(&from_before, NEW)).await.status, 204);
    }
}
