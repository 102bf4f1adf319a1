//! The signing key as it is set: which algorithm, and a key that is on its way out.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use ring::hmac;
use serde_json::json;
use shared::config::Secret;

use crate::world::{
    Door, SECRET_KEY, World,
    token::{claims, contents, sign, sign_with, texts},
};

const PREVIOUS_KEY: &str = "the signing key of last month, 32 bytes or more";
const DOORS: [Door; 2] = [Door::Http, Door::Event];

#[tokio::test]
async fn the_algorithm_that_is_set_signs_and_is_the_only_one_accepted() {
    let algorithms = [
        (Algorithm::HS256, hmac::HMAC_SHA256, "HS256"),
        (Algorithm::HS384, hmac::HMAC_SHA384, "HS384"),
        (Algorithm::HS512, hmac::HMAC_SHA512, "HS512"),
    ];
    for door in DOORS {
        for (algorithm, hash, name) in algorithms {
            let world = World::with(door, |config| config.signing.algorithm = algorithm).await;
            let ann = world.join("ann").await;
            let [header, payload] = texts(&ann.access_token);
            let signed = sign_with(hash, SECRET_KEY, &header, &payload);
            assert_eq!(ann.access_token, signed);
            let [header, _] = contents(&ann.access_token);
            assert_eq!(
                header,
                json!({ "alg": name, "kid": header["kid"], "typ": "JWT" })
            );
            assert!(header["kid"].is_string());
            for (_, hash, other) in algorithms {
                let header = json!({ "alg": other, "typ": "JWT" }).to_string();
                let token = sign_with(hash, SECRET_KEY, &header, &claims(ann.id, &json!({})));
                assert_eq!(
                    world.accepts(&token).await,
                    other == name,
                    "{other} for {name}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_previous_key_still_verifies_and_no_longer_signs() {
    for door in DOORS {
        let mut world = World::with(door, |config| {
            config.signing.key = Secret::new(PREVIOUS_KEY);
        })
        .await;
        let ann = world.join("ann").await;
        let [header, payload] = texts(&ann.access_token);
        let with_key = |key| sign_with(hmac::HMAC_SHA256, key, &header, &payload);
        assert_eq!(ann.access_token, with_key(PREVIOUS_KEY));

        world.config.signing.key = Secret::new(SECRET_KEY);
        world.config.signing.previous_key = Some(Secret::new(PREVIOUS_KEY));
        world.reopen(door).await;
        assert!(world.accepts(&ann.access_token).await);
        assert!(
            !world
                .accepts(&with_key("a key that was never set, 32 bytes or more"))
                .await
        );
        let (access_token, _) = world.log_in_again(&ann).await;
        let [header_now, payload_now] = texts(&access_token);
        assert_eq!(access_token, sign(&header_now, &payload_now));
        assert!(world.accepts(&access_token).await);
        // The previous key is no way around the rest.
        let expired = sign_with(
            hmac::HMAC_SHA256,
            PREVIOUS_KEY,
            &header,
            &claims(ann.id, &json!({ "exp": 1 })),
        );
        assert!(!world.accepts(&expired).await);

        world.config.signing.previous_key = None;
        world.reopen(door).await;
        assert!(!world.accepts(&ann.access_token).await);
        assert!(world.accepts(&access_token).await);
    }
}

#[tokio::test]
async fn an_access_token_lives_as_long_as_is_set_and_the_answer_says_so() {
    for door in DOORS {
        let world = World::with(door, |config| {
            config.access_token_life = Duration::from_mins(7);
        })
        .await;
        let ann = world.join("ann").await;
        let [_, payload] = contents(&ann.access_token);
        assert_eq!(
            payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap(),
            420
        );
        assert_eq!(
            world.refresh(&ann.refresh_token).await.json()["expires_in"],
            420
        );
    }
}
