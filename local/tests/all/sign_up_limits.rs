//! How often a source may sign up.

use shared::limits::sign_up_bucket;

use serde_json::json;

use crate::{
    limits::{keys, retry_after},
    world::{Answer, Door, PASSWORD, Request, World},
};

const HOME: &str = "198.51.100.7";

#[track_caller]
fn assert_too_many(answer: &Answer) {
    answer.assert_detail(429, "Too many sign-ups");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!((1..=3600).contains(&retry_after(answer)), "{answer:?}");
}

fn sign_up(name: &str) -> Request {
    Request::post("/users/")
        .json(&json!({ "email": format!("{name}@example.com"), "password": PASSWORD }))
}

impl World {
    async fn users(&self) -> i64 {
        self.number("select count(*) from users").await
    }
}

at_both_doors! {
    async fn a_source_signs_up_so_often_an_hour(world: World) {
        let world = world.configured(|config| config.sign_ups_per_hour = 3).await;
        for name in ["ann", "bob", "carla"] {
            assert_eq!(world.send(sign_up(name)).await.status, 201);
        }
        for name in ["dora", "ann"] {
            assert_too_many(&world.send(sign_up(name)).await);
        }
        assert_eq!(world.users().await, 3);
        // Where it logs in is another matter.
        assert_eq!(world.log_in("ann@example.com", PASSWORD).await.status, 200);

        let ends = "update attempts set window_ends_at = now() + interval '30 minutes'";
        world.sql.batch_execute(ends).await.unwrap();
        let refused = world.send(sign_up("dora")).await;
        assert!((1_700..=1_800).contains(&retry_after(&refused)));
        world.sql.batch_execute("update attempts set window_ends_at = now()").await.unwrap();
        assert_eq!(world.send(sign_up("dora")).await.status, 201);
        let anew = "select count(*) from attempts
                    where attempts = 1
                      and window_ends_at between now() + interval '59 minutes'
                                             and now() + interval '1 hour'";
        assert_eq!(world.number(anew).await, 1);
    }

    async fn of_many_sign_ups_at_once_no_more_get_through(world: World) {
        let world = world.configured(|config| config.sign_ups_per_hour = 3).await;
        let names: Vec<_> = (0..10).map(|number| format!("ann{number}")).collect();
        let answers = world.send_at_once(names.iter().map(|name| sign_up(name))).await;
        let (made, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 201);
        for answer in &refused {
            assert_too_many(answer);
        }
        assert_eq!((made.len(), refused.len()), (3, 7));
        assert_eq!(world.users().await, 3);
    }

    async fn an_address_that_is_taken_counts_and_one_that_is_none_does_not(world: World) {
        let world = world.configured(|config| config.sign_ups_per_hour = 3).await;
        assert_eq!(world.send(sign_up("ann")).await.status, 201);
        for _ in 0..5 {
            assert_eq!(world.send(sign_up("ann@")).await.status, 422);
        }
        // Whoever tries which addresses have accounts is limited, too.
        for _ in 0..2 {
            assert_eq!(world.send(sign_up("ann")).await.status, 409);
        }
        assert_too_many(&world.send(sign_up("ann")).await);
        assert_too_many(&world.send(sign_up("bob")).await);
    }

    async fn where_there_is_no_limit_nothing_is_counted(world: World) {
        let world = world.configured(|config| config.sign_ups_per_hour = 0).await;
        for name in ["ann", "bob", "carla"] {
            assert_eq!(world.send(sign_up(name)).await.status, 201);
        }
        assert_eq!(world.number("select count(*) from attempts").await, 0);
    }

    async fn what_a_client_claims_of_its_source_brings_no_more_accounts(world: World) {
        let world = world.configured(|config| config.sign_ups_per_hour = 1).await;
        let claimed = |name| sign_up(name).header("x-forwarded-for", HOME).header("forwarded", "for=[::1]");
        assert_eq!(world.send(sign_up("ann")).await.status, 201);
        assert_too_many(&world.send(claimed("bob")).await);
    }
}

#[tokio::test]
async fn a_source_is_a_whole_ipv4_address_or_half_an_ipv6_one() {
    for door in [Door::Event, Door::RestEvent] {
        let world = World::with(door, |config| config.sign_ups_per_hour = 1).await;
        let made = [
            "198.51.100.7",
            "198.51.100.8",
            "2001:db8:1:2::1",
            "2001:db8:1:3::1",
        ];
        for (number, source) in made.iter().enumerate() {
            let answer = world
                .send(sign_up(&format!("ann{number}")).from(source))
                .await;
            assert_eq!(answer.status, 201, "{source}");
        }
        for source in [
            "198.51.100.7",
            "::ffff:198.51.100.8",
            "2001:db8:1:2:f::",
            "2001:db8:1:3::2",
        ] {
            assert_too_many(&world.send(sign_up("bob").from(source)).await);
        }
        // Whoever comes from nowhere shares one count.
        assert_eq!(
            world.send(sign_up("carla").without_source()).await.status,
            201
        );
        assert_too_many(&world.send(sign_up("dora").without_source()).await);
        assert_eq!(
            world.attempts(&sign_up_bucket(&keys(), None)).await,
            Some(1)
        );
    }
}

#[tokio::test]
async fn a_hundred_sign_ups_an_hour_are_plenty() {
    let world = World::new(Door::Event).await;
    let by_source = sign_up_bucket(&keys(), Some(HOME.parse().unwrap()));
    world.suppose_attempts(&by_source, 99).await;
    assert_eq!(world.send(sign_up("ann").from(HOME)).await.status, 201);
    assert_too_many(&world.send(sign_up("bob").from(HOME)).await);
}
