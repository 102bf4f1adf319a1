//! Where the caller is logged in: the list, its ends, and how many there may be.

use std::net::IpAddr;

use axum::http::HeaderValue;
use serde_json::{Value, json};

use crate::{
    accounts::{assert_dead, assert_gone, token_from_before},
    refresh,
    world::{Door, PASSWORD, Person, Request, World, credentials, pair, token::contents},
};

fn list(access_token: &str) -> Request {
    Request::get("/auth/sessions").bearer(access_token)
}

fn end(access_token: &str, id: &str) -> Request {
    Request::delete(&format!("/auth/sessions/{id}")).bearer(access_token)
}

/// The session that an access token belongs to.
fn session_of(access_token: &str) -> i64 {
    contents(access_token)[1]["sid"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

impl World {
    async fn logs_in_as(&self, person: &Person, user_agent: &str) -> (String, String) {
        let request = credentials(&person.email, PASSWORD).header("user-agent", user_agent);
        pair(&self.send(request).await)
    }

    /// As if the session was opened and last used then.
    async fn dates(&self, session_id: i64, created_at: &str, last_used_at: &str) {
        let update = "
            with opened as (
                update sessions set created_at = $2::text::timestamptz, expires_at = '2100-01-01T00:00:00Z'
                where id = $1)
            update refresh_tokens set issued_at = $3::text::timestamptz
            where session_id = $1 and spent_at is null";
        self.rows(update, &[&session_id, &created_at, &last_used_at])
            .await;
    }

    async fn expires(&self, session_id: i64) {
        self.rows(
            "update sessions set expires_at = now() where id = $1",
            &[&session_id],
        )
        .await;
    }

    async fn listed(&self, access_token: &str) -> Vec<i64> {
        let sessions = self.send(list(access_token)).await.json();
        let sessions = sessions.as_array().unwrap();
        sessions
            .iter()
            .map(|session| session["id"].as_i64().unwrap())
            .collect()
    }
}

at_both_doors! {
    async fn callers_see_where_they_are_logged_in(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let (phone, phone_token) = world.logs_in_as(&ann, "phone").await;
        let (laptop, _) = world.logs_in_as(&ann, &"L".repeat(400)).await;
        let ids = [&ann.access_token, &phone, &laptop].map(|token| session_of(token));
        pair(&world.refresh(&phone_token).await);
        world.dates(ids[0], "2026-02-01T10:00:00Z", "2026-02-01T10:00:00Z").await;
        world.dates(ids[1], "2026-02-02T10:00:00.25Z", "2026-02-05T10:00:00Z").await;
        world.dates(ids[2], "2026-02-03T10:00:00Z", "2026-02-04T10:00:00.000001Z").await;
        world
            .rows("update sessions set source = '2001:db8::7' where id = $1", &[&ids[1]])
            .await;
        let usual = world.usual_source().to_string();
        // The one used last comes first.
        let sessions = |current: Option<usize>| json!([
            {
                "id": ids[1],
                "created_at": "2026-02-02T10:00:00.250000Z",
                "last_used_at": "2026-02-05T10:00:00Z",
                "expires_at": "2100-01-01T00:00:00Z",
                "user_agent": "phone",
                "source": "2001:db8::7",
                "is_current": current == Some(1),
            },
            {
                "id": ids[2],
                "created_at": "2026-02-03T10:00:00Z",
                "last_used_at": "2026-02-04T10:00:00.000001Z",
                "expires_at": "2100-01-01T00:00:00Z",
                "user_agent": "L".repeat(300),
                "source": usual,
                "is_current": current == Some(2),
            },
            {
                "id": ids[0],
                "created_at": "2026-02-01T10:00:00Z",
                "last_used_at": "2026-02-01T10:00:00Z",
                "expires_at": "2100-01-01T00:00:00Z",
                "user_agent": null,
                "source": usual,
                "is_current": current == Some(0),
            },
        ]);
        for (current, token) in [&ann.access_token, &phone, &laptop].iter().enumerate() {
            let answer = world.send(list(token)).await;
            answer.assert(200, &sessions(Some(current)));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        // A token from before belongs to none of them.
        let answer = world.send(list(&token_from_before(&ann))).await;
        answer.assert(200, &sessions(None));
        assert_eq!(world.listed(&bob.access_token).await, [session_of(&bob.access_token)]);
    }

    async fn sessions_used_at_the_same_moment_are_listed_newest_first(world: World) {
        let ann = world.join("ann").await;
        let mut ids = vec![session_of(&ann.access_token)];
        for _ in 0..3 {
            ids.push(session_of(&world.log_in_again(&ann).await.0));
        }
        for id in &ids {
            world.dates(*id, "2026-02-01T10:00:00Z", "2026-02-01T10:00:00Z").await;
        }
        ids.reverse();
        assert_eq!(world.listed(&ann.access_token).await, ids);
    }

    async fn what_has_expired_is_not_listed(world: World) {
        let ann = world.join("ann").await;
        let (elsewhere, _) = world.log_in_again(&ann).await;
        world.expires(session_of(&elsewhere)).await;
        assert_eq!(world.listed(&ann.access_token).await, [session_of(&ann.access_token)]);
        let missing = format!("Session with id: {} not found", session_of(&elsewhere));
        let answer = world.send(end(&ann.access_token, &session_of(&elsewhere).to_string())).await;
        answer.assert_detail(404, &missing);
        world.expires(session_of(&ann.access_token)).await;
        assert_dead(&world.send(list(&ann.access_token)).await);
        // Someone without any session has an empty list, not none.
        let answer = world.send(list(&token_from_before(&ann))).await;
        answer.assert(200, &json!([]));
    }

    async fn nobody_in_particular_is_logged_in_nowhere(world: World) {
        let ann = world.join("ann").await;
        let own = session_of(&ann.access_token);
        for request in [
            Request::get("/auth/sessions"),
            Request::delete(&format!("/auth/sessions/{own}")),
        ] {
            world.send(request).await.assert_detail(401, "Not authenticated");
        }
        world.log_out(&ann.refresh_token).await;
        let (again, _) = world.log_in_again(&ann).await;
        for request in [
            list(&ann.access_token),
            end(&ann.access_token, &session_of(&again).to_string()),
            end(&ann.access_token, "9"),
            end(&ann.access_token, "nine"),
        ] {
            assert_dead(&world.send(request).await);
        }
        assert!(world.accepts(&again).await);
    }

    async fn callers_end_one_of_their_sessions(world: World) {
        let ann = world.join("ann").await;
        let (phone, phone_token) = world.log_in_again(&ann).await;
        let (laptop, _) = world.log_in_again(&ann).await;
        let id = session_of(&phone).to_string();
        assert_gone(&world.send(end(&ann.access_token, &id)).await);
        assert!(!world.accepts(&phone).await);
        refresh::assert_refused(&world.refresh(&phone_token).await);
        assert!(world.accepts(&ann.access_token).await && world.accepts(&laptop).await);
        let gone = world.send(end(&ann.access_token, &id)).await;
        gone.assert_detail(404, &format!("Session with id: {id} not found"));
        assert_eq!(gone.header("cache-control"), Some("no-store"));
        assert_eq!(world.sessions().await, 2);

        let slashed = format!("{}/", session_of(&laptop));
        assert_gone(&world.send(end(&token_from_before(&ann), &slashed)).await);
        assert_eq!(world.sessions().await, 1);
    }

    async fn callers_may_end_the_session_they_are_in(world: World) {
        let ann = world.join("ann").await;
        let (elsewhere, _) = world.log_in_again(&ann).await;
        let id = session_of(&ann.access_token).to_string();
        assert_gone(&world.send(end(&ann.access_token, &id)).await);
        assert_dead(&world.send(end(&ann.access_token, &id)).await);
        refresh::assert_refused(&world.refresh(&ann.refresh_token).await);
        assert!(world.accepts(&elsewhere).await);
    }

    async fn a_session_that_is_not_the_callers_is_not_there(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        for id in [
            session_of(&bob.access_token).to_string(),
            "0".to_owned(),
            "-1".to_owned(),
            i64::MAX.to_string(),
            "9223372036854775808".to_owned(),
            format!("-{}", "9".repeat(60)),
        ] {
            let answer = world.send(end(&ann.access_token, &id)).await;
            answer.assert_detail(404, &format!("Session with id: {id} not found"));
        }
        assert!(world.accepts(&bob.access_token).await);
        for id in ["nine", "1.5", "1e3", "%20"] {
            let answer = world.send(end(&ann.access_token, id)).await;
            answer.assert_problems(&[("int_parsing", json!(["path", "id"]))]);
        }
        assert_eq!(world.sessions().await, 2);
    }

    async fn the_twenty_first_session_ends_the_one_unused_for_longest(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let mut pairs = vec![(ann.access_token.clone(), ann.refresh_token.clone())];
        for _ in 1..20 {
            pairs.push(world.log_in_again(&ann).await);
        }
        assert_eq!(world.sessions().await, 21);
        // The oldest was used after the second was, and expired ones do not count.
        pairs[0] = pair(&world.refresh(&pairs[0].1).await);
        let newest = world.log_in_again(&ann).await;
        assert!(!world.accepts(&pairs[1].0).await);
        refresh::assert_refused(&world.refresh(&pairs[1].1).await);
        for kept in pairs.iter().skip(2).chain([&pairs[0], &newest]) {
            assert!(world.accepts(&kept.0).await);
        }
        assert!(world.accepts(&bob.access_token).await);
        assert_eq!(world.sessions().await, 21);
        world.expires(session_of(&pairs[5].0)).await;
        world.log_in_again(&ann).await;
        assert!(world.accepts(&pairs[2].0).await);
        assert_eq!(world.listed(&newest.0).await.len(), 20);
    }

    async fn thirty_logins_at_once_leave_twenty_sessions(world: World) {
        let ann = world.join("ann").await;
        let request = || credentials(&ann.email, PASSWORD);
        let mut answers = Vec::new();
        if world.way == Door::Http {
            // A source may have ten under way at a time for one address.
            for _ in 0..3 {
                answers.extend(world.send_at_once((0..10).map(|_| request())).await);
            }
        } else {
            let requests = (0..30).map(|number| request().from(&format!("198.51.100.{number}")));
            answers.extend(world.send_at_once(requests).await);
        }
        let mut live = 0;
        for answer in &answers {
            if world.accepts(&pair(answer).0).await {
                live += 1;
            }
        }
        assert_eq!(live, 20);
        assert!(!world.accepts(&ann.access_token).await);
        assert_eq!(world.sessions().await, 20);
    }
}

#[tokio::test]
async fn where_no_source_is_named_none_is_shown() {
    let world = World::new(Door::Event).await;
    world.sign_up("ann@example.com", PASSWORD).await;
    let answer = world
        .send(credentials("ann@example.com", PASSWORD).without_source())
        .await;
    let (access_token, _) = pair(&answer);
    let sessions = world.send(list(&access_token)).await.json();
    assert_eq!(
        (&sessions[0]["source"], &sessions[0]["user_agent"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_client_is_shown_as_it_calls_itself_in_any_script() {
    let world = World::new(Door::Http).await;
    let ann = world.join("ann").await;
    let long = "ж".repeat(400);
    let named: [(&[u8], &str); 8] = [
        ("Плеер/1.0 (Телефон)".as_bytes(), "Плеер/1.0 (Телефон)"),
        ("掲示板アプリ 😀".as_bytes(), "掲示板アプリ 😀"),
        // Latin-1, as it once was in headers; its controls are no letters.
        (b"L\xe9a's phone", "Léa's phone"),
        (b"a\x85b\xff", "abÿ"),
        (b"tab\tstop", "tabstop"),
        // C1 controls in UTF-8.
        (b"a\xc2\x9bb", "ab"),
        (long.as_bytes(), &long[..600]),
        (b"curl/8.5.0", "curl/8.5.0"),
    ];
    for (sent, shown) in named {
        let mut request = credentials(&ann.email, PASSWORD);
        let name = HeaderValue::from_bytes(sent).unwrap();
        request.headers.insert("user-agent", name);
        let (access_token, _) = pair(&world.send(request).await);
        let sessions = world.send(list(&access_token)).await.json();
        assert_eq!(sessions[0]["user_agent"], shown);
    }
}

// An event is JSON, and so has text where HTTP has bytes.
#[tokio::test]
async fn a_gateway_passes_on_what_a_client_calls_itself() {
    for door in [Door::Event, Door::RestEvent] {
        let world = World::new(door).await;
        let ann = world.join("ann").await;
        let (access_token, _) = world.logs_in_as(&ann, "Плеер/1.0 😀").await;
        let sessions = world.send(list(&access_token)).await.json();
        assert_eq!(sessions[0]["user_agent"], "Плеер/1.0 😀");
    }
}

#[tokio::test]
async fn an_ipv4_source_is_shown_as_one_however_it_is_written() {
    for door in [Door::Event, Door::RestEvent] {
        let world = World::new(door).await;
        let ann = world.join("ann").await;
        for (source, shown) in [
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::FFFF:c000:0207", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            // Deprecated, and an IPv6 address all the same.
            ("::192.0.2.7", "::c000:207"),
        ] {
            let login = credentials(&ann.email, PASSWORD).from(source);
            let (access_token, _) = pair(&world.send(login).await);
            let sessions = world.send(list(&access_token)).await.json();
            let found: IpAddr = sessions[0]["source"].as_str().unwrap().parse().unwrap();
            assert_eq!(found, shown.parse::<IpAddr>().unwrap(), "{source}");
            assert_eq!(found.is_ipv4(), shown.contains('.'), "{source}");
        }
        // What is counted and what is shown agree: the addresses above are two clients and a third.
        let known = world.number("select count(*) from known_sources").await;
        assert_eq!(known, 4);
    }
}
