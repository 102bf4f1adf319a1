//! Where logins come from: what counts as one source, and which sources nobody can be locked out of.

use shared::{config::Secret, limits::LoginBuckets, tokens::Keys};

use crate::{
    accounts,
    limits::{WRONG, assert_too_many, buckets, keys},
    login::assert_refused,
    world::{Answer, Door, PASSWORD, World, credentials, pair},
};

const HOME: &str = "198.51.100.7";
const ELSEWHERE: &str = "203.0.113.9";

impl World {
    async fn fails_from(&self, source: &str, address: &str) -> Answer {
        self.send(credentials(address, WRONG).from(source)).await
    }

    async fn logs_in_from(&self, source: &str, address: &str) -> Answer {
        self.send(credentials(address, PASSWORD).from(source)).await
    }
}

async fn at_each_gateway(test: impl AsyncFn(World)) {
    for door in [Door::Event, Door::RestEvent] {
        test(World::new(door).await).await;
    }
}

#[tokio::test]
async fn an_address_has_ten_from_each_source() {
    at_each_gateway(async |world| {
        for source in [HOME, ELSEWHERE] {
            for _ in 0..10 {
                assert_refused(&world.fails_from(source, "ann@example.com").await);
            }
            assert_too_many(&world.fails_from(source, "ann@example.com").await);
        }
        assert_refused(&world.fails_from("192.0.2.77", "ann@example.com").await);
    })
    .await;
}

#[tokio::test]
async fn a_source_that_has_used_up_its_hundred_is_no_bar_to_another() {
    let world = World::new(Door::Event).await;
    world.sign_up("ann@example.com", PASSWORD).await;
    let by_source = buckets("", HOME).source.unwrap();
    world.suppose_attempts(&by_source, 100).await;
    assert_too_many(&world.logs_in_from(HOME, "ann@example.com").await);
    pair(&world.logs_in_from(ELSEWHERE, "ann@example.com").await);
}

#[tokio::test]
async fn an_address_has_a_hundred_from_everywhere() {
    let world = World::new(Door::Event).await;
    world.sign_up("ann@example.com", PASSWORD).await;
    for address in ["ann@example.com", "nobody@example.com"] {
        let by_address = buckets(address, HOME).address;
        world.suppose_attempts(&by_address, 99).await;
        assert_refused(&world.fails_from(HOME, address).await);
        assert_too_many(&world.fails_from(ELSEWHERE, address).await);
        assert_too_many(&world.logs_in_from("192.0.2.77", address).await);
        assert_eq!(world.attempts(&by_address).await, Some(100));
    }
    assert_eq!(world.number("select count(*) from sessions").await, 0);
}

#[tokio::test]
async fn strangers_cannot_lock_anybody_out_of_where_they_have_logged_in() {
    let world = World::new(Door::Event).await;
    for name in ["ann", "bob"] {
        world
            .sign_up(&format!("{name}@example.com"), PASSWORD)
            .await;
    }
    pair(&world.logs_in_from(HOME, "ann@example.com").await);
    for address in ["ann@example.com", "bob@example.com"] {
        world
            .suppose_attempts(&buckets(address, HOME).address, 5000)
            .await;
    }
    pair(&world.logs_in_from(HOME, "ann@example.com").await);
    assert_refused(&world.fails_from(HOME, "ann@example.com").await);
    pair(&world.logs_in_from(HOME, "ANN@example.com").await);
    assert_too_many(&world.logs_in_from(ELSEWHERE, "ann@example.com").await);
    // It is hers alone.
    assert_too_many(&world.logs_in_from(HOME, "bob@example.com").await);
}

#[tokio::test]
async fn a_source_is_known_for_thirty_days_after_the_last_login() {
    let world = World::new(Door::Event).await;
    world.sign_up("ann@example.com", PASSWORD).await;
    pair(&world.logs_in_from(HOME, "ann@example.com").await);
    world
        .suppose_attempts(&buckets("ann@example.com", HOME).address, 100)
        .await;
    let was = async |ago: &str| {
        let update = format!("update known_sources set last_login_at = now() - interval '{ago}'");
        world.sql.batch_execute(&update).await.unwrap();
    };
    was("29 days 23 hours 59 minutes").await;
    // This login begins the thirty days anew.
    pair(&world.logs_in_from(HOME, "ann@example.com").await);
    let anew = "select count(*) from known_sources where last_login_at > now() - interval '1 hour'";
    assert_eq!(world.number(anew).await, 1);
    was("30 days").await;
    assert_too_many(&world.logs_in_from(HOME, "ann@example.com").await);
}

#[tokio::test]
async fn a_source_stays_known_while_the_key_is_rotated() {
    let world = World::new(Door::Event).await;
    world.sign_up("ann@example.com", PASSWORD).await;
    pair(&world.logs_in_from(HOME, "ann@example.com").await);
    let mut world = world;
    for (key, is_known) in [
        ("the second", true),
        ("the third", true),
        ("a stranger", false),
    ] {
        world = world
            .configured(|config| {
                let old = std::mem::replace(
                    &mut config.signing.key,
                    Secret::new(format!("{key} signing key, 32 bytes or more")),
                );
                config.signing.previous_key = is_known.then_some(old);
            })
            .await;
        let address = LoginBuckets::new(
            &Keys::new(&world.config.signing).set().await.unwrap(),
            "ann@example.com",
            Some(HOME.parse().unwrap()),
        )
        .address;
        world.suppose_attempts(&address, 100).await;
        let answer = world.logs_in_from(HOME, "ann@example.com").await;
        if is_known {
            pair(&answer);
        } else {
            assert_too_many(&answer);
        }
        assert_too_many(&world.logs_in_from(ELSEWHERE, "ann@example.com").await);
    }
}

#[tokio::test]
async fn where_somebody_logged_in_from_goes_with_the_account() {
    let world = World::new(Door::Event).await;
    let (ann, _) = (world.join("ann").await, world.join("bob").await);
    let known = "select count(*) from known_sources";
    assert_eq!(world.number(known).await, 2);
    let farewell = accounts::farewell(&ann.access_token, PASSWORD);
    assert_eq!(world.send(farewell).await.status, 204);
    assert_eq!(world.number(known).await, 1);
    let whose = world
        .rows(
            "select email from users join known_sources on user_id = id",
            &[],
        )
        .await;
    assert_eq!(whose[0].get::<_, &str>(0), "bob@example.com");
}

#[tokio::test]
async fn a_failed_login_makes_no_source_known() {
    let world = World::new(Door::Event).await;
    world.sign_up("ann@example.com", PASSWORD).await;
    assert_refused(&world.fails_from(HOME, "ann@example.com").await);
    assert_refused(&world.fails_from(HOME, "nobody@example.com").await);
    assert_eq!(world.number("select count(*) from known_sources").await, 0);
}

#[tokio::test]
async fn a_known_source_has_the_other_two_limits() {
    let world = World::new(Door::Event).await;
    world.sign_up("ann@example.com", PASSWORD).await;
    pair(&world.logs_in_from(HOME, "ann@example.com").await);
    let counted_by = buckets("ann@example.com", HOME);
    world
        .suppose_attempts(&counted_by.address_and_source, 10)
        .await;
    assert_too_many(&world.logs_in_from(HOME, "ann@example.com").await);
    world
        .suppose_attempts(&counted_by.address_and_source, 0)
        .await;
    world
        .suppose_attempts(counted_by.source.as_ref().unwrap(), 100)
        .await;
    assert_too_many(&world.logs_in_from(HOME, "ann@example.com").await);
}

#[tokio::test]
async fn the_first_half_of_an_ipv6_address_is_one_source() {
    at_each_gateway(async |world| {
        for host in 0..10 {
            let source = format!("2001:db8:1:2:{host}::{host}");
            assert_refused(&world.fails_from(&source, "ann@example.com").await);
        }
        for source in ["2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:0DB8:0001:0002::"] {
            assert_too_many(&world.fails_from(source, "ann@example.com").await);
        }
        for source in ["2001:db8:1:3::1", "2001:db8:2:2::1", "2001:db9:1:2::1"] {
            assert_refused(&world.fails_from(source, "ann@example.com").await);
        }
    })
    .await;
}

#[tokio::test]
async fn an_ipv4_address_is_one_source_however_it_is_written() {
    let world = World::new(Door::Event).await;
    for number in 0..10 {
        let source = ["198.51.100.7", "::ffff:198.51.100.7", "::ffff:c633:6407"][number % 3];
        assert_refused(&world.fails_from(source, "ann@example.com").await);
    }
    assert_too_many(
        &world
            .fails_from("::ffff:198.51.100.7", "ann@example.com")
            .await,
    );
    assert_too_many(&world.fails_from(HOME, "ann@example.com").await);
    assert_refused(
        &world
            .fails_from("::ffff:198.51.100.8", "ann@example.com")
            .await,
    );
    assert_refused(&world.fails_from("198.51.100.8", "ann@example.com").await);
}

#[tokio::test]
async fn where_no_source_is_named_an_address_still_has_ten() {
    at_each_gateway(async |world| {
        world.sign_up("ann@example.com", PASSWORD).await;
        let wrong = || credentials("ann@example.com", WRONG);
        for number in 0..10 {
            // What is no address is no source either.
            let request = if number % 2 == 0 {
                wrong().without_source()
            } else {
                wrong().from("unknown")
            };
            assert_refused(&world.send(request).await);
        }
        let right = || credentials("ann@example.com", PASSWORD);
        assert_too_many(&world.send(right().without_source()).await);
        assert_too_many(&world.send(right().from("unknown")).await);
        // There is no count of a source that nobody named; the sign-up has its own.
        assert_eq!(
            world
                .number("select count(*) from attempts where attempts > 0")
                .await,
            3
        );
        pair(&world.send(right().from(HOME)).await);
    })
    .await;
}

#[tokio::test]
async fn where_no_source_is_named_an_address_still_has_a_hundred_from_everywhere() {
    let world = World::new(Door::Event).await;
    world.sign_up("ann@example.com", PASSWORD).await;
    let nowhere = LoginBuckets::new(&keys(), "ann@example.com", None);
    world.suppose_attempts(&nowhere.address, 99).await;
    let right = || credentials("ann@example.com", PASSWORD).without_source();
    assert_refused(
        &world
            .send(credentials("ann@example.com", WRONG).without_source())
            .await,
    );
    assert_too_many(&world.send(right()).await);
    world.suppose_attempts(&nowhere.address, 50).await;
    pair(&world.send(right()).await);
    let sources = world.rows("select source is null from sessions", &[]).await;
    assert_eq!(
        sources.iter().map(|row| row.get(0)).collect::<Vec<bool>>(),
        [true]
    );
}
