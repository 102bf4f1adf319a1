//! What people do with their own account: look at it, and leave.

use serde_json::{Value, json};

use crate::{
    limits::{WRONG, assert_too_many, buckets},
    refresh,
    stored_hashes::OUTDATED,
    world::{Answer, PASSWORD, Person, Request, World, connect, pair, token},
};

fn me(access_token: &str) -> Request {
    Request::get("/users/me").bearer(access_token)
}

pub(crate) fn farewell(access_token: &str, password: &str) -> Request {
    Request::delete("/users/me")
        .bearer(access_token)
        .json(&json!({ "password": password }))
}

/// A token as the service before this one issued it: it names no session.
pub(crate) fn token_from_before(person: &Person) -> String {
    token::sign(token::HEADER, &token::claims(person.id, &json!({})))
}

#[track_caller]
pub(crate) fn assert_dead(answer: &Answer) {
    answer.assert_detail(401, "Could not validate credentials");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// The answer to whoever confirms by a wrong password.
#[track_caller]
pub(crate) fn assert_unconfirmed(answer: &Answer) {
    answer.assert_detail(403, "Invalid password");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// The answer to what was done and has nothing to show for it.
#[track_caller]
pub(crate) fn assert_gone(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (204, ""));
    assert_eq!(answer.header("content-type"), None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.assert_common();
}

impl World {
    async fn stored_of(&self, person: &Person) -> Value {
        let counts = "
            select jsonb_build_object(
                'users', (select count(*) from users where id = $1),
                'posts', (select count(*) from posts where owner_id = $1),
                'votes', (select count(*) from votes where user_id = $1),
                'sessions', (select count(*) from sessions where user_id = $1),
                'tokens', (select count(*) from refresh_tokens join sessions on sessions.id = session_id
                           where user_id = $1))::text";
        let row = self.sql.query_one(counts, &[&person.id]).await.unwrap();
        serde_json::from_str(row.get(0)).unwrap()
    }
}

at_both_doors! {
    async fn callers_see_their_own_account_whole(world: World) {
        let ann = world.join("ann").await;
        world.join("bob").await;
        for access_token in [&ann.access_token, &token_from_before(&ann)] {
            let answer = world.send(me(access_token)).await;
            answer.assert(200, &ann.whole());
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        let slashed = Request::get("/users/me/").bearer(&ann.access_token);
        world.send(slashed).await.assert(200, &ann.whole());
    }

    async fn nobody_in_particular_has_no_account(world: World) {
        let ann = world.join("ann").await;
        for request in [
            Request::get("/users/me"),
            Request::delete("/users/me").json(&json!({ "password": PASSWORD })),
            Request::put("/users/me/password").json(&json!({})),
        ] {
            world.send(request).await.assert_detail(401, "Not authenticated");
        }
        world.log_out(&ann.refresh_token).await;
        for request in [
            me(&ann.access_token),
            farewell(&ann.access_token, PASSWORD),
            farewell(&ann.access_token, WRONG),
            Request::delete("/users/me").bearer(&ann.access_token).json(&json!({})),
            Request::put("/users/me/password").bearer(&ann.access_token).json(&json!({})),
        ] {
            assert_dead(&world.send(request).await);
        }
        assert_eq!(world.number("select count(*) from users").await, 1);
    }

    async fn whoever_leaves_takes_along_all_that_is_theirs(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let (elsewhere, elsewhere_token) = world.log_in_again(&ann).await;
        let (hers, draft) = (ann.publishes(&world, "hers").await, ann.drafts(&world, "draft").await);
        let his = bob.publishes(&world, "his").await;
        for (person, post) in [(&ann, his), (&bob, his), (&ann, hers), (&bob, hers), (&ann, draft)] {
            assert_eq!(world.send(person.ballot(post, 1)).await.status, 201);
        }
        assert_gone(&world.send(farewell(&ann.access_token, PASSWORD)).await);

        let nothing = json!({ "users": 0, "posts": 0, "votes": 0, "sessions": 0, "tokens": 0 });
        assert_eq!(world.stored_of(&ann).await, nothing);
        let his_all = json!({ "users": 1, "posts": 1, "votes": 1, "sessions": 1, "tokens": 1 });
        assert_eq!(world.stored_of(&bob).await, his_all);
        assert_eq!(world.number("select count(*) from votes").await, 1);
        assert_eq!(world.votes(his).await, 1);
        world.assert_counts_are_exact().await;

        for token in [&ann.access_token, &elsewhere, &token_from_before(&ann)] {
            assert_dead(&world.send(me(token)).await);
            assert_dead(&world.send(farewell(token, PASSWORD)).await);
        }
        for token in [&ann.refresh_token, &elsewhere_token] {
            refresh::assert_refused(&world.refresh(token).await);
        }
        let id = ann.id;
        world.get(&format!("/users/{id}")).await.assert_detail(404, &format!("User with id: {id} not found"));
        world.log_in(&ann.email, PASSWORD).await.assert_detail(401, "Invalid credentials");
    }

    async fn an_address_that_was_left_is_free_again(world: World) {
        let ann = world.join("ann").await;
        assert_gone(&world.send(farewell(&ann.access_token, PASSWORD)).await);
        let anew = world.join("ann").await;
        assert_ne!(anew.id, ann.id);
        world.send(me(&anew.access_token)).await.assert(200, &anew.whole());
        assert_dead(&world.send(me(&ann.access_token)).await);
    }

    async fn a_token_from_before_leaves_too(world: World) {
        let ann = world.join("ann").await;
        assert_gone(&world.send(farewell(&token_from_before(&ann), PASSWORD)).await);
        assert_eq!(world.number("select count(*) from users").await, 0);
    }

    async fn nobody_leaves_by_a_wrong_password_and_ten_of_them_are_enough(world: World) {
        let ann = world.join("ann").await;
        let wrong = ["", WRONG, " opal-lantern-42", "OPAL-LANTERN-42", &"p".repeat(128)];
        for password in wrong.iter().cycle().take(10) {
            assert_unconfirmed(&world.send(farewell(&ann.access_token, password)).await);
        }
        for password in [WRONG, PASSWORD] {
            assert_too_many(&world.send(farewell(&ann.access_token, password)).await);
        }
        // They count as failed logins, and failed logins count here.
        assert_too_many(&world.log_in(&ann.email, PASSWORD).await);
        world.send(me(&ann.access_token)).await.assert(200, &ann.whole());

        world.sql.batch_execute("truncate attempts").await.unwrap();
        for _ in 0..10 {
            world.log_in("ANN@example.com", WRONG).await;
        }
        assert_too_many(&world.send(farewell(&ann.access_token, PASSWORD)).await);
        assert_eq!(world.stored_of(&ann).await["users"], 1);
    }

    async fn the_right_password_clears_the_count(world: World) {
        let ann = world.join("ann").await;
        let counted_by = buckets(&ann.email, &world.usual_source().to_string());
        for _ in 0..9 {
            assert_unconfirmed(&world.send(farewell(&ann.access_token, WRONG)).await);
        }
        assert_eq!(world.attempts(&counted_by.address_and_source).await, Some(9));
        assert_eq!(world.attempts(&counted_by.address).await, Some(9));
        assert_gone(&world.send(farewell(&ann.access_token, PASSWORD)).await);
        assert_eq!(world.attempts(&counted_by.address_and_source).await, None);
        assert_eq!(world.attempts(&counted_by.address).await, Some(9));
    }

    async fn a_farewell_says_the_password_and_nothing_in_vain(world: World) {
        let ann = world.join("ann").await;
        let said = async |body: Value| {
            let request = Request::delete("/users/me").bearer(&ann.access_token).json(&body);
            world.send(request).await
        };
        let at_password = json!(["body", "password"]);
        for (body, kind) in [
            (json!({}), "missing"),
            (json!({ "password": 12_345_678 }), "string_type"),
            (json!({ "password": "p".repeat(129) }), "string_too_long"),
        ] {
            let answer = said(body).await;
            answer.assert_problems(&[(kind, at_password.clone())]);
            assert_eq!(answer.json()["detail"][0]["input"], Value::Null);
        }
        assert_eq!(world.number("select count(*) from attempts where attempts > 1").await, 0);
        assert_eq!(world.stored_of(&ann).await["users"], 1);
    }

    async fn a_password_that_is_changed_meanwhile_confirms_nothing(world: World) {
        let ann = world.join("ann").await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("update users set password_hash = 'another'", &[]).await.unwrap();
        let commit = async {
            world.until_waiting(1).await;
            lock.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(world.send(farewell(&ann.access_token, PASSWORD)), commit);
        assert_unconfirmed(&answer);
        assert_eq!(world.stored_of(&ann).await["users"], 1);
    }

    async fn a_hash_that_is_replaced_meanwhile_confirms_all_the_same(world: World) {
        let ann = world.join("ann").await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        // As a login does that finds the hash outdated: the password is the same.
        lock.execute("update users set password_hash = $1", &[&OUTDATED[1]]).await.unwrap();
        let commit = async {
            world.until_waiting(1).await;
            lock.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(world.send(farewell(&ann.access_token, PASSWORD)), commit);
        assert_gone(&answer);
        assert_eq!(world.stored_of(&ann).await["users"], 0);
    }

    async fn a_login_that_is_being_answered_does_not_outlive_its_user(world: World) {
        let ann = world.join("ann").await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from users for no key update", &[]).await.unwrap();
        let leave = async {
            world.until_waiting(1).await;
            let release = async {
                world.until_waiting(2).await;
                lock.commit().await.unwrap();
            };
            tokio::join!(world.send(farewell(&ann.access_token, PASSWORD)), release).0
        };
        let (login, left) = tokio::join!(world.log_in(&ann.email, PASSWORD), leave);
        assert_gone(&left);
        assert_dead(&world.send(me(&pair(&login).0)).await);
        assert_eq!(world.number("select count(*) from sessions").await, 0);
    }
}
