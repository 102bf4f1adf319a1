//! Passwords that everybody tries first: not for new accounts, but no lock on old ones.

use serde_json::{Value, json};
use shared::password::{Password, Passwords};

use crate::{
    login::assert_refused,
    world::{Answer, PASSWORD, Request, pair},
};

/// The list has the first three in lower case, and the others as they stand here.
const COMMON: [&str; 6] = [
    "password1",
    "PASSWORD1",
    "iLoveYou",
    "11111111",
    "zaq1@WSX",
    "Abenteuer",
];

const ADDRESS: &str = "This password is the email address of the account";
const LOCAL_PART: &str = "This password is the local part of the email address of the account";
const SERVICE: &str = "This password is the name of this service";
const OLD: &str = "This password is the old one";

#[track_caller]
fn assert_too_common(answer: &Answer, field: &str) {
    assert_guessed(answer, field, "This password is among the most common ones");
}

#[track_caller]
fn assert_guessed(answer: &Answer, field: &str, reason: &str) {
    let problem = json!({
        "type": "value_error",
        "loc": ["body", field],
        "msg": format!("Value error, {reason}"),
        "input": null,
        "ctx": { "reason": reason },
    });
    answer.assert(422, &json!({ "detail": [problem] }));
}

/// What somebody with this address would have tried first, and why.
const GUESSED: [(&str, &str, &str); 15] = [
    ("ann.lee-77@example.com", "ann.lee-77@example.com", ADDRESS),
    ("ann.lee-77@example.com", "Ann.Lee-77@EXAMPLE.com", ADDRESS),
    (
        "ann.lee-77@example.com",
        " ann.lee-77@example.com ",
        ADDRESS,
    ),
    ("ann.lee-77@example.com", "ann.lee-77", LOCAL_PART),
    ("ann.lee-77@example.com", "ANN.LEE-77", LOCAL_PART),
    ("Ann.Lee-77+news@example.com", "ann.lee-77+news", LOCAL_PART),
    ("Ann.Lee-77+news@example.com", "ann.lee-77", LOCAL_PART),
    (
        "ann@b\u{fc}cher.example",
        "ann@b\u{fc}cher.example",
        ADDRESS,
    ),
    (
        "ann@b\u{fc}cher.example",
        "ann@bu\u{308}cher.example",
        ADDRESS,
    ),
    (
        "ann@b\u{fc}cher.example",
        "ann@xn--bcher-kva.example",
        ADDRESS,
    ),
    (
        "an\u{e9}-an\u{e9}-an\u{e9}@example.com",
        "Ane\u{301}-ane\u{301}-ane\u{301}",
        LOCAL_PART,
    ),
    ("ann@example.com", "Social Media API", SERVICE),
    ("ann@example.com", "socialmedia", SERVICE),
    ("ann@example.com", "social-media-api", SERVICE),
    ("ann@example.com", "SOCIAL_MEDIA", SERVICE),
];

at_both_doors! {
    async fn nobody_signs_up_with_what_names_the_account_or_the_service(world: World) {
        for (email, password, reason) in GUESSED {
            assert_guessed(&world.sign_up(email, password).await, "password", reason);
        }
        assert_eq!(world.number("select count(*) from users").await, 0);
        assert_eq!(world.number("select count(*) from attempts").await, 0);
        // What is not all of it is fine.
        let email = "ann.lee-77@example.com";
        assert_eq!(world.sign_up(email, "ann.lee-77!").await.status, 201);
    }

    async fn nobody_changes_to_what_names_the_account_or_the_service(world: World) {
        for (email, password, reason) in GUESSED {
            world.rows("delete from users", &[]).await;
            assert_eq!(world.sign_up(email, PASSWORD).await.status, 201);
            let (access_token, _) = pair(&world.log_in(email, PASSWORD).await);
            let change = |old: &str| {
                Request::put("/users/me/password")
                    .bearer(&access_token)
                    .json(&json!({ "old_password": old, "new_password": password }))
            };
            assert_guessed(&world.send(change(PASSWORD)).await, "new_password", reason);
            // Whoever does not know the password learns nothing of the address.
            if reason != SERVICE {
                world.send(change("opal-lantern-43")).await.assert_detail(403, "Invalid password");
            }
            pair(&world.log_in(email, PASSWORD).await);
        }
    }

    async fn nobody_changes_to_the_old_password(world: World) {
        world.sign_up("ann@example.com", "caf\u{e9}-lantern").await;
        let (access_token, _) = pair(&world.log_in("ann@example.com", "caf\u{e9}-lantern").await);
        for new in ["caf\u{e9}-lantern", "cafe\u{301}-lantern"] {
            let change = Request::put("/users/me/password")
                .bearer(&access_token)
                .json(&json!({ "old_password": "caf\u{e9}-lantern", "new_password": new }));
            assert_guessed(&world.send(change).await, "new_password", OLD);
        }
        pair(&world.log_in("ann@example.com", "caf\u{e9}-lantern").await);
    }

    async fn nobody_signs_up_with_a_common_password(world: World) {
        for common in COMMON {
            assert_too_common(&world.sign_up("ann@example.com", common).await, "password");
        }
        assert_eq!(world.number("select count(*) from users").await, 0);
    }

    async fn nobody_changes_to_a_common_password(world: World) {
        let ann = world.join("ann").await;
        for common in COMMON {
            let change = Request::put("/users/me/password")
                .bearer(&ann.access_token)
                .json(&json!({ "old_password": PASSWORD, "new_password": common }));
            assert_too_common(&world.send(change).await, "new_password");
        }
        pair(&world.log_in(&ann.email, PASSWORD).await);
        // It is told before the old password is looked at.
        assert_eq!(world.number("select count(*) from attempts where attempts > 1").await, 0);
    }

    async fn a_password_near_a_common_one_is_fine(world: World) {
        for (number, password) in ["password1 ", " password1", "pässword1", "password1password1"]
            .iter()
            .enumerate()
        {
            let email = format!("ann{number}@example.com");
            assert_eq!(world.sign_up(&email, password).await.status, 201, "{password}");
        }
    }

    async fn every_problem_stands_beside_a_common_password(world: World) {
        let answer = world.post("/users/", json!({ "email": "ann", "password": "password1" })).await;
        answer.assert_problems(&[
            ("value_error", json!(["body", "email"])),
            ("value_error", json!(["body", "password"])),
        ]);
        assert!(!answer.text().contains("password1"));
        assert_eq!(answer.json()["detail"][1]["input"], Value::Null);
    }

    async fn an_account_that_has_a_common_password_logs_in_and_gets_a_better_one(world: World) {
        let hash = Passwords::new(1).unwrap().hash(Password::new("password1".to_owned())).await.unwrap();
        world.inherits("ann@example.com", &hash).await;
        let (access_token, _) = pair(&world.log_in("ann@example.com", "password1").await);
        assert_refused(&world.log_in("ann@example.com", "PASSWORD1").await);
        let change = Request::put("/users/me/password")
            .bearer(&access_token)
            .json(&json!({ "old_password": "password1", "new_password": PASSWORD }));
        assert_eq!(world.send(change).await.status, 200);
        pair(&world.log_in("ann@example.com", PASSWORD).await);
    }
}
