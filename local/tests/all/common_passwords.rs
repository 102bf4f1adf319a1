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

#[track_caller]
fn assert_too_common(answer: &Answer, field: &str) {
    let problem = json!({
        "type": "value_error",
        "loc": ["body", field],
        "msg": "Value error, This password is among the most common ones",
        "input": null,
        "ctx": { "reason": "This password is among the most common ones" },
    });
    answer.assert(422, &json!({ "detail": [problem] }));
}

at_both_doors! {
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
