//! Access tokens: what one says, and what one may say.

use futures_util::FutureExt;
use jsonwebtoken::Algorithm;
use ring::hmac;
use serde_json::{Value, json};
use shared::{
    config::{Secret, Signing},
    tokens::Keys,
};

use crate::world::{
    Answer, Request, SECRET_KEY, World,
    token::{HEADER, claims, contents, now, sign, sign_with, texts},
};

/// Asserts that credentials were bad, and that the answer says so as RFC 6750 wants it.
#[track_caller]
pub(crate) fn assert_bad_credentials(answer: &Answer) {
    answer.assert_detail(401, "Could not validate credentials");
    assert_eq!(
        answer
            .headers
            .get_all("www-authenticate")
            .iter()
            .collect::<Vec<_>>(),
        [r#"Bearer error="invalid_token""#]
    );
}

impl World {
    /// The answer to somebody with this token on a route that is also for nobody.
    async fn show_list(&self, token: &str) -> Answer {
        self.send(Request::get("/posts/?limit=0").bearer(token))
            .await
    }

    async fn assert_refuses(&self, token: &str) {
        let answer = self.show_list(token).await;
        assert_eq!(answer.status, 401, "{:?}", texts(token));
        assert_bad_credentials(&answer);
    }

    async fn assert_accepts(&self, token: &str) {
        let answer = self.show_list(token).await;
        assert_eq!(answer.status, 200, "{:?}", texts(token));
        answer.assert(200, &json!([]));
    }
}

at_both_doors! {
    async fn a_token_says_who_logged_in_and_where_and_until_when(world: World) {
        let before = now();
        let ann = world.join("ann").await;
        let session_id = world.number("select id from sessions").await;
        let [header, payload] = contents(&ann.access_token);
        assert_eq!(header, json!({ "alg": "HS256", "kid": header["kid"], "typ": "JWT" }));
        assert!(header["kid"].is_string());
        let issued_at = payload["iat"].as_i64().unwrap();
        assert!((before..=now()).contains(&issued_at));
        let expected = json!({
            "user_id": ann.id,
            "exp": issued_at + 1800,
            "iat": issued_at,
            "type": "access",
            "sid": session_id.to_string(),
        });
        assert_eq!(payload, expected);
        world.assert_accepts(&ann.access_token).await;
    }

    async fn a_token_of_the_service_before_this_one_needs_no_session(world: World) {
        let ann = world.join("ann").await;
        let old = sign(HEADER, &claims(ann.id, &json!({})));
        world
            .send(Request::get(&format!("/users/{}", ann.id)).bearer(&old))
            .await
            .assert(200, &ann.whole());
        world.rows("delete from sessions", &[]).await;
        world.assert_refuses(&ann.access_token).await;
        world.assert_accepts(&old).await;
        let answer = world
            .send(
                Request::post("/posts/")
                    .bearer(&old)
                    .json(&json!({ "title": "t", "content": "c" })),
            )
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["owner"]),
            (201, &ann.whole())
        );
        world.rows("delete from users", &[]).await;
        world.assert_refuses(&old).await;
    }

    async fn claims_that_are_well_formed_and_mean_nothing_to_us_do_no_harm(world: World) {
        let ann = world.join("ann").await;
        let fine = [
            json!({}),
            json!({ "iss": "anyone", "sub": "anything", "jti": "" }),
            json!({ "iat": now(), "nbf": now() }),
            json!({ "iat": now() + 60, "nbf": now() + 60 }),
            json!({ "iat": 0, "nbf": -1 }),
            json!({ "exp": 9_007_199_254_740_992_i64 }),
            json!({ "exp": 1e18 }),
            json!({ "exp": 4_000_000_000.5, "iat": 1_700_000_000.5 }),
            json!({ "role": "admin", "scope": ["everything"], "": 1 }),
        ];
        for changes in &fine {
            world
                .assert_accepts(&sign(HEADER, &claims(ann.id, changes)))
                .await;
        }
    }

    async fn no_claim_may_be_missing_or_of_another_type_or_time(world: World) {
        let ann = world.join("ann").await;
        let mut bad = vec![
            json!({ "exp": now() }),
            json!({ "exp": now() - 1 }),
            json!({ "exp": now() - 59 }),
            json!({ "exp": 0 }),
            json!({ "exp": -1 }),
            // A clock that may be a minute ahead, and one that goes on while the test sends.
            json!({ "nbf": now() + 90 }),
            json!({ "iat": now() + 90 }),
            json!({ "nbf": u64::MAX }),
            json!({ "iat": 1e300 }),
            json!({ "aud": "api" }),
            json!({ "aud": "" }),
            json!({ "aud": [] }),
            json!({ "aud": ["api"] }),
            json!({ "aud": 1 }),
            json!({ "type": "refresh" }),
            json!({ "type": "Access" }),
            json!({ "type": "access " }),
            json!({ "type": ["access"] }),
            json!({ "type": true }),
            json!({ "user_id": ann.id.to_string() }),
            json!({ "user_id": format!("{}.0", ann.id).parse::<f64>().unwrap() }),
            json!({ "user_id": true }),
            json!({ "user_id": [ann.id] }),
            json!({ "user_id": ann.id + 1 }),
            json!({ "user_id": 0 }),
            json!({ "user_id": -ann.id }),
            json!({ "user_id": u64::MAX }),
            json!({ "user_id": 1e300 }),
            json!({ "sid": 1 }),
            json!({ "sid": "" }),
            json!({ "sid": "one" }),
            json!({ "sid": ["1"] }),
            json!({ "sid": "99999999999999999999" }),
            json!({ "sid": "0" }),
        ];
        bad.extend(["exp", "type", "user_id"].map(|name| json!({ name: null })));
        for name in ["exp", "nbf", "iat"] {
            for value in [
                json!((now() + if name == "exp" { 600 } else { -600 }).to_string()),
                json!(true),
                json!([now() + 600]),
                json!({}),
            ] {
                bad.push(json!({ name: value }));
            }
        }
        for name in ["iss", "sub", "jti"] {
            for value in [json!(1), json!(true), json!(["text"]), json!({})] {
                bad.push(json!({ name: value }));
            }
        }
        for changes in &bad {
            world
                .assert_refuses(&sign(HEADER, &claims(ann.id, changes)))
                .await;
        }
        // `claims` takes a claim away for null; these have the null itself.
        for name in [
            "exp", "nbf", "iat", "aud", "iss", "sub", "jti", "sid", "type", "user_id",
        ] {
            let with_null = claims(ann.id, &json!({ name: "null" })).replace(r#""null""#, "null");
            assert!(with_null.contains(&format!(r#""{name}":null"#)));
            world.assert_refuses(&sign(HEADER, &with_null)).await;
        }
        for payload in ["", "{", "null", "[]", "\"text\"", "{}", "1"] {
            world.assert_refuses(&sign(HEADER, payload)).await;
        }
    }

    async fn a_session_of_somebody_else_lends_nothing(world: World) {
        let ann = world.join("ann").await;
        let bob = world.join("bob").await;
        let [_, of_bob] = contents(&bob.access_token);
        let stolen = json!({ "sid": of_bob["sid"] });
        world
            .assert_accepts(&sign(HEADER, &claims(bob.id, &stolen)))
            .await;
        world
            .assert_refuses(&sign(HEADER, &claims(ann.id, &stolen)))
            .await;
    }

    async fn only_the_one_algorithm_and_no_other_header_gets_in(world: World) {
        let ann = world.join("ann").await;
        let payload = claims(ann.id, &json!({}));
        let fine = [
            r#"{"alg":"HS256"}"#,
            r#"{"typ":"jwt","alg":"HS256","kid":"../../key","cty":"JWT"}"#,
            r#"{"typ":"JWT","alg":"HS256","jku":"https://example.com/keys","x-own":{"deep":[1]}}"#,
        ];
        for header in fine {
            world.assert_accepts(&sign(header, &payload)).await;
        }
        let bad = [
            r#"{"typ":"JWT"}"#,
            r#"{"alg":"none","typ":"JWT"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"NONE"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":" HS256"}"#,
            r#"{"alg":"HS384"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"HS1"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"EdDSA"}"#,
            r#"{"alg":"PBES2-HS256+A128KW"}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":null}"#,
            r#"{"alg":256}"#,
            r#"{"alg":"HS256","typ":"at+jwt"}"#,
            r#"{"alg":"HS256","typ":"JWE"}"#,
            r#"{"alg":"HS256","typ":""}"#,
            r#"{"alg":"HS256","typ":1}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
            r#"{"alg":"HS256","crit":["x-own"],"x-own":1}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","crit":null}"#,
            r#"{"alg":"HS256","crit":"exp"}"#,
            r#"{"alg":"HS256","crit":[1]}"#,
            "",
            "{}",
            "[]",
            "null",
            "HS256",
        ];
        for header in bad {
            world.assert_refuses(&sign(header, &payload)).await;
        }
        let others = [
            (hmac::HMAC_SHA384, r#"{"alg":"HS384","typ":"JWT"}"#),
            (hmac::HMAC_SHA512, r#"{"alg":"HS512","typ":"JWT"}"#),
            (hmac::HMAC_SHA384, HEADER),
            (hmac::HMAC_SHA512, HEADER),
        ];
        for (hash, header) in others {
            world
                .assert_refuses(&sign_with(hash, SECRET_KEY, header, &payload))
                .await;
        }
    }

    async fn a_token_counts_as_a_whole_or_not_at_all(world: World) {
        let ann = world.join("ann").await;
        let good = sign(HEADER, &claims(ann.id, &json!({})));
        let other = sign(HEADER, &claims(ann.id, &json!({ "exp": now() + 601 })));
        let parts: Vec<_> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else {
            panic!("{good}")
        };
        let other_payload = other.split('.').nth(1).unwrap();
        let none = sign(r#"{"alg":"none","typ":"JWT"}"#, &claims(ann.id, &json!({})));
        let none_header = none.split('.').next().unwrap();
        let bad = [
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}.{signature}."),
            format!("{header}.{payload}.{signature}.{signature}"),
            format!("{header}.{payload}.{}", &signature[..42]),
            format!("{header}.{payload}.{signature}="),
            format!("{header}.{other_payload}.{signature}"),
            format!("{none_header}.{payload}."),
            format!("{none_header}.{payload}"),
            format!(".{payload}.{signature}"),
            format!("{header}..{signature}"),
            format!("{header}=.{payload}.{signature}"),
            format!("{header}\t.{payload}.{signature}"),
            "..".to_owned(),
            ann.refresh_token.clone(),
            sign_with(
                hmac::HMAC_SHA256,
                "another key that is 32 bytes long",
                HEADER,
                &claims(ann.id, &json!({})),
            ),
            sign_with(hmac::HMAC_SHA256, "", HEADER, &claims(ann.id, &json!({}))),
        ];
        world.assert_accepts(&good).await;
        for token in &bad {
            world.assert_refuses(token).await;
        }
        // Text that is no ASCII reaches a header as it is.
        let odd = Request::get("/posts/?limit=0").bearer(&format!("{good}é"));
        assert_bad_credentials(&world.send(odd).await);
    }

    async fn a_token_of_more_than_8_kib_is_not_looked_at(world: World) {
        let ann = world.join("ann").await;
        // Three bytes of the payload are four of the token.
        let padded = |bytes: usize| {
            let token = |padding: usize| {
                sign(
                    HEADER,
                    &claims(ann.id, &json!({ "padding": "p".repeat(padding) })),
                )
            };
            let about = (bytes - token(0).len()) * 3 / 4;
            let found = (about - 2..about + 4)
                .map(token)
                .find(|token| token.len() >= bytes)
                .unwrap();
            assert_eq!(found.len(), bytes);
            found
        };
        world.assert_accepts(&padded(8 * 1024)).await;
        world.assert_refuses(&padded(8 * 1024 + 1)).await;
    }
}

// At a moment of the test's own, so that a boundary is one.
#[test]
fn an_expiry_is_exact_and_another_clock_may_be_a_minute_ahead() {
    const NOW: u64 = 1_800_000_000;
    let keys = Keys::new(&Signing {
        algorithm: Algorithm::HS256,
        key: Secret::new(SECRET_KEY),
        previous_key: None,
        secret: None,
    });
    // Keys of the settings are known at once.
    let accepts = |token: &str| {
        let verified = keys.verify_access_token(token, NOW).now_or_never();
        verified.unwrap().unwrap().is_some()
    };
    let is_accepted = |changes: Value| accepts(&sign(HEADER, &claims(7, &changes)));
    for (exp, is_live) in [
        (json!(NOW + 1), true),
        (json!(1_800_000_000.001), true),
        (json!(NOW), false),
        (json!(1_799_999_999.999), false),
        (json!(NOW - 1), false),
        (json!(NOW - 60), false),
    ] {
        assert_eq!(is_accepted(json!({ "exp": exp })), is_live, "{exp}");
    }
    for name in ["iat", "nbf"] {
        for (time, has_begun) in [
            (json!(NOW), true),
            (json!(NOW + 1), true),
            (json!(1_800_000_000.5), true),
            (json!(1_800_000_059.999), true),
            (json!(NOW + 60), true),
            (json!(1_800_000_060.001), false),
            (json!(NOW + 61), false),
            (json!(NOW + 3600), false),
            (json!(u64::MAX), false),
        ] {
            let token = json!({ "exp": NOW + 600, name: time });
            assert_eq!(is_accepted(token), has_begun, "{name} {time}");
        }
    }
    // What an instance signs whose clock is ahead.
    let set = keys.set().now_or_never().unwrap().unwrap();
    for (ahead, is_taken) in [(0, true), (1, true), (60, true), (61, false)] {
        let token = set.sign_access_token(7, 8, NOW + ahead, 1800).unwrap();
        assert_eq!(accepts(&token), is_taken, "{ahead}");
    }
}
