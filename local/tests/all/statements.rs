//! What a request says to PostgreSQL: one statement in one round trip, and nothing that would pin a proxy's connection.

use serde_json::json;

use crate::world::{Door, PASSWORD, Person, Request, Said, World, credentials};

/// The messages of one statement in one round trip: parse, bind, describe, execute, sync.
const STATEMENT: &str = "PBDES";
/// A longer one would pin the connection, in bytes.
const LONGEST_STATEMENT: usize = 16 * 1024;

/// The types of the messages, in order.
fn types(heard: &[Said]) -> String {
    heard
        .iter()
        .map(|said| match said {
            Said::Startup(_) => '^',
            Said::Cancel => '!',
            Said::Query(_) => 'Q',
            Said::Parse { .. } => 'P',
            Said::Other(kind) => *kind,
        })
        .collect()
}

/// Asserts that nothing was said that holds RDS Proxy's connection for one client.
#[track_caller]
fn assert_pins_nothing(heard: &[Said]) {
    for said in heard {
        match said {
            Said::Startup(parameters) => {
                let names: Vec<_> = parameters.iter().map(|(name, _)| name.as_str()).collect();
                assert!(
                    names
                        .iter()
                        .all(|name| ["user", "database", "client_encoding", ""].contains(name)),
                    "{names:?}"
                );
            }
            Said::Parse { name, sql } => {
                assert_eq!(name, "", "{sql}");
                assert!(sql.len() <= LONGEST_STATEMENT, "{sql}");
                let sql = sql.trim_start().to_ascii_lowercase();
                assert!(
                    sql.starts_with("select ") || sql.starts_with("with "),
                    "{sql}"
                );
                for word in [
                    "advisory",
                    "temporary",
                    "set_config",
                    "cursor for",
                    "listen ",
                ] {
                    assert!(!sql.contains(word), "{sql}");
                }
            }
            Said::Query(sql) => panic!("{sql}"),
            Said::Cancel | Said::Other(_) => {}
        }
    }
}

/// Requests by what they do, and how many statements they take.
async fn requests(
    world: &World,
    ann: &Person,
    ben: &Person,
) -> Vec<(&'static str, usize, Request)> {
    let published = ann.publishes(world, "title").await;
    let other = ann.publishes(world, "title").await;
    let at = |id: i64| format!("/posts/{id}");
    let post = json!({ "title": "title", "content": "content" });
    let account =
        |name: &str| json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
    let token = |person: &Person| json!({ "refresh_token": person.refresh_token });
    let signed = |request: Request| request.bearer(&ann.access_token);
    let next = world.get("/posts/?limit=1&search=i").await;
    let next = next
        .header("link")
        .unwrap()
        .trim_start_matches('<')
        .split('>')
        .next()
        .unwrap();
    vec![
        ("the root", 0, Request::get("/")),
        ("health", 1, Request::get("/health")),
        ("sign up", 1, Request::post("/users/").json(&account("new"))),
        (
            "sign up with an address that is taken",
            1,
            Request::post("/users/").json(&account("ann")),
        ),
        (
            "sign up with no address",
            0,
            Request::post("/users/").json_text("{}"),
        ),
        (
            "read a user",
            1,
            Request::get(&format!("/users/{}", ann.id)),
        ),
        (
            "read oneself",
            1,
            signed(Request::get(&format!("/users/{}", ann.id))),
        ),
        (
            "read a user that is not there",
            1,
            Request::get("/users/77"),
        ),
        // One finds the password's hash, one opens the session.
        ("log in", 2, credentials(&ann.email, PASSWORD)),
        (
            "log in with a wrong password",
            1,
            credentials(&ann.email, "wrong"),
        ),
        (
            "log in as nobody",
            1,
            credentials("nobody@example.com", PASSWORD),
        ),
        ("log in with nothing", 0, Request::post("/auth/login")),
        ("list", 1, Request::get("/posts/")),
        (
            "list as a caller",
            1,
            signed(Request::get("/posts/?limit=1&skip=1&search=t")),
        ),
        ("list the next page", 1, Request::get(next)),
        ("list nothing", 1, Request::get("/posts/?limit=0")),
        ("list with a bad limit", 0, Request::get("/posts/?limit=x")),
        // The caller comes before the fields, and only the database knows whether they exist.
        (
            "list with a bad limit as a caller",
            1,
            signed(Request::get("/posts/?limit=x")),
        ),
        (
            "list with a bad token",
            0,
            Request::get("/posts/").bearer("bad"),
        ),
        ("read a post", 1, Request::get(&at(published))),
        (
            "read a post as a caller",
            1,
            signed(Request::get(&at(published))),
        ),
        (
            "read a post that is not there",
            1,
            Request::get("/posts/77"),
        ),
        ("read a post without a number", 0, Request::get("/posts/x")),
        ("write", 1, signed(Request::post("/posts/").json(&post))),
        ("write as nobody", 0, Request::post("/posts/").json(&post)),
        (
            "write nothing",
            1,
            signed(Request::post("/posts/").json_text("{}")),
        ),
        (
            "change",
            1,
            signed(Request::put(&at(published)).json(&post)),
        ),
        (
            "change what is somebody else's",
            1,
            Request::put(&at(published))
                .bearer(&ben.access_token)
                .json(&post),
        ),
        (
            "change what is not there",
            1,
            signed(Request::put("/posts/77").json(&post)),
        ),
        ("vote", 1, ben.ballot(published, 1)),
        ("vote again", 1, ben.ballot(published, 1)),
        ("take a vote back", 1, ben.ballot(published, 0)),
        ("take back what was not given", 1, ben.ballot(published, 0)),
        ("vote for nothing", 1, ben.ballot(77, 1)),
        (
            "delete what is somebody else's",
            1,
            Request::delete(&at(other)).bearer(&ben.access_token),
        ),
        ("delete", 1, signed(Request::delete(&at(other)))),
        ("delete again", 1, signed(Request::delete(&at(other)))),
        (
            "refresh",
            1,
            Request::post("/auth/refresh").json(&token(ben)),
        ),
        (
            "refresh with a spent token",
            1,
            Request::post("/auth/refresh").json(&token(ben)),
        ),
        (
            "refresh with no token of ours",
            0,
            Request::post("/auth/refresh").json(&json!({ "refresh_token": "x" })),
        ),
        (
            "log out",
            1,
            Request::post("/auth/logout").json(&token(ann)),
        ),
        (
            "log out again",
            1,
            Request::post("/auth/logout").json(&token(ann)),
        ),
        (
            "log out everywhere, when logged out",
            1,
            signed(Request::post("/auth/logout-all")),
        ),
        ("no route", 0, Request::get("/nothing")),
        ("no method", 0, Request::delete("/users")),
    ]
}

#[tokio::test]
async fn each_request_runs_one_statement_in_one_round_trip() {
    for door in [Door::Http, Door::Event] {
        let (world, proxy) = World::behind_proxy(door).await;
        let (ann, ben) = (world.join("ann").await, world.join("ben").await);
        let requests = requests(&world, &ann, &ben).await;
        proxy.heard();
        for (what, statements, request) in requests {
            let answer = world.send(request).await;
            assert!(answer.status.as_u16() < 500, "{what}: {}", answer.text());
            let heard = proxy.heard();
            assert_eq!(
                types(&heard),
                STATEMENT.repeat(statements),
                "{what}: {heard:?}"
            );
            assert_pins_nothing(&heard);
        }
        let carl = world.join("carl").await;
        proxy.heard();
        let everywhere = Request::post("/auth/logout-all").bearer(&carl.access_token);
        assert_eq!(world.send(everywhere).await.status, 200);
        assert_eq!(types(&proxy.heard()), STATEMENT);
    }
}

#[tokio::test]
async fn an_outdated_hash_is_replaced_by_the_statement_that_opens_the_session() {
    let (world, proxy) = World::behind_proxy(Door::Event).await;
    world.join("ann").await;
    let outdated = "update users set password_hash = $1";
    // Of the service before this one: m=65536, t=3, p=4.
    let recording: serde_json::Value = serde_json::from_str(include_str!("recorded.json")).unwrap();
    let hash = recording["fixture"]["password_hash"].as_str().unwrap();
    world.rows(outdated, &[&hash]).await;
    proxy.heard();
    let answer = world.log_in("ann@example.com", "password123").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let heard = proxy.heard();
    assert_eq!(types(&heard), STATEMENT.repeat(2));
    assert_pins_nothing(&heard);
}

#[tokio::test]
async fn a_connection_begins_without_anything_that_pins_it() {
    let (world, proxy) = World::behind_proxy(Door::Http).await;
    assert_eq!(world.get("/health").await.status, 200);
    let heard = proxy.heard();
    // Startup, two messages of SCRAM, and the request's own statement: nothing is asked or set at the start.
    assert_eq!(types(&heard), format!("^pp{STATEMENT}"));
    assert_pins_nothing(&heard);
}
