//! Taking over the database of the FastAPI service: nothing is lost, nobody is logged out, and what is not as
//! expected stays as it is.

mod old;
mod races;
mod refusals;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Door, PASSWORD, Request, World, pair};
use old::{BOBS, EXPIRED, FORMS, REVOKED, access_token};

/// The number of the last migration.
async fn version(world: &World) -> i64 {
    world
        .number("select max(version)::bigint from refinery_schema_history")
        .await
}

async fn adopted(door: Door) -> World {
    let world = World::old(door).await;
    world.adopt().await.unwrap();
    world
}

/// A test at both doors, on a database that was just adopted.
macro_rules! after_adoption {
    ($(async fn $name:ident($world:ident: World) $body:block)*) => {$(
        #[tokio::test]
        async fn $name() {
            for door in [Door::Http, Door::Event] {
                let $world = adopted(door).await;
                $body
            }
        }
    )*};
}

#[tokio::test]
async fn a_survey_tells_what_is_there_and_changes_nothing() {
    let world = World::old(Door::Event).await;
    let before = world.whole_dump().await;
    let mut survey = world.survey().await;
    let size = survey["found"]["size_bytes"].take().as_i64().unwrap();
    assert!(size > 100_000, "{size}");
    let found = json!({
        "rows": { "users": 6, "posts": 5, "votes": 5, "refresh_tokens": 39 },
        "sessions": 37,
        "tokens_dropped": 2,
        "colliding_addresses": { "count": 0, "ids": [] },
        // Of the second only the domain is not as sign-up would store it.
        "odd_addresses": { "count": 5, "ids": [2, 3, 4, 5, 6] },
        "titles_over_limit": { "count": 1, "ids": [4] },
        "empty_titles": { "count": 1, "ids": [3] },
        "contents_over_limit": { "count": 1, "ids": [5] },
        "posts_over_answer": { "count": 0, "ids": [] },
        "size_bytes": null,
        "estimated_seconds": 1,
        "run_from": "anywhere",
    });
    assert_eq!(
        survey,
        json!({ "can_proceed": true, "reasons": [], "found": found })
    );
    assert_eq!(world.whole_dump().await, before);
}

#[tokio::test]
async fn an_adoption_tells_what_it_took_over_and_a_second_one_that_nothing_is_left() {
    let world = World::old(Door::Event).await;
    let report = world.adopt().await.unwrap();
    let version = version(&world).await;
    assert_eq!(
        report,
        json!({
            "taken_over": { "users": 6, "posts": 5, "votes": 5, "sessions": 37 },
            "seconds": report["seconds"],
            "version": version,
        })
    );
    let after = world.whole_dump().await;
    let nothing = json!({
        "nothing_to_do": "The database has this service's schema already.",
        "version": version,
    });
    assert_eq!(world.adopt().await, Ok(nothing.clone()));
    assert_eq!(world.survey().await, nothing);
    let migrated = json!({ "applied": [], "version": version });
    assert_eq!(
        world.order(json!({ "action": "migrate" })).await,
        Ok(migrated)
    );
    assert_eq!(world.whole_dump().await, after);
}

#[tokio::test]
async fn an_adopted_schema_is_that_of_a_fresh_installation() {
    let fresh = World::new(Door::Event).await;
    for world in [
        World::old(Door::Event).await,
        World::old_and_empty(Door::Event).await,
    ] {
        world.adopt().await.unwrap();
        assert_eq!(world.schema().await, fresh.schema().await);
        let history =
            "select json_agg(json_build_array(version, name, checksum) order by version)::text
                       from refinery_schema_history";
        let history_of =
            async |world: &World| world.rows(history, &[]).await[0].get::<_, String>(0);
        assert_eq!(history_of(&world).await, history_of(&fresh).await);
        let status = world.order(json!({ "action": "status" })).await.unwrap();
        assert_eq!(status["pending"], json!([]));
        world
            .get("/health")
            .await
            .assert(200, &json!({ "status": "ok" }));
    }
}

#[tokio::test]
async fn a_fresh_installation_has_nothing_to_adopt() {
    let world = World::new(Door::Event).await;
    let nothing = json!({
        "nothing_to_do": "The database has this service's schema already.",
        "version": version(&world).await,
    });
    assert_eq!(world.adopt().await, Ok(nothing));
}

after_adoption! {
    async fn everybody_logs_in_with_the_password_and_the_address_that_they_had(world: World) {
        for (id, address) in [
            (1, "ANN@example.com"),
            (2, "bob.lee@example.com"),
            (3, " cat@example.com"),
            (4, "dan@xn--bcher-kva.example"),
            (5, "erin@BÜCHER.example"),
            (6, "no-at-sign"),
        ] {
            let (access_token, _) = pair(&world.log_in(address, PASSWORD).await);
            let me = world.send(Request::get("/users/me").bearer(&access_token)).await;
            assert_eq!(me.json()["id"], id, "{address}");
            let hash: String = world
                .rows("select password_hash from users where id = $1", &[&i64::from(id)])
                .await[0]
                .get(0);
            assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{address} {hash}");
            assert_eq!(world.log_in(address, "opal-lantern-43").await.status, 401, "{address}");
        }
    }

    async fn an_odd_address_and_its_normal_form_are_two_accounts(world: World) {
        let password = "another-lantern-43";
        for (id, odd, normal) in [
            (3, " cat@example.com", "cat@example.com"),
            (4, "dan@xn--bcher-kva.example", "dan@bücher.example"),
        ] {
            assert_eq!(world.log_in(normal, PASSWORD).await.status, 401, "{normal}");
            assert_eq!(world.sign_up(normal, password).await.status, 201, "{normal}");
            assert_eq!(world.log_in(normal, password).await.status, 200, "{normal}");
            let (access_token, _) = pair(&world.log_in(odd, PASSWORD).await);
            let me = world.send(Request::get("/users/me").bearer(&access_token)).await;
            assert_eq!(me.json()["id"], id, "{odd}");
        }
    }

    async fn every_live_token_buys_a_pair_once(world: World) {
        let count = "select count(*) from refresh_tokens where spent_at is null";
        assert_eq!(world.number(count).await, 37);
        for token in FORMS.into_iter().chain([BOBS]) {
            let (access_token, next) = pair(&world.refresh(token).await);
            assert!(world.accepts(&access_token).await, "{token}");
            let (_, next) = pair(&world.refresh(&next).await);
            // One that was spent ends its session, as any does.
            assert_eq!(world.refresh(token).await.status, 401, "{token}");
            assert_eq!(world.refresh(&next).await.status, 401, "{token}");
        }
        for number in 1..=30 {
            pair(&world.refresh(&format!("anns-token-{number}")).await);
        }
    }

    async fn dead_tokens_are_gone(world: World) {
        for token in [REVOKED, EXPIRED, "anns-token-31"] {
            assert_eq!(world.refresh(token).await.status, 401, "{token}");
            assert_eq!(world.log_out(token).await.status, 404, "{token}");
        }
        assert_eq!(world.sessions().await, 37);
    }

    async fn a_token_logs_its_session_out_and_no_other(world: World) {
        for token in FORMS {
            assert_eq!(world.log_out(token).await.status, 200, "{token}");
            assert_eq!(world.log_out(token).await.status, 404, "{token}");
        }
        assert_eq!(world.sessions().await, 31);
        pair(&world.refresh(BOBS).await);
    }

    async fn an_access_token_of_the_old_service_is_good_until_it_expires(world: World) {
        let me = world.send(Request::get("/users/me").bearer(&access_token(1))).await;
        me.assert(200, &json!({
            "id": 1, "email": "ann@example.com", "created_at": "2026-01-11T19:03:47.834590Z",
        }));
        let nobody = Request::get("/users/me").bearer(&access_token(7));
        assert_eq!(world.send(nobody).await.status, 401);
    }

    async fn posts_votes_and_times_are_as_they_were(world: World) {
        let answer = world.send(Request::get("/posts/").bearer(&access_token(1))).await;
        let list = answer.json();
        let told = |post: &Value| json!([post["Post"]["id"], post["Post"]["created_at"],
                                         post["Post"]["is_published"], post["votes"]]);
        let told: Vec<Value> = list.as_array().unwrap().iter().map(told).collect();
        assert_eq!(told, [
            json!([5, "2026-02-01T10:00:04Z", true, 0]),
            json!([4, "2026-02-01T10:00:03Z", true, 0]),
            json!([3, "2026-02-01T10:00:02Z", true, 1]),
            json!([2, "2026-02-01T10:00:01Z", false, 1]),
            json!([1, "2026-02-01T10:00:00.123456Z", true, 3]),
        ]);
        world.assert_counts_are_exact().await;
        let long = world.get("/posts/4").await.json();
        assert_eq!(long["Post"]["title"], "ä".repeat(301));
        assert_eq!(long["Post"]["owner"], json!({
            "id": 2, "email": "B***@Example.com", "created_at": "2026-01-12T08:00:00Z",
        }));
        assert_eq!(world.get("/posts/3").await.json()["Post"]["title"], "");
        assert_eq!(world.get("/posts/5").await.json()["Post"]["content"], "ä".repeat(50_001));
        assert_eq!(world.get("/users/6").await.json()["email"], "n***@example.invalid");
        assert_eq!(world.get("/posts/?search=first").await.json()[0]["Post"]["id"], 1);
    }

    async fn votes_go_on_where_they_were(world: World) {
        let vote = |dir: i64| Request::post("/vote/")
            .bearer(&access_token(2))
            .json(&json!({ "post_id": 1, "dir": dir }));
        assert_eq!(world.send(vote(1)).await.status, StatusCode::CONFLICT);
        assert_eq!(world.send(vote(0)).await.status, StatusCode::CREATED);
        assert_eq!(world.votes(1).await, 2);
        assert_eq!(world.send(vote(1)).await.status, StatusCode::CREATED);
        assert_eq!(world.votes(1).await, 3);
        world.assert_counts_are_exact().await;
    }

    async fn ids_go_on_past_those_that_were_given_and_deleted(world: World) {
        assert_eq!(world.sign_up("new@example.com", PASSWORD).await.json()["id"], 8);
        let post = Request::post("/posts/")
            .bearer(&access_token(1))
            .json(&json!({ "title": "new", "content": "" }));
        assert_eq!(world.send(post).await.json()["id"], 7);
        pair(&world.log_in("new@example.com", PASSWORD).await);
        assert_eq!(world.number("select max(id) from sessions").await, 40);
    }

    async fn the_sessions_are_all_listed(world: World) {
        let list = Request::get("/auth/sessions").bearer(&access_token(2));
        let list = world.send(list).await.json();
        let [session] = list.as_array().unwrap().as_slice() else {
            panic!("{list}");
        };
        assert_eq!(session["user_agent"], json!(null));
        assert_eq!(session["source"], json!(null));
        assert_eq!(session["last_used_at"], session["created_at"]);
        let list = Request::get("/auth/sessions").bearer(&access_token(1));
        assert_eq!(world.send(list).await.json().as_array().unwrap().len(), 36);
    }

    async fn a_session_keeps_its_times(world: World) {
        let kept = "select count(*) from sessions join refresh_tokens on session_id = sessions.id
                    where expires_at - created_at in (
                        select number * interval '1 day' + number * interval '1 hour'
                        from generate_series(1, 30) as number)
                      and issued_at = created_at and user_agent is null and source is null";
        assert_eq!(world.number(kept).await, 30);
    }
}

#[tokio::test]
async fn ids_that_no_sequence_gave_are_not_given_again() {
    let world = World::old_and_empty(Door::Event).await;
    let insert = "insert into users (id, email, password) values (41, 'ann@example.com', '')";
    world.sql.batch_execute(insert).await.unwrap();
    world.adopt().await.unwrap();
    let answer = world.sign_up("new@example.com", PASSWORD).await;
    assert_eq!(answer.json()["id"], 42);
}

#[tokio::test]
async fn the_first_ids_of_an_empty_service_are_one() {
    let world = World::old_and_empty(Door::Event).await;
    world.adopt().await.unwrap();
    let ann = world.join("ann").await;
    assert_eq!((ann.id, ann.publishes(&world, "title").await), (1, 1));
}
