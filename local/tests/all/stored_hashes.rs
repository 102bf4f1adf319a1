//! Stored password hashes: those of another time, those of no use, and those that change under a login.

use crate::{
    login::{assert_refused, telling},
    world::{PASSWORD, World, connect, credentials, pair},
};

/// Hashes of [`PASSWORD`] that new ones do not look like: other costs, variants and versions.
pub(crate) const OUTDATED: [&str; 5] = [
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$gTWTRH2RybSflxplA7hOKArEfj8mOPzqmC18I/UVSic",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$ZaQ80nPRS8i0iR4OMbVv5LoHElRU3KxB8/h1+ilTv9k",
    "$argon2id$v=19$m=1024,t=10,p=16$c29tZXNhbHRzb21lc2FsdA$OqKiur5dLh485P4UCRVFkH56hJAw1W9c19PWTA36TYo",
    "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$yL60bBhTW30NdlpH53TicKtBs98p0OkGKx7HOue6OBE",
    "$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$LPS1Vc1Dhwrj4fJdEb6faaZrykN3OHdANA0kCgvowzw",
];
/// Hashes that are not computed, though the first three are right, and texts that are no hashes.
const UNUSABLE: [&str; 13] = [
    "$argon2id$v=19$m=262145,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$KGmpSXwatIhjLu+wksKtFCikemVVjNjtz97xl5Qet5Y",
    "$argon2id$v=19$m=1024,t=11,p=1$c29tZXNhbHRzb21lc2FsdA$M6DTkp2Utghjam3sZyPZv/L/aghURzGKGRrk7yGceQc",
    "$argon2id$v=19$m=1024,t=1,p=17$c29tZXNhbHRzb21lc2FsdA$OH3B3rbCdmiYCPMwL/HJL/6fQojkf1xZ8UICAFWs5Gc",
    "$argon2id$v=19$m=4294967295,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$gTWTRH2RybSflxplA7hOKArEfj8mOPzqmC18I/UVSic",
    "$argon2id$v=19$m=65536,t=4294967295,p=4$c29tZXNhbHRzb21lc2FsdA$gTWTRH2RybSflxplA7hOKArEfj8mOPzqmC18I/UVSic",
    "$argon2id$v=19$m=0,t=0,p=0$c29tZXNhbHRzb21lc2FsdA$gTWTRH2RybSflxplA7hOKArEfj8mOPzqmC18I/UVSic",
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA",
    "$argon2id$v=19$m=19456,t=2,p=1",
    "$argon2id$v=99$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$gTWTRH2RybSflxplA7hOKArEfj8mOPzqmC18I/UVSic",
    "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    PASSWORD,
    "!",
    "",
];

/// How the hashes of today begin.
const LIVE: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

impl World {
    async fn hash_of(&self, user_id: i64) -> String {
        let select = "select password_hash from users where id = $1";
        self.rows(select, &[&user_id]).await[0].get(0)
    }
}

at_both_doors! {
    async fn an_outdated_hash_lets_in_and_is_replaced(world: World) {
        for (number, hash) in OUTDATED.iter().enumerate() {
            let email = format!("ann{number}@example.com");
            let id = world.inherits(&email, hash).await;
            assert_refused(&world.log_in(&email, "opal-lantern-43").await);
            assert_eq!(world.hash_of(id).await, *hash);
            assert_eq!(world.log_in(&email, PASSWORD).await.status, 200, "{hash}");
            let replaced = world.hash_of(id).await;
            assert!(replaced.starts_with(LIVE), "{hash} {replaced}");
            assert_eq!(world.log_in(&email, PASSWORD).await.status, 200, "{hash}");
            assert_refused(&world.log_in(&email, "opal-lantern-43").await);
            // One that is as it should be stays.
            assert_eq!(world.hash_of(id).await, replaced);
        }
    }

    async fn logins_that_race_to_replace_a_hash_all_get_in(world: World) {
        let id = world.inherits("ann@example.com", OUTDATED[0]).await;
        let mut other = connect(world.database()).await;
        let lock = other.transaction().await.unwrap();
        lock.execute("select from users for update", &[])
            .await
            .unwrap();
        // All have seen the outdated hash before the first of them replaces it.
        let logins = world.send_at_once((0..3).map(|_| credentials("ann@example.com", PASSWORD)));
        let release = async {
            world.until_waiting(3).await;
            lock.commit().await.unwrap();
        };
        let (answers, ()) = tokio::join!(logins, release);
        for answer in &answers {
            assert!(world.accepts(&pair(answer).0).await);
        }
        assert_eq!(world.sessions().await, 3);
        assert!(world.hash_of(id).await.starts_with(LIVE));
        assert_eq!(world.log_in("ann@example.com", PASSWORD).await.status, 200);
    }

    async fn a_password_that_is_changed_while_it_is_verified_opens_nothing(world: World) {
        world.sign_up("bob@example.com", "another-lantern-43").await;
        let mut other = connect(world.database()).await;
        for change in [
            "update users set password_hash = bobs.password_hash from users as bobs
             where users.email = 'ann@example.com' and bobs.email = 'bob@example.com'",
            "delete from users where email = 'ann@example.com'",
        ] {
            world
                .rows("delete from users where email = 'ann@example.com'", &[])
                .await;
            world.sign_up("ann@example.com", PASSWORD).await;
            let lock = other.transaction().await.unwrap();
            assert_eq!(lock.execute(change, &[]).await.unwrap(), 1);
            // The login has found the password right, and is about to open a session.
            let commit = async {
                world.until_waiting(1).await;
                lock.commit().await.unwrap();
            };
            let (answer, ()) = tokio::join!(world.log_in("ann@example.com", PASSWORD), commit);
            assert_refused(&answer);
        }
        assert_eq!(world.sessions().await, 0);
    }

    async fn a_stored_hash_that_cannot_be_used_lets_nobody_in(world: World) {
        let wrong = world.log_in("nobody@example.com", PASSWORD).await;
        for (number, hash) in UNUSABLE.iter().enumerate() {
            let email = format!("ann{number}@example.com");
            let id = world.inherits(&email, hash).await;
            for password in [PASSWORD, "opal-lantern-43", "!"] {
                let answer = world.log_in(&email, password).await;
                assert_eq!(telling(&answer), telling(&wrong), "{hash}");
            }
            assert_eq!(world.hash_of(id).await, *hash);
        }
        assert_eq!(world.sessions().await, 0);
    }
}
