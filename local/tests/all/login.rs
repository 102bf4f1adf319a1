//! Logging in: the right password opens a session, everything else is one answer.

use crate::world::{Answer, PASSWORD, World, assert_pair, credentials};

/// A hash of [`PASSWORD`] that is verified at once.
const CHEAP: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$ZaQ80nPRS8i0iR4OMbVv5LoHElRU3KxB8/h1+ilTv9k";

impl World {
    /// An account as another service could have left it.
    pub(crate) async fn inherits(&self, email: &str, password_hash: &str) -> i64 {
        let insert = "insert into users (email, password_hash) values ($1, $2) returning id";
        self.rows(insert, &[&email, &password_hash]).await[0].get(0)
    }

    /// How many sessions there are.
    pub(crate) async fn sessions(&self) -> i64 {
        self.number("select count(*) from sessions").await
    }
}

/// What a client can tell two answers apart by.
pub(crate) fn telling(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (answer.status.as_u16(), headers, answer.text())
}

/// Asserts the one answer to every login that is not right.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer) {
    answer.assert_detail(401, "Invalid credentials");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

at_both_doors! {
    async fn the_right_password_opens_a_session(world: World) {
        world.sign_up("ann@example.com", PASSWORD).await;
        let request =
            credentials("ann@example.com", PASSWORD).header("user-agent", &"Navigator".repeat(50));
        let answer = world.send(request).await;
        let (access_token, _) = assert_pair(&answer);
        assert!(world.accepts(&access_token).await);

        let session = "select sessions.user_id = users.id,
                              sessions.created_at between now() - interval '1 minute' and now(),
                              sessions.expires_at - sessions.created_at = interval '720 hours',
                              user_agent = left(repeat('Navigator', 50), 300),
                              host(source) in ('127.0.0.1', '192.0.2.1')
                       from sessions, users";
        let rows = world.rows(session, &[]).await;
        assert_eq!(rows.len(), 1);
        let is_so: Vec<Option<bool>> = (0..5).map(|column| rows[0].get(column)).collect();
        assert_eq!(is_so, [Some(true); 5]);
    }

    async fn each_login_opens_a_session_of_its_own(world: World) {
        let ann = world.join("ann").await;
        let again = world.log_in_again(&ann).await;
        assert_ne!(ann.refresh_token, again.1);
        assert_eq!(world.sessions().await, 2);
        assert!(world.accepts(&ann.access_token).await);
        assert!(world.accepts(&again.0).await);
    }

    async fn a_wrong_password_and_an_unknown_address_are_one_answer(world: World) {
        world.join("ann").await;
        let wrong = world.log_in("ann@example.com", "opal-lantern-43").await;
        assert_refused(&wrong);
        for username in [
            "bob@example.com",
            "ann",
            "ann@example.co",
            "%",
            "ann@example_com",
            "ann@localhost",
            "'; --",
        ] {
            let unknown = world.log_in(username, PASSWORD).await;
            assert_eq!(telling(&unknown), telling(&wrong), "{username}");
        }
        for password in [
            "opal-lantern-4",
            "opal-lantern-42 ",
            " opal-lantern-42",
            "OPAL-LANTERN-42",
            "x",
        ] {
            assert_eq!(
                telling(&world.log_in("ann@example.com", password).await),
                telling(&wrong),
                "{password}"
            );
        }
        world.rows("delete from users", &[]).await;
        let gone = world.log_in("ann@example.com", PASSWORD).await;
        assert_eq!(telling(&gone), telling(&wrong));
        assert_eq!(world.sessions().await, 0);
    }

    async fn an_address_logs_in_however_it_is_typed(world: World) {
        assert_eq!(
            world
                .sign_up("Ann.Lee@bücher.example", PASSWORD)
                .await
                .status,
            201
        );
        for username in [
            "Ann.Lee@bücher.example",
            "ann.lee@BÜCHER.example",
            "ANN.LEE@XN--BCHER-KVA.EXAMPLE",
            "  ann.lee@bücher.example\t",
        ] {
            assert_eq!(
                world.log_in(username, PASSWORD).await.status,
                200,
                "{username}"
            );
        }
        assert_refused(&world.log_in("ann.lee@bucher.example", PASSWORD).await);
    }

    async fn an_account_from_before_logs_in_by_an_address_refused_today(world: World) {
        for email in [
            "ann@localhost",
            "Mixed.Case@Example.COM",
            "no-address-at-all",
            "\"ann lee\"@example.com",
        ] {
            world.inherits(email, CHEAP).await;
            assert_eq!(
                world
                    .log_in(&email.to_ascii_lowercase(), PASSWORD)
                    .await
                    .status,
                200,
                "{email}"
            );
        }
    }

    async fn letters_beyond_ascii_tell_two_accounts_apart(world: World) {
        assert_eq!(
            world
                .sign_up("öde@example.com", "lower-lantern-1")
                .await
                .status,
            201
        );
        assert_eq!(
            world
                .sign_up("Öde@example.com", "upper-lantern-2")
                .await
                .status,
            201
        );
        assert_eq!(
            world
                .log_in("öDE@example.com", "lower-lantern-1")
                .await
                .status,
            200
        );
        assert_eq!(
            world
                .log_in("ÖDE@example.com", "upper-lantern-2")
                .await
                .status,
            200
        );
        assert_refused(&world.log_in("öde@example.com", "upper-lantern-2").await);
    }
}
