//! Functions that were frozen between two requests, and whose monotonic clock stood still meanwhile.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, Header};
use ring::hmac;
use serde_json::json;
use shared::clock::Moment;
use tokio::time::Instant;

use crate::world::{
    Door, Function, Person, Proxy, Request, SECRET_KEY, SecretsManager, StoredSecret, WallClock,
    World,
    token::{sign_with, texts},
};

/// A statement waits this long for its answer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(4);

#[test]
fn the_clock_that_went_further_says_how_long_ago_something_was() {
    let (monotonic, wall) = (Instant::now(), SystemTime::now());
    let seconds = Duration::from_secs;
    let earlier = Moment { monotonic, wall };
    for (by_monotonic, by_wall, expected) in [
        (seconds(0), wall, 0),
        (seconds(3), wall + seconds(3), 3),
        (seconds(0), wall + seconds(20), 20),
        (seconds(20), wall, 20),
        // Set back a little, or by a day: neither hides what the other clock says, nor goes unnoticed.
        (seconds(7), wall - seconds(2), 7),
        (seconds(7), wall - seconds(86_400), 86_400),
    ] {
        let later = Moment {
            monotonic: monotonic + by_monotonic,
            wall: by_wall,
        };
        assert_eq!(later.since(earlier), seconds(expected), "{later:?}");
    }
}

#[tokio::test]
async fn a_connection_that_the_network_forgot_during_a_freeze_is_replaced_in_time() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    let mut database = world.database().clone();
    let proxy = Proxy::before(&mut database);
    let clock = WallClock::new();
    let function = Function::start("posts", &database, &clock.variables()).await;
    let list = || Request::get("/posts/");
    let create = || {
        let post = json!({ "title": "title", "content": "content" });
        Request::post("/posts/")
            .bearer(&ann.access_token)
            .json(&post)
    };
    function.send(list()).await.assert(200, &json!([]));

    for (freezes, request) in [list(), create(), list()].into_iter().enumerate() {
        clock.is_ahead_by(Duration::from_secs(20) * u32::try_from(freezes + 1).unwrap());
        proxy.forget();
        let asked = Instant::now();
        let answer = function.send(request).await;
        assert!(answer.status.is_success(), "{}", answer.text());
        assert!(asked.elapsed() < STATEMENT_TIMEOUT);
    }
    // Nothing was done twice.
    assert_eq!(world.number("select count(*) from posts").await, 1);
}

#[tokio::test]
async fn a_key_that_was_rotated_in_during_a_freeze_is_looked_for_after_it() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    let aws = SecretsManager::new().await;
    let (secret, first) = StoredSecret::new(SECRET_KEY).await;
    let clock = WallClock::new();
    let settings = aws.settings(&[("JWT_SECRET_ARN", &secret.arn)]);
    let mut variables: Vec<_> = clock.variables().to_vec();
    variables.extend(settings.iter().map(|(name, value)| (&**name, &**value)));
    let function = Function::start("posts", world.database(), &variables).await;
    let accepts = async |token: &str| {
        let answer = function.send(Request::get("/posts/").bearer(token)).await;
        if answer.status != 200 {
            answer.assert_detail(401, "Could not validate credentials");
        }
        answer.status == 200
    };
    assert!(accepts(&resigned(&ann, SECRET_KEY, &first)).await);

    // A stranger makes names up, and has the keys fetched as often as anybody may.
    for number in 0..9 {
        let forged = resigned(
            &ann,
            "a key of nobody's, 32 bytes or more",
            &format!("{number:036}"),
        );
        assert!(!accepts(&forged).await);
    }
    let second_key = "the second signing key, 32 bytes or more";
    let second = secret.rotate(second_key).await;
    let token = resigned(&ann, second_key, &second);
    clock.is_ahead_by(Duration::from_secs(20));
    assert!(accepts(&token).await);
}

/// Somebody's token as a key that is called so would have signed it.
fn resigned(person: &Person, key: &str, id: &str) -> String {
    let [_, claims] = texts(&person.access_token);
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(id.to_owned());
    let header = serde_json::to_string(&header).unwrap();
    sign_with(hmac::HMAC_SHA256, key, &header, &claims)
}
