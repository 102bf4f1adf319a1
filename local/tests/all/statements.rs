//! What a request says to PostgreSQL: one statement in one round trip, prepared where it comes again, and nothing
//! that would pin a proxy's connection.

use serde_json::json;
use shared::db::Db;

use crate::world::{Door, PASSWORD, Person, Proxy, Request, Said, World, credentials};

/// The messages of one statement in one round trip: parse, bind, describe, execute, sync.
const STATEMENT: &str = "PBDES";
/// Those of one that the connection keeps prepared.
const PREPARED: &str = "BES";
/// Those that prepare it.
const PREPARATION: &str = "PDS";
/// A longer one would pin the connection, in bytes.
const LONGEST_STATEMENT: usize = 16 * 1024;

/// The types of the messages, in order.
fn types(heard: &[Said]) -> String {
    heard
        .iter()
        .map(|said| match said {
            Said::Startup(_) => '^',
            Said::AsksForEncryption => '?',
            Said::Cancel => '!',
            Said::Query(_) => 'Q',
            Said::Parse { .. } => 'P',
            Said::Other(kind) => *kind,
        })
        .collect()
}

/// How many statements these messages are, each in one round trip, save that one which is prepared takes another.
#[track_caller]
fn statements(heard: &[Said]) -> usize {
    let types = types(heard);
    let mut rest = types.as_str();
    let mut statements = 0;
    while !rest.is_empty() {
        rest = rest
            .strip_prefix(STATEMENT)
            .or_else(|| {
                rest.strip_prefix(PREPARATION)
                    .unwrap_or(rest)
                    .strip_prefix(PREPARED)
            })
            .unwrap_or_else(|| panic!("{types}: {heard:?}"));
        statements += 1;
    }
    statements
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
                // A statement that is prepared by the protocol's own messages, as the driver names it, is prepared
                // by the proxy wherever it runs next; one that is prepared by SQL would hold the connection.
                assert!(name.is_empty() || name.starts_with('s'), "{name}: {sql}");
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
            Said::AsksForEncryption | Said::Cancel | Said::Other(_) => {}
        }
    }
}

/// A request, how many statements it takes, and the status of its answer.
type Case = (usize, u16, Request);

fn of_nobody() -> Vec<Case> {
    let get = Request::get;
    let sign_up = |name: &str| {
        let email = format!("{name}@example.com");
        Request::post("/users/").json(&json!({ "email": email, "password": PASSWORD }))
    };
    let no_token = json!({ "refresh_token": "" });
    let unknown_token = json!({ "refresh_token": "x" });
    vec![
        (0, 200, get("/")),
        (1, 200, get("/health")),
        (0, 404, get("/nothing")),
        (0, 405, Request::delete("/users")),
        // One statement begins the sign-up before anything is hashed, one makes the account.
        (2, 201, sign_up("new")),
        (2, 409, sign_up("ann")),
        (0, 422, sign_up("")),
        (1, 200, get("/users/1")),
        (1, 404, get("/users/77")),
        (0, 422, get("/users/x")),
        // One statement finds the hash of the password, one opens the session.
        (2, 200, credentials("ann@example.com", PASSWORD)),
        // One counts what was wrong.
        (2, 401, credentials("ann@example.com", "wrong")),
        (2, 401, credentials("nobody@example.com", PASSWORD)),
        (0, 422, credentials("", "")),
        (0, 401, Request::post("/auth/refresh").json(&no_token)),
        (0, 404, Request::post("/auth/logout").json(&no_token)),
        (1, 401, Request::post("/auth/refresh").json(&unknown_token)),
        (1, 404, Request::post("/auth/logout").json(&unknown_token)),
        (0, 401, Request::post("/auth/logout-all")),
        (1, 200, get("/posts/")),
        (1, 200, get("/posts/?limit=0")),
        (0, 422, get("/posts/?limit=x")),
        (0, 401, get("/posts/").bearer("bad")),
        (1, 200, get("/posts/1")),
        (1, 404, get("/posts/77")),
        (0, 422, get("/posts/x")),
        (0, 401, Request::post("/posts/").json_text("{}")),
        (0, 401, Request::delete("/posts/1")),
        (0, 401, Request::post("/vote/").json_text("{}")),
    ]
}

/// Ann wrote the posts 1 and 2.
fn of_callers(ann: &Person, ben: &Person, next_page: &str) -> Vec<Case> {
    let by = |person: &Person, request: Request| request.bearer(&person.access_token);
    let anns = |request: Request| by(ann, request);
    let post = json!({ "title": "title", "content": "content" });
    let put = |target: &str| Request::put(target).json(&post);
    vec![
        (1, 200, anns(Request::get("/users/1"))),
        (
            1,
            200,
            anns(Request::get("/posts/?limit=1&skip=1&search=t")),
        ),
        (1, 200, anns(Request::get(next_page))),
        // The caller comes before the fields, and only the database knows whether they exist.
        (1, 422, anns(Request::get("/posts/?limit=x"))),
        (1, 200, anns(Request::get("/posts/1"))),
        (1, 201, anns(Request::post("/posts/").json(&post))),
        (1, 422, anns(Request::post("/posts/").json_text("{}"))),
        (1, 200, anns(put("/posts/1"))),
        (1, 404, anns(put("/posts/77"))),
        (1, 403, by(ben, put("/posts/1"))),
        (1, 201, ben.ballot(1, 1)),
        (1, 409, ben.ballot(1, 1)),
        (1, 201, ben.ballot(1, 0)),
        (1, 404, ben.ballot(1, 0)),
        (1, 404, ben.ballot(77, 1)),
        (1, 403, by(ben, Request::delete("/posts/2"))),
        (1, 204, anns(Request::delete("/posts/2"))),
        (1, 404, anns(Request::delete("/posts/2"))),
    ]
}

/// Ends the sessions of Ann, of Ben and of Carl.
fn of_sessions(ann: &Person, ben: &Person, carl: &Person) -> Vec<Case> {
    let with_token = |target: &str, person: &Person| {
        Request::post(target).json(&json!({ "refresh_token": person.refresh_token }))
    };
    let logout_all =
        |person: &Person| Request::post("/auth/logout-all").bearer(&person.access_token);
    vec![
        (1, 200, with_token("/auth/refresh", ben)),
        (1, 401, with_token("/auth/refresh", ben)),
        (1, 200, with_token("/auth/logout", ann)),
        (1, 404, with_token("/auth/logout", ann)),
        (1, 401, logout_all(ann)),
        (1, 200, logout_all(carl)),
    ]
}

/// Changes Dora's password and deletes her account. A password that is confirmed is found, counted and
/// forgiven by a statement each.
fn of_an_account(dora: &Person) -> Vec<Case> {
    let doras = |request: Request| request.bearer(&dora.access_token);
    let change = json!({ "old_password": PASSWORD, "new_password": "garnet-lantern-43" });
    let wrong = json!({ "password": "wrong" });
    let right = json!({ "password": "garnet-lantern-43" });
    vec![
        (1, 200, doras(Request::get("/users/me"))),
        (1, 200, doras(Request::get("/auth/sessions"))),
        (1, 404, doras(Request::delete("/auth/sessions/77"))),
        (
            4,
            200,
            doras(Request::put("/users/me/password").json(&change)),
        ),
        (3, 403, doras(Request::delete("/users/me").json(&wrong))),
        (4, 204, doras(Request::delete("/users/me").json(&right))),
        (1, 401, doras(Request::get("/users/me"))),
    ]
}

#[tokio::test]
async fn each_request_runs_one_statement_in_one_round_trip() {
    for door in [Door::Http, Door::Event] {
        let (world, proxy) = World::behind_proxy(door).await;
        let (ann, ben) = (world.join("ann").await, world.join("ben").await);
        let (carl, dora) = (world.join("carl").await, world.join("dora").await);
        for title in ["first", "second"] {
            ann.publishes(&world, title).await;
        }
        let first_page = "/posts/?limit=1&search=s";
        let next_page = world.get(first_page).await.next_page(first_page).unwrap();
        let cases = [
            of_nobody(),
            of_callers(&ann, &ben, &next_page),
            of_sessions(&ann, &ben, &carl),
            of_an_account(&dora),
        ];
        proxy.heard();
        for (expected, status, request) in cases.into_iter().flatten() {
            let asked = format!("{} {}", request.method, request.target);
            let answer = world.send(request).await;
            assert_eq!(answer.status.as_u16(), status, "{asked}: {}", answer.text());
            let heard = proxy.heard();
            assert_eq!(statements(&heard), expected, "{asked}: {heard:?}");
            assert_pins_nothing(&heard);
        }
    }
}

#[tokio::test]
async fn a_statement_that_comes_again_is_prepared_and_then_neither_read_nor_planned_anew() {
    let (mut world, proxy) = World::behind_proxy(Door::Event).await;
    let ann = world.join("ann").await;
    for title in ["first", "second"] {
        ann.publishes(&world, title).await;
    }
    let first_page = "/posts/?limit=1";
    let next_page = world.get(first_page).await.next_page(first_page).unwrap();
    // As another process, which has sent nothing yet.
    world.reopen(Door::Event).await;
    world.get("/health").await;
    let said = async |request: Request| {
        proxy.heard();
        let status = world.send(request).await.status;
        assert!(status.is_success(), "{status}");
        types(&proxy.heard())
    };
    let prepared = format!("{PREPARATION}{PREPARED}");
    for request in [
        Request::get("/posts/1"),
        Request::get("/posts/"),
        Request::get(&next_page),
        Request::get("/posts/?search=first"),
        Request::get("/users/1"),
        Request::get("/auth/sessions").bearer(&ann.access_token),
    ] {
        let times = [STATEMENT, &prepared, PREPARED, PREPARED];
        for (time, expected) in times.into_iter().enumerate() {
            let target = request.target.clone();
            assert_eq!(
                said(request.clone()).await,
                expected,
                "{target}, time {time}"
            );
        }
    }
    // Other values are no other statement.
    let by_ann = Request::get("/posts/2?x=1").bearer(&ann.access_token);
    assert_eq!(said(by_ann).await, PREPARED);
    assert_eq!(said(Request::get("/posts/?limit=7")).await, PREPARED);
    // The way to a page by its number depends on the number.
    for _ in 0..3 {
        assert_eq!(said(Request::get("/posts/?skip=1")).await, STATEMENT);
    }
}

#[tokio::test]
async fn nothing_is_prepared_by_name_unless_the_setting_says_so() {
    let mut proxy = None;
    let world = World::with(Door::Event, |config| {
        let database = config.database.as_mut().unwrap();
        database.prepared_statements = false;
        proxy = Some(Proxy::before(database));
    })
    .await;
    let proxy = proxy.unwrap();
    let (ann, ben) = (world.join("ann").await, world.join("ben").await);
    for title in ["first", "second"] {
        ann.publishes(&world, title).await;
    }
    let first_page = "/posts/?limit=1";
    let next_page = world.get(first_page).await.next_page(first_page).unwrap();
    for _ in 0..3 {
        for (_, _, request) in of_nobody() {
            world.send(request).await;
        }
        for request in [
            Request::get(&next_page).bearer(&ben.access_token),
            Request::get("/auth/sessions").bearer(&ben.access_token),
            Request::get("/users/me").bearer(&ben.access_token),
            ben.ballot(1, 1),
            ben.ballot(1, 0),
        ] {
            let answer = world.send(request).await;
            assert!(answer.status.is_success(), "{}", answer.text());
        }
    }
    let heard = proxy.heard();
    assert!(statements(&heard[3..]) > 40);
    for said in &heard {
        if let Said::Parse { name, sql } = said {
            assert_eq!(name, "", "{sql}");
        }
    }
    assert!(!types(&heard).contains('C'), "nothing named is closed");
    assert_pins_nothing(&heard);
}

#[tokio::test]
async fn a_name_that_another_process_took_is_done_without() {
    let world = World::new(Door::Event).await;
    // Both have the one connection, as behind a pooler that keeps no names apart.
    let db = Db::new(Some(world.database()));
    let insert = "insert into users (email, password_hash)
                  values (nextval('posts_id_seq') || '@example.com', '') returning id";
    let mut last = 0;
    for _ in 0..2 {
        last = db.write(insert, &[]).await.unwrap().get("id");
    }
    let newest = "select max(substr(name, 2)::bigint) as newest from pg_prepared_statements where name ~ '^s[0-9]+$'";
    let newest = db
        .read_one(newest, &[])
        .await
        .unwrap()
        .get::<_, i64>("newest");
    // The driver counts its names up for all connections of a process, and other tests do so at the same time.
    let take = format!(
        "do $$ begin
             for number in {newest} + 1 .. {newest} + 3000 loop
                 execute format('prepare s%s as select 1', number);
             end loop;
         end $$"
    );
    db.read(&take, &[]).await.unwrap();
    for time in 1..=3 {
        // Another statement each time, which is to be prepared.
        let insert = insert.replace("''", &format!("'{time}'"));
        for _ in 0..3 {
            let next = db.write(&insert, &[]).await.unwrap().get::<_, i64>("id");
            assert_eq!(next, last + 1, "once and no more");
            last = next;
        }
    }
}

#[tokio::test]
async fn what_a_pooler_makes_of_names_is_no_fault_of_ours() {
    let world = World::new(Door::Event).await;
    let db = Db::new(Some(world.database()));
    for state in ["42P05", "26000", "08P01"] {
        let fail = format!(
            "create or replace function fail() returns bigint language plpgsql as $$ begin
                 raise 'as told' using errcode = '{state}';
             end $$"
        );
        world.sql.batch_execute(&fail).await.unwrap();
        let write = format!(
            "insert into posts (title, content, owner_id) values ('{state}', '', fail()) returning id"
        );
        for _ in 0..3 {
            let refused = db.write(&write, &[]).await.unwrap_err();
            assert_eq!(refused.status(), 503, "{state}");
            let refused = db.read("select fail()", &[]).await.unwrap_err();
            assert_eq!(refused.status(), 503, "{state}");
        }
    }
    assert_eq!(world.number("select count(*) from posts").await, 0);
}

#[tokio::test]
async fn a_prepared_statement_outlives_a_migration() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    let post = ann.publishes(&world, "title").await;
    let target = format!("/posts/{post}");
    for _ in 0..3 {
        assert_eq!(world.get(&target).await.status, 200);
    }
    // What was prepared would answer with another type now, which the server refuses.
    let migrate = "alter table posts alter column created_at type timestamptz(6)";
    world.sql.batch_execute(migrate).await.unwrap();
    for _ in 0..3 {
        let answer = world.get(&target).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["Post"]["title"], "title");
    }
}

#[tokio::test]
async fn a_prepared_statement_that_the_server_forgot_is_prepared_again() {
    let world = World::new(Door::Event).await;
    let db = Db::new(Some(world.database()));
    // One after the other, they have one connection.
    let next = async || {
        let next = "select nextval('posts_id_seq') as number";
        db.write(next, &[]).await.unwrap().get::<_, i64>("number")
    };
    for number in 1..=3 {
        assert_eq!(next().await, number);
    }
    db.read("deallocate all", &[]).await.unwrap();
    for number in 4..=6 {
        assert_eq!(next().await, number);
    }
    let prepared = "select count(*) from pg_prepared_statements where statement like '%nextval%'";
    let prepared = db.read_one(prepared, &[]).await.unwrap();
    assert_eq!(prepared.get::<_, i64>(0), 1);
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
    assert_eq!(statements(&heard), 2);
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
