//! What the log says of logins and sessions: whose they are, and for an address without an account which it is,
//! without saying the address.

use serde_json::{Value, json};

use crate::{
    limits::WRONG,
    world::{Door, Function, PASSWORD, Person, Request, World, credentials, pair},
};

const CLIENT: &str = "203.0.113.77";

/// What a line says of whom it is about.
#[track_caller]
fn named(line: &str) -> [Value; 4] {
    let line: Value = serde_json::from_str(line).unwrap();
    assert!(line["request.id"].is_string(), "{line}");
    ["user.id", "session.id", "email.digest", "outcome"].map(|name| line[name].clone())
}

/// Ann, and the function whose log is read.
async fn start(world: &World) -> (Person, Function) {
    let ann = world.join("ann").await;
    // A spent token that comes back is reuse at once.
    let settings = [("REFRESH_TOKEN_REUSE_GRACE_SECONDS", "0")];
    (
        ann,
        Function::start("auth", world.database(), &settings).await,
    )
}

async fn newest_session(world: &World) -> Value {
    json!(world.number("select max(id) from sessions").await)
}

#[tokio::test]
async fn a_login_names_its_user_and_the_session_that_it_opened() {
    let world = World::new(Door::Event).await;
    let (ann, mut function) = start(&world).await;
    let answer = function.send(credentials(&ann.email, PASSWORD)).await;
    let (_, refresh_token) = pair(&answer);
    let session = newest_session(&world).await;
    assert_eq!(
        named(&function.line().await),
        [json!(ann.id), session.clone(), Value::Null, Value::Null]
    );
    let token = json!({ "refresh_token": refresh_token });
    for (target, status) in [
        ("/auth/refresh", 200),
        // Spent: this ends the session.
        ("/auth/refresh", 401),
    ] {
        let answer = function.send(Request::post(target).json(&token)).await;
        assert_eq!(answer.status, status);
        let outcome = match status {
            401 => json!("refresh_token_reused"),
            _ => Value::Null,
        };
        assert_eq!(
            named(&function.line().await),
            [json!(ann.id), session.clone(), Value::Null, outcome]
        );
    }
    assert_eq!(world.sessions().await, 1);
}

#[tokio::test]
async fn a_logout_names_the_session_that_it_ended() {
    let world = World::new(Door::Event).await;
    let (ann, mut function) = start(&world).await;
    let session = newest_session(&world).await;
    let token = json!({ "refresh_token": ann.refresh_token });
    let logout = || Request::post("/auth/logout").json(&token);
    assert_eq!(function.send(logout()).await.status, 200);
    let known = [json!(ann.id), session, Value::Null, Value::Null];
    assert_eq!(named(&function.line().await), known);
    // Now it is nobody's.
    assert_eq!(function.send(logout()).await.status, 404);
    assert_eq!(named(&function.line().await), [(); 4].map(|()| Value::Null));

    let (access_token, _) = world.log_in_again(&ann).await;
    let session = newest_session(&world).await;
    let everywhere = Request::post("/auth/logout-all").bearer(&access_token);
    assert_eq!(function.send(everywhere).await.status, 200);
    let known = [json!(ann.id), session, Value::Null, Value::Null];
    assert_eq!(named(&function.line().await), known);
}

#[tokio::test]
async fn logins_that_fail_or_are_throttled_name_the_account_or_a_digest_of_the_address() {
    let world = World::new(Door::Event).await;
    let (ann, mut function) = start(&world).await;
    let mut digests = Vec::new();
    for address in [&ann.email, "nobody@example.com", "ludmilla@example.com"] {
        for number in 0..11 {
            // The case is none of the address.
            let typed = if number % 2 == 0 {
                address.to_owned()
            } else {
                address.to_uppercase()
            };
            function.send(credentials(&typed, WRONG).from(CLIENT)).await;
            let line = function.line().await;
            let outcome = if number < 10 {
                "login_failed"
            } else {
                "login_throttled"
            };
            let [user_id, session_id, digest, logged] = named(&line);
            assert_eq!((session_id, logged), (Value::Null, json!(outcome)));
            if address == ann.email {
                assert_eq!((user_id, digest), (json!(ann.id), Value::Null));
            } else {
                assert_eq!(user_id, Value::Null);
                digests.push(digest.as_str().unwrap().to_owned());
            }
            assert!(
                line.contains(r#""client.network":"203.0.113.0/24""#),
                "{line}"
            );
            for secret in [CLIENT, "nobody", "ludmilla", "ann@"] {
                assert!(!line.to_lowercase().contains(secret), "{line}");
            }
        }
    }
    assert!(digests.iter().all(|digest| digest.len() == 16));
    digests.dedup();
    // One for each address.
    assert_eq!(digests.len(), 2);
    // Nobody without the key finds the address that a digest is of.
    let mut other = Function::start(
        "auth",
        world.database(),
        &[("SECRET_KEY", "another signing key, 32 bytes or more")],
    )
    .await;
    world.sql.batch_execute("truncate attempts").await.unwrap();
    other.send(credentials("nobody@example.com", WRONG)).await;
    let [_, _, digest, _] = named(&other.line().await);
    assert!(digest.is_string() && digest != digests[0], "{digest}");
}
