//! Addresses without an account: each takes the time of some account's, whatever mix of hashes there is.

use std::collections::HashMap;

use crate::{
    limits::{WRONG, buckets},
    login::assert_refused,
    stored_hashes::OUTDATED,
    world::{Door, Function, PASSWORD, World, credentials},
};

const LIVE: &str = "$argon2id$v=19$m=19456,t=2,p=1";
const OLD: &str = "$argon2id$v=19$m=65536,t=3,p=4";
/// A hash with the live parameters, of no password.
const LIVE_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$ZaQ80nPRS8i0iR4OMbVv5LoHElRU3KxB8/h1+ilTv9k";

impl World {
    async fn adopts(&self, accounts: i32, hash: &str) {
        let insert = "insert into users (email, password_hash)
                      select gen_random_uuid() || '@example.com', $2 from generate_series(1, $1)";
        self.rows(insert, &[&accounts, &hash]).await;
    }

    /// What each of two hundred addresses without an account looks like.
    async fn looks(&self) -> HashMap<String, Option<String>> {
        let mut looks = HashMap::new();
        for number in 0..200 {
            let address = format!("nobody{number}@example.com");
            let place = buckets(&address, "192.0.2.1").place;
            let row = self.rows("select stand_in_parameters($1)", &[&place]).await;
            looks.insert(address, row[0].get(0));
        }
        looks
    }
}

/// How many of a hundred addresses look like an old account.
fn old(looks: &HashMap<String, Option<String>>) -> usize {
    let is_old = |look: &&Option<String>| look.as_deref() == Some(OLD);
    looks.values().filter(is_old).count() * 100 / looks.len()
}

#[tokio::test]
async fn addresses_without_an_account_look_like_the_mix_that_is_there() {
    let world = World::new(Door::Event).await;
    assert!(world.looks().await.values().all(Option::is_none));
    world.adopts(100, OUTDATED[0]).await;
    assert_eq!(old(&world.looks().await), 100);
    world.adopts(100, LIVE_HASH).await;
    let half = world.looks().await;
    assert!((35..=65).contains(&old(&half)), "{half:?}");
    world.adopts(300, LIVE_HASH).await;
    let fewer = world.looks().await;
    assert!((8..=32).contains(&old(&fewer)), "{fewer:?}");
    // Whoever signs up makes no address look older, and neither does whoever logs in.
    let replace = "update users set password_hash = $1 where password_hash = $2 and id % 2 = 0";
    world.rows(replace, &[&LIVE_HASH, &OUTDATED[0]]).await;
    let after_logins = world.looks().await;
    for (before, after) in [(&half, &fewer), (&fewer, &after_logins)] {
        for (address, look) in after {
            let was = &before[address];
            assert!(
                look == was || look.as_deref() == Some(LIVE),
                "{address}: {was:?} {look:?}"
            );
        }
    }
    assert!(old(&after_logins) < old(&fewer));
}

#[tokio::test]
async fn hashes_that_cannot_be_used_tell_nothing_and_break_nothing() {
    let world = World::new(Door::Event).await;
    for hash in [
        PASSWORD,
        "!",
        "",
        "$",
        "$2b$12$R9h/cIPz0gi",
        "$argon2id$",
        "$argon2id$v=19$m=1,t=1,p=1$x$y",
    ] {
        world.rows("delete from users", &[]).await;
        world.adopts(1, hash).await;
        for look in world.looks().await.into_values().flatten() {
            assert_eq!(look, "$argon2id$v=19$m=1,t=1,p=1", "{hash}");
        }
        assert_refused(&world.log_in("nobody@example.com", WRONG).await);
    }
}

/// The memory that a login takes is the one trace of its parameters that is no measurement of time.
#[tokio::test]
async fn a_login_by_an_address_without_an_account_costs_what_it_looks_like() {
    const MIB: u64 = 1024 * 1024;
    let world = World::new(Door::Event).await;
    let function = Function::start("auth", world.database(), &[]).await;
    let fail = async || {
        function
            .send(credentials("nobody@example.com", WRONG))
            .await
    };
    world.adopts(1, LIVE_HASH).await;
    assert_refused(&fail().await);
    let live = function.peak_memory();
    assert_refused(&fail().await);
    assert!(function.peak_memory() < live + 8 * MIB);
    world.rows("delete from users", &[]).await;
    world.adopts(1, OUTDATED[0]).await;
    assert_refused(&fail().await);
    let peak = function.peak_memory();
    assert!((40..80).contains(&((peak - live) / MIB)), "{live} {peak}");
    // It was given back, and is taken again.
    for _ in 0..4 {
        assert_refused(&fail().await);
    }
    assert!(function.peak_memory() < peak + 8 * MIB);
}

#[tokio::test]
async fn five_hundred_logins_take_the_memory_of_one() {
    const MIB: u64 = 1024 * 1024;
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    let function = Function::start("auth", world.database(), &[]).await;
    let log_in = async || {
        let answer = function.send(credentials(&ann.email, PASSWORD)).await;
        assert_eq!(answer.status, 200);
    };
    log_in().await;
    let one = function.peak_memory();
    for _ in 0..500 {
        log_in().await;
    }
    let peak = function.peak_memory();
    assert!(peak < one + 16 * MIB, "{one} {peak}");
}
