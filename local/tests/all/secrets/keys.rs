//! The keys of access tokens are in Secrets Manager, which rotates them without logging anybody out.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header};
use ring::hmac;
use shared::config::{Config, Settings};
use tokio::time;

use crate::world::{
    Answer, PASSWORD, Person, Request, SecretsManager, StoredSecret, World,
    token::{sign_with, texts},
};

const FIRST: &str = "the first signing key, 32 bytes or more";
const SECOND: &str = "the second signing key, 32 bytes or more";
const THIRD: &str = "the third signing key, 32 bytes or more";

/// One fetch of both keys.
const ONCE: [&str; 2] = ["AWSCURRENT", "AWSPREVIOUS"];
const NEVER: [&str; 0] = [];

at_both_doors! {
    async fn tokens_are_signed_with_the_current_key_and_name_its_version(world: World) {
        let (world, aws, secret, first) = managed(world, FIRST).await;
        let ann = world.join("ann").await;
        assert_eq!(key_id(&ann.access_token).as_deref(), Some(&*first));
        assert_eq!(resigned(&ann, FIRST, Some(&first)), ann.access_token);
        assert!(world.accepts(&ann.access_token).await);
        assert_eq!(aws.fetched(), ONCE);

        let second = secret.rotate(SECOND).await;
        let world = world.configured(|_| ()).await;
        let bob = world.join("bob").await;
        assert_eq!(key_id(&bob.access_token).as_deref(), Some(&*second));
        assert_eq!(resigned(&bob, SECOND, Some(&second)), bob.access_token);
        assert!(world.accepts(&bob.access_token).await);
    }

    async fn the_previous_key_verifies_and_the_one_before_does_not(world: World) {
        let (world, _aws, secret, _) = managed(world, FIRST).await;
        let ann = world.join("ann").await;
        secret.rotate(SECOND).await;
        let world = world.configured(|_| ()).await;
        assert!(world.accepts(&ann.access_token).await);
        let bob = world.join("bob").await;

        secret.rotate(THIRD).await;
        let world = world.configured(|_| ()).await;
        assert!(!world.accepts(&ann.access_token).await);
        assert!(world.accepts(&bob.access_token).await);
    }

    async fn tokens_without_a_version_verify_with_either_key(world: World) {
        let (world, aws, secret, _) = managed(world, FIRST).await;
        secret.rotate(SECOND).await;
        let ann = world.join("ann").await;
        assert_eq!(aws.fetched(), ONCE);
        assert!(world.accepts(&resigned(&ann, FIRST, None)).await);
        assert!(world.accepts(&resigned(&ann, SECOND, None)).await);
        assert!(!world.accepts(&resigned(&ann, THIRD, None)).await);
        assert_eq!(aws.fetched(), NEVER);
    }

    /// Another instance, which started later, signs with a key that this one has not seen.
    async fn a_token_of_a_key_that_was_rotated_in_costs_one_fetch(world: World) {
        let (world, aws, secret, first) = managed(world, FIRST).await;
        let ann = world.join("ann").await;
        assert_eq!(aws.fetched(), ONCE);
        let second = secret.rotate(SECOND).await;

        let token = resigned(&ann, SECOND, Some(&second));
        let at_once = (0..8).map(|_| Request::get("/posts").bearer(&token));
        for answer in world.send_at_once(at_once).await {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(aws.fetched(), ONCE);
        assert!(world.accepts(&resigned(&ann, FIRST, Some(&first))).await);
        let pair = world.log_in(&ann.email, PASSWORD).await.json();
        let token = pair["access_token"].as_str().unwrap();
        assert_eq!(key_id(token).as_deref(), Some(&*second));
        assert_eq!(aws.fetched(), NEVER);
    }

    async fn an_unknown_version_costs_at_most_one_fetch_a_minute(world: World) {
        let (world, aws, secret, _) = managed(world, FIRST).await;
        let ann = world.join("ann").await;
        assert_eq!(aws.fetched(), ONCE);
        let made_up = |at: usize| resigned(&ann, THIRD, Some(&version(at)));
        let refuses = async |token: &str| {
            let answer = world.send(Request::get("/posts").bearer(token)).await;
            answer.assert_detail(401, "Could not validate credentials");
        };
        // Whoever waits for a fetch has none of their own.
        let at_once = (0..8).map(|at| Request::get("/posts").bearer(&made_up(at)));
        for answer in world.send_at_once(at_once).await {
            answer.assert_detail(401, "Could not validate credentials");
        }
        assert_eq!(aws.fetched(), ONCE);
        refuses(&made_up(8)).await;
        assert_eq!(aws.fetched(), ONCE);
        pass(Duration::from_secs(30)).await;
        refuses(&made_up(8)).await;
        assert_eq!(aws.fetched(), NEVER);
        pass(Duration::from_secs(30)).await;
        refuses(&made_up(8)).await;
        assert_eq!(aws.fetched(), ONCE);
        // A name is no more than a name: a key that we have is not looked for. What cannot be a version is none.
        assert!(world.accepts(&resigned(&ann, FIRST, Some("version-9"))).await);
        refuses(&resigned(&ann, THIRD, Some("version-9"))).await;
        refuses(&resigned(&ann, THIRD, Some(&"9".repeat(65)))).await;
        assert_eq!(aws.fetched(), NEVER);
        // One that a stranger looked for first.
        let second = secret.rotate(SECOND).await;
        assert!(world.accepts(&resigned(&ann, SECOND, Some(&second))).await);
        assert_eq!(aws.fetched(), ONCE);
    }

    /// Versions that are made up cost three fetches in ten seconds, and hide a true one no longer than that.
    async fn made_up_versions_keep_nobody_from_a_key_that_was_rotated_in(world: World) {
        let (world, aws, secret, _) = managed(world, FIRST).await;
        let ann = world.join("ann").await;
        assert_eq!(aws.fetched(), ONCE);
        for at in 0..20 {
            assert!(!world.accepts(&resigned(&ann, THIRD, Some(&version(at)))).await);
        }
        assert_eq!(aws.fetched(), [[ONCE[0]; 3], [ONCE[1]; 3]].concat());

        let second = secret.rotate(SECOND).await;
        let token = resigned(&ann, SECOND, Some(&second));
        pass(Duration::from_secs(10)).await;
        assert!(world.accepts(&token).await);
        assert_eq!(aws.fetched(), ONCE);
    }

    async fn the_keys_outlive_a_secrets_manager_that_is_down(world: World) {
        let (world, aws, secret, _) = managed(world, FIRST).await;
        let ann = world.join("ann").await;
        let second = secret.rotate(SECOND).await;
        let token = resigned(&ann, SECOND, Some(&second));
        aws.goes_down();
        assert!(!world.accepts(&token).await);
        assert!(world.accepts(&ann.access_token).await);
        assert_eq!(world.log_in(&ann.email, PASSWORD).await.status, 200);

        aws.recovers();
        // Nobody could say whether there is such a key, so that it is looked for again.
        assert!(world.accepts(&token).await);
        assert!(world.accepts(&ann.access_token).await);
    }

    async fn secrets_manager_down_at_start_costs_no_restart(world: World) {
        let ann = world.join("ann").await;
        let mut aws = SecretsManager::unreachable().await;
        let (secret, _) = StoredSecret::new(FIRST).await;
        let world = using(world, &aws, &secret).await;
        away(&world.log_in(&ann.email, PASSWORD).await);
        away(&world.send(Request::get("/posts").bearer(&ann.access_token)).await);
        // What no key could have signed needs none to be refused.
        let refused = world.send(Request::get("/posts").bearer("no.token.at-all")).await;
        refused.assert_detail(401, "Could not validate credentials");

        aws.open();
        assert_eq!(world.log_in(&ann.email, PASSWORD).await.status, 200);
        assert_eq!(aws.fetched(), ONCE);
    }

    /// As many as wait for the first fetch share its failure: nobody waits for a queue of them.
    async fn a_mute_secrets_manager_keeps_everybody_waiting_once(world: World) {
        let (world, aws, _, _) = managed(world, FIRST).await;
        aws.goes_mute();
        let token = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl";
        let at_once = (0..8).map(|_| Request::get("/posts").bearer(token));
        for answer in world.send_at_once(at_once).await {
            away(&answer);
        }
        let fetched = aws.fetched();
        assert!(fetched.len() <= 4, "{fetched:?}");
        aws.recovers();
        world.join("ann").await;
    }

    /// The way out is one rotation, although the short key is the previous one then.
    async fn a_short_key_is_a_503_until_a_good_one_is_rotated_in(world: World) {
        let ann = world.join("ann").await;
        let aws = SecretsManager::new().await;
        let short = &FIRST[..31];
        let (secret, version) = StoredSecret::new(short).await;
        let world = using(world, &aws, &secret).await;
        away(&world.log_in(&ann.email, PASSWORD).await);
        let forged = resigned(&ann, short, Some(&version));
        away(&world.send(Request::get("/posts").bearer(&forged)).await);

        secret.rotate(&FIRST[..32]).await;
        let pair = world.log_in(&ann.email, PASSWORD).await;
        assert_eq!(pair.status, 200, "{}", pair.text());
        assert!(world.accepts(pair.json()["access_token"].as_str().unwrap()).await);
        assert!(!world.accepts(&forged).await);
    }

    /// A key that is not in use yet signs nothing and verifies nothing.
    async fn a_key_that_is_only_prepared_is_none(world: World) {
        let (world, _aws, secret, first) = managed(world, FIRST).await;
        let pending = secret.prepare(SECOND).await;
        let ann = world.join("ann").await;
        assert_eq!(key_id(&ann.access_token).as_deref(), Some(&*first));
        assert!(!world.accepts(&resigned(&ann, SECOND, Some(&pending))).await);
        let world = world.configured(|_| ()).await;
        assert!(!world.accepts(&resigned(&ann, SECOND, Some(&pending))).await);
        assert!(world.accepts(&ann.access_token).await);
    }
}

/// The world's API with its keys in a secret of its own: this one, whose version is told too.
async fn managed(world: World, key: &str) -> (World, SecretsManager, StoredSecret, String) {
    let aws = SecretsManager::new().await;
    let (secret, version) = StoredSecret::new(key).await;
    (using(world, &aws, &secret).await, aws, secret, version)
}

async fn using(world: World, aws: &SecretsManager, secret: &StoredSecret) -> World {
    let settings = aws.settings(&[("JWT_SECRET_ARN", &secret.arn)]);
    let settings = Settings::from_lookup(|name| settings.get(name).cloned());
    let config = Config::read(&settings, local::settings::DEFAULTS).unwrap();
    world.configured(|it| it.signing = config.signing).await
}

/// Time goes by, for everybody in this process.
async fn pass(time: Duration) {
    time::pause();
    time::advance(time).await;
    time::resume();
}

/// The id of a version that there is not.
fn version(number: usize) -> String {
    format!("{number:036}")
}

fn key_id(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).unwrap().kid
}

/// Somebody's token as another key would have signed it.
fn resigned(person: &Person, key: &str, id: Option<&str>) -> String {
    let [_, claims] = texts(&person.access_token);
    let mut header = Header::new(Algorithm::HS256);
    header.kid = id.map(str::to_owned);
    let header = serde_json::to_string(&header).unwrap();
    sign_with(hmac::HMAC_SHA256, key, &header, &claims)
}

#[track_caller]
fn away(answer: &Answer) {
    answer.assert_detail(503, "Service Unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}
