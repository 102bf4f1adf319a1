//! What an attempt leaves behind: a wrong password counts, and nothing else does, however the request ends.

use std::time::Duration;

use axum::{body::Body, http};
use futures_util::future::join_all;
use lambda_http::tower::ServiceExt;
use serde_json::json;
use shared::{App, app};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    accounts::farewell,
    limits::{WRONG, assert_too_many, buckets, keys, retry_after},
    login::assert_refused,
    world::{Answer, Door, Function, PASSWORD, Person, World, connect, credentials, pair},
};

/// How many attempts are in flight, counted once for each bucket.
const IN_FLIGHT: &str = "
    select count(*) from attempts, unnest(in_flight) as until where until > clock_timestamp()";

impl World {
    /// Waits until so many are in flight.
    async fn until_in_flight(&self, is_it: impl Fn(i64) -> bool) {
        let watcher = connect(self.database()).await;
        let watch =
            async { while !is_it(watcher.query_one(IN_FLIGHT, &[]).await.unwrap().get(0)) {} };
        timeout(Duration::from_secs(10), watch)
            .await
            .expect("so many are in flight");
    }

    /// How many failed for an address from where the world's requests come.
    async fn failed(&self, address: &str) -> i32 {
        let both = buckets(address, &self.usual_source().to_string()).address_and_source;
        self.attempts(&both).await.unwrap_or(0)
    }
}

/// Asserts the answer to whoever has to wait for others, which is all that is wrong.
#[track_caller]
fn assert_crowded(answer: &Answer) {
    assert_too_many(answer);
    assert_eq!(retry_after(answer), 1);
}

/// Somebody whose logins wait for a lock, once they were found right.
async fn held(world: &World) -> (Person, tokio_postgres::Client) {
    let ann = world.join("ann").await;
    let other = connect(world.database()).await;
    other
        .batch_execute("begin; select from users for no key update")
        .await
        .unwrap();
    (ann, other)
}

at_both_doors! {
    async fn right_logins_at_once_get_in_or_wait_a_second(world: World) {
        let ann = world.join("ann").await;
        let logins = || (0..32).map(|_| credentials(&ann.email, PASSWORD));
        let mut opened = 0;
        for answer in world.send_at_once(logins()).await {
            if answer.status == 200 {
                opened += 1;
            } else {
                assert_crowded(&answer);
            }
        }
        assert!(opened >= 10, "{opened}");
        assert_eq!(world.failed(&ann.email).await, 0);
        assert_eq!(world.number(IN_FLIGHT).await, 0);
        pair(&world.log_in(&ann.email, PASSWORD).await);
    }

    async fn of_wrong_ones_among_right_ones_no_more_than_ten_are_judged(world: World) {
        let ann = world.join("ann").await;
        let logins = (0..40).map(|number| {
            credentials(&ann.email, if number % 2 == 0 { WRONG } else { PASSWORD })
        });
        let answers = world.send_at_once(logins).await;
        let mut since_good = 0;
        for answer in &answers {
            match answer.status.as_u16() {
                200 => (),
                401 => since_good += 1,
                _ => assert_too_many(answer),
            }
        }
        // A good one clears the count, so that only what follows it is bounded; the source's count is not cleared.
        assert!(since_good <= 20);
        let source = buckets(&ann.email, &world.usual_source().to_string()).source.unwrap();
        assert_eq!(world.attempts(&source).await, Some(since_good));
    }

    async fn whoever_is_in_flight_is_in_the_way_and_not_failed(world: World) {
        let (ann, other) = held(&world).await;
        let right = join_all((0..10).map(|_| world.log_in(&ann.email, PASSWORD)));
        let then = async {
            world.until_in_flight(|count| count == 30).await;
            assert_crowded(&world.log_in(&ann.email, PASSWORD).await);
            assert_crowded(&world.log_in("ANN@example.com", WRONG).await);
            assert_crowded(&world.send(farewell(&ann.access_token, PASSWORD)).await);
            assert_refused(&world.log_in("nobody@example.com", WRONG).await);
            other.batch_execute("commit").await.unwrap();
        };
        let (answers, ()) = tokio::join!(right, then);
        for answer in &answers {
            pair(answer);
        }
        assert_eq!(world.failed(&ann.email).await, 0);
        assert_eq!(world.number(IN_FLIGHT).await, 0);
    }

    async fn a_login_that_is_a_503_is_not_counted(world: World) {
        let (ann, other) = held(&world).await;
        for _ in 0..12 {
            let cut = async {
                world.until_waiting(1).await;
                let cut = "select pg_terminate_backend(pid, 10000) from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
                world.rows(cut, &[]).await;
            };
            let (answer, ()) = tokio::join!(world.log_in(&ann.email, PASSWORD), cut);
            answer.assert_detail(503, "Service Unavailable");
            world.until_in_flight(|count| count == 0).await;
        }
        other.batch_execute("commit").await.unwrap();
        assert_eq!(world.failed(&ann.email).await, 0);
        pair(&world.log_in(&ann.email, PASSWORD).await);
    }

    async fn a_wrong_password_that_could_not_be_counted_is_not_called_wrong(world: World) {
        world.join("ann").await;
        let lose = "
            create function refuse() returns trigger language plpgsql as $$
            begin
                if new.attempts > old.attempts then
                    raise 'no space' using errcode = 'disk_full';
                end if;
                return new;
            end $$;
            create trigger refuse before update on attempts for each row execute function refuse()";
        world.sql.batch_execute(lose).await.unwrap();
        for address in ["ann@example.com", "nobody@example.com"] {
            world.log_in(address, WRONG).await.assert_detail(503, "Service Unavailable");
        }
        pair(&world.log_in("ann@example.com", PASSWORD).await);
    }

    async fn an_attempt_that_nobody_ended_stops_counting_by_itself(world: World) {
        world.sign_up("ann@example.com", PASSWORD).await;
        let both = buckets("ann@example.com", &world.usual_source().to_string()).address_and_source;
        let leave = "
            insert into attempts (bucket, attempts, window_ends_at, in_flight)
            values ($1, 0, now(), array_fill(clock_timestamp() + interval '20 seconds', array[10]))";
        world.rows(leave, &[&both]).await;
        assert_crowded(&world.log_in("ann@example.com", PASSWORD).await);
        let pass = "update attempts set in_flight = array_fill(clock_timestamp(), array[10]) where bucket = $1";
        world.rows(pass, &[&both]).await;
        assert_refused(&world.log_in("ann@example.com", WRONG).await);
        assert_eq!(world.attempts(&both).await, Some(1));
        pair(&world.log_in("ann@example.com", PASSWORD).await);
    }

    async fn sign_ups_in_flight_are_in_the_way_and_not_counted(world: World) {
        let world = world.configured(|config| config.sign_ups_per_hour = 2).await;
        let other = connect(world.database()).await;
        other.batch_execute("begin; lock table users in share mode").await.unwrap();
        let two = join_all([world.sign_up("ann@example.com", PASSWORD), world.sign_up("bob@example.com", PASSWORD)]);
        let then = async {
            world.until_waiting(2).await;
            let crowded = world.sign_up("carla@example.com", PASSWORD).await;
            crowded.assert_detail(429, "Too many sign-ups");
            assert_eq!(retry_after(&crowded), 1);
            let cut = "select pg_terminate_backend(pid, 10000) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
            world.rows(cut, &[]).await;
            other.batch_execute("commit").await.unwrap();
        };
        for answer in tokio::join!(two, then).0 {
            answer.assert_detail(503, "Service Unavailable");
        }
        world.until_in_flight(|count| count == 0).await;
        for name in ["ann", "bob"] {
            assert_eq!(world.sign_up(&format!("{name}@example.com"), PASSWORD).await.status, 201);
        }
        let refused = world.sign_up("carla@example.com", PASSWORD).await;
        refused.assert_detail(429, "Too many sign-ups");
        assert!(retry_after(&refused) > 3000);
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_is_not_counted_unless_its_password_was_wrong() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    for _ in 0..12 {
        let login = world.log_in(&ann.email, PASSWORD);
        tokio::select! {
            biased;
            () = world.until_in_flight(|count| count > 0) => (),
            answer = login => { pair(&answer); }
        }
        world.until_in_flight(|count| count == 0).await;
    }
    assert_eq!(world.failed(&ann.email).await, 0);
    // Whoever leaves before they hear that it was wrong has tried all the same, once it is being looked at.
    let login = world.log_in(&ann.email, WRONG);
    tokio::select! {
        biased;
        () = world.until_in_flight(|count| count > 0) => (),
        answer = login => assert_refused(&answer),
    }
    world.until_in_flight(|count| count == 0).await;
    assert!(world.failed(&ann.email).await <= 1);
    pair(&world.log_in(&ann.email, PASSWORD).await);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_not_counted() {
    let world = World::new(Door::Http).await;
    let ann = world.join("ann").await;
    let form = "username=ann%40example.com&password=opal-lantern-42";
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    for _ in 0..12 {
        let mut client = TcpStream::connect(world.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        // It is in flight, or answered before anybody saw it.
        tokio::select! {
            biased;
            () = world.until_in_flight(|count| count > 0) => (),
            read = client.read_u8() => assert_eq!(read.unwrap(), b'H'),
        }
        drop(client);
    }
    world.until_in_flight(|count| count == 0).await;
    assert_eq!(world.failed(&ann.email).await, 0);
    pair(&world.log_in(&ann.email, PASSWORD).await);
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_an_attempt_in_flight_for_as_long_as_a_request_may_take() {
    let world = World::new(Door::Event).await;
    let (ann, other) = held(&world).await;
    let function = Function::start("auth", world.database(), &[]).await;
    {
        let login = function.send(credentials(&ann.email, PASSWORD));
        tokio::select! {
            answer = login => panic!("{answer:?}"),
            () = world.until_waiting(1) => (),
        }
    }
    function.kill().await;
    let ends = "select extract(epoch from max(until) - clock_timestamp())::bigint from attempts, unnest(in_flight) as until";
    assert!((1..=20).contains(&world.number(ends).await));
    other.batch_execute("commit").await.unwrap();
    assert_eq!(world.failed(&ann.email).await, 0);
    pair(&world.log_in(&ann.email, PASSWORD).await);
}

/// A service without a permit hashes nothing: whatever it answers cost no hash.
#[tokio::test]
async fn refused_sign_ups_and_logins_cost_no_hash() {
    let world = World::with(Door::Event, |config| config.sign_ups_per_hour = 3).await;
    let router = users::router().merge(auth::router());
    let served = app::service(router, App::new(&world.config, 0).unwrap());
    let send = async |target: &str, content_type: &str, body: String| {
        let request = http::Request::post(target)
            .header("content-type", content_type)
            .body(Body::from(body))
            .unwrap();
        served.clone().oneshot(request).await.unwrap()
    };
    let sign_up_bucket = shared::limits::sign_up_bucket(&keys(), None);
    world.suppose_attempts(&sign_up_bucket, 3).await;
    let both =
        shared::limits::LoginBuckets::new(&keys(), "ann@example.com", None).address_and_source;
    world.suppose_attempts(&both, 10).await;
    for number in 0..100 {
        let account = json!({ "email": format!("ann{number}@example.com"), "password": PASSWORD });
        let sign_up = send("/users", "application/json", account.to_string()).await;
        let form = "username=ann%40example.com&password=opal-lantern-42".to_owned();
        let login = send("/auth/login", "application/x-www-form-urlencoded", form).await;
        assert_eq!(
            (sign_up.status().as_u16(), login.status().as_u16()),
            (429, 429)
        );
    }
    assert_eq!(world.attempts(&sign_up_bucket).await, Some(3));
}
