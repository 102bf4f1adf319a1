//! How PostgreSQL carries out the statements of the API on a million posts: by index, never by reading a whole
//! table, whether it plans them for their values or once for all. The plans are those of the very statements that run: the server explains each to the connection that
//! sent it, as a notice.

use std::{cell::RefCell, sync::Once};

use log::{LevelFilter, Log, Metadata, Record};
use migrate::Order;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::world::{Answer, Door, PASSWORD, Person, Request, World, connect, credentials};

const TABLES: [&str; 8] = [
    "attempts",
    "known_sources",
    "posts",
    "users",
    "votes",
    "vote_counts",
    "sessions",
    "refresh_tokens",
];

thread_local! {
    /// The plans of statements that connections of this thread sent: a test and its API have one thread.
    static PLANS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// How statements are planned. A statement that is prepared is planned for its values a few times, and then perhaps
/// once for all that come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Planned {
    ForValues,
    ForAll,
}

const EITHER_WAY: [Planned; 2] = [Planned::ForValues, Planned::ForAll];

#[tokio::test]
async fn lists_are_read_by_index_as_far_as_the_page_goes() {
    for planned in EITHER_WAY {
        lists_are_read_by_index(planned).await;
    }
}

async fn lists_are_read_by_index(planned: Planned) {
    let (world, ann) = large_world(planned).await;
    let first = Request::get("/posts/");
    let answer = explain(
        &world,
        first.clone(),
        &[
            "posts_published_idx",
            "posts_pkey",
            "users_pkey",
            "vote_counts_pkey",
        ],
    )
    .await;
    let next = Request::get(&answer.next_page(&first.target).unwrap());
    explain(
        &world,
        next.clone(),
        &["posts_published_idx", "ROW(created_at, id) < ROW("],
    )
    .await;
    let both = [
        "posts_published_idx",
        "posts_drafts_idx",
        "sessions_pkey",
        "users_pkey",
    ];
    explain(&world, first.bearer(&ann.access_token), &both).await;
    explain(&world, next.bearer(&ann.access_token), &both).await;

    // Of a search the newest posts are looked through first, and the rest by what their titles have.
    let rare = ann.publishes(&world, "A quixotic zebra: C++, 日本").await;
    world
        .rows(
            "update posts set created_at = '2020-01-01T00:00:00Z' where id = $1",
            &[&rare],
        )
        .await;
    for search in [
        "Quixotic Zeb",
        "quixotic",
        "uix",
        "xo",
        "q",
        "C++",
        "++",
        "+",
        "c z",
        ": C",
        "日本",
        "本",
        ", 日",
    ] {
        let search = utf8_percent_encode(search, NON_ALPHANUMERIC);
        let search = Request::get(&format!("/posts/?search={search}&limit=100"));
        let index = ["posts_published_idx", "posts_search_idx"];
        let answer = explain(&world, search.clone(), &index).await;
        let found = answer.json();
        let last = found.as_array().unwrap().last();
        assert!(
            last.is_some_and(|last| last["Post"]["id"] == rare) || answer.header("link").is_some(),
            "{}: {found}",
            search.target
        );
        let index = ["posts_drafts_idx", "posts_search_idx", "sessions_pkey"];
        explain(&world, search.bearer(&ann.access_token), &index).await;
    }
    for search in ["title", "t"] {
        let search = Request::get(&format!("/posts/?search={search}"));
        explain(&world, search.bearer(&ann.access_token), &both).await;
    }
}

#[tokio::test]
async fn single_rows_are_found_by_their_keys() {
    for planned in EITHER_WAY {
        rows_are_found_by_their_keys(planned).await;
    }
}

async fn rows_are_found_by_their_keys(planned: Planned) {
    let (world, ann) = large_world(planned).await;
    let post = ann.publishes(&world, "title").await;
    let path = format!("/posts/{post}");
    let caller = ["users_pkey", "sessions_pkey"];
    explain(
        &world,
        Request::get(&path),
        &["posts_pkey", "users_pkey", "vote_counts_pkey"],
    )
    .await;
    explain(
        &world,
        Request::get(&path).bearer(&ann.access_token),
        &caller,
    )
    .await;
    explain(
        &world,
        Request::get(&format!("/users/{}", ann.id)).bearer(&ann.access_token),
        &caller,
    )
    .await;
    let written = json!({ "title": "title", "content": "content" });
    explain(
        &world,
        Request::post("/posts/")
            .bearer(&ann.access_token)
            .json(&written),
        &caller,
    )
    .await;
    explain(
        &world,
        Request::put(&path).bearer(&ann.access_token).json(&written),
        &["posts_pkey"],
    )
    .await;
    for dir in [1, 0] {
        explain(
            &world,
            ann.ballot(post, dir),
            &[
                "posts_pkey",
                "users_pkey",
                "sessions_pkey",
                "vote_counts_pkey",
            ],
        )
        .await;
    }
    // Votes and counts go with the post.
    let delete = Request::delete(&path).bearer(&ann.access_token);
    explain(
        &world,
        delete,
        &["posts_pkey", "votes_post_id_idx", "vote_counts_pkey"],
    )
    .await;
}

#[tokio::test]
async fn sessions_are_found_by_address_token_and_user() {
    for planned in EITHER_WAY {
        sessions_are_found(planned).await;
    }
}

async fn sessions_are_found(planned: Planned) {
    let (world, ann) = large_world(planned).await;
    let in_capitals = ann.email.to_uppercase();
    let counting = [
        "users_email_key",
        "users_stand_in_idx",
        "known_sources_pkey",
        "attempts_window_ends_at_idx",
        "known_sources_last_login_at_idx",
    ];
    let login = explain(&world, credentials(&in_capitals, PASSWORD), &counting).await;
    explain(
        &world,
        credentials("nobody@example.com", PASSWORD),
        &["users_email_key"],
    )
    .await;
    let with = |answer: &Answer| json!({ "refresh_token": answer.json()["refresh_token"] });
    let refresh = Request::post("/auth/refresh").json(&with(&login));
    let refreshed = explain(&world, refresh, &["refresh_tokens_pkey", "sessions_pkey"]).await;
    let logout = Request::post("/auth/logout").json(&with(&refreshed));
    explain(
        &world,
        logout,
        &[
            "refresh_tokens_pkey",
            "sessions_pkey",
            "refresh_tokens_session_id_idx",
        ],
    )
    .await;
    let logout_all = Request::post("/auth/logout-all").bearer(&ann.access_token);
    explain(
        &world,
        logout_all,
        &["sessions_user_id_idx", "refresh_tokens_session_id_idx"],
    )
    .await;
}

#[tokio::test]
async fn accounts_are_found_by_their_keys() {
    for planned in EITHER_WAY {
        accounts_are_found(planned).await;
    }
}

async fn accounts_are_found(planned: Planned) {
    let (world, ann) = large_world(planned).await;
    let anns = |request: Request| request.bearer(&ann.access_token);
    let caller = ["users_pkey", "sessions_pkey"];
    let newcomer = json!({ "email": "newcomer@example.com", "password": PASSWORD });
    let sign_up = Request::post("/users/").json(&newcomer);
    explain(&world, sign_up, &["attempts_window_ends_at_idx"]).await;
    explain(&world, anns(Request::get("/users/me")), &caller).await;
    world.log_in_again(&ann).await;
    let of_user = ["sessions_user_id_idx", "refresh_tokens_session_id_idx"];
    let sessions = explain(&world, anns(Request::get("/auth/sessions")), &of_user[..1]).await;
    let other = sessions.json()[0]["id"].clone();
    assert_eq!(sessions.json()[0]["is_current"], false);
    let end = Request::delete(&format!("/auth/sessions/{other}"));
    explain(
        &world,
        anns(end),
        &["sessions_pkey", "refresh_tokens_session_id_idx"],
    )
    .await;
    let change = json!({ "old_password": PASSWORD, "new_password": "garnet-lantern-43" });
    let change = Request::put("/users/me/password").json(&change);
    explain(
        &world,
        anns(change),
        &["users_pkey", "sessions_user_id_idx"],
    )
    .await;
    let leave = Request::delete("/users/me").json(&json!({ "password": "garnet-lantern-43" }));
    explain(
        &world,
        anns(leave),
        &["users_pkey", "posts_owner_id_idx", "votes_pkey"],
    )
    .await;
}

#[tokio::test]
async fn whole_people_and_what_has_expired_are_deleted_by_index() {
    let (world, ann) = large_world(Planned::ForValues).await;
    ann.publishes(&world, "title").await;
    let sql = connect(world.database()).await;
    PLANS.take();
    sql.execute("delete from users where id = $1", &[&ann.id])
        .await
        .unwrap();
    assert_indexed(
        "a deleted user",
        &[
            "sessions_user_id_idx",
            "posts_owner_id_idx",
            "votes_pkey",
            "votes_post_id_idx",
        ],
    );

    world
        .rows(
            "update sessions set expires_at = now() where id % 100 = 0",
            &[],
        )
        .await;
    migrate::carry_out(&Order::CleanUp, world.database())
        .await
        .unwrap();
    assert_indexed(
        "clean-up",
        &["sessions_expires_at_idx", "refresh_tokens_session_id_idx"],
    );
}

/// Five thousand of everything, some of it ann's, of which the planner believes that it is a million, and a
/// server that explains what it does. The planner goes by the statistics for the number of rows and by the files
/// for the number of pages: to read all of a table looks cheaper to it here than it would be with a million rows,
/// never dearer. To load so many would take a minute and prove less.
async fn large_world(planned: Planned) -> (World, Person) {
    listen();
    let mut world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    world
        .sql
        .batch_execute(&format!(
            "
            insert into users (email, password_hash)
            select format('person-%s@example.com', number), '' from generate_series(1, 5000) as number;
            insert into sessions (user_id, expires_at)
            select id, now() + id * interval '1 minute' from users;
            insert into refresh_tokens (digest, session_id)
            select sha256(id::text::bytea), id from sessions where user_id <> {ann};
            insert into posts (title, content, is_published, created_at, owner_id)
            select format('title %s %s', id, md5(id::text)), repeat('content ', 200), id % 10 <> 0,
                   now() - id * interval '1 minute', id
            from users;
            insert into votes (user_id, post_id)
            select users.id, posts.id from users join posts
                on posts.id between users.id and users.id + 1;
            insert into attempts (bucket, attempts, window_ends_at)
            select sha256(email::bytea), 1, now() + interval '1 hour' from users;
            insert into known_sources (user_id, bucket, last_login_at)
            select id, sha256(email::bytea), now() from users;
            analyze;
            alter database {name} set session_preload_libraries = auto_explain;
            alter database {name} set plan_cache_mode = {mode};
            alter database {name} set auto_explain.log_min_duration = 0;
            alter database {name} set auto_explain.log_level = notice;
            alter database {name} set auto_explain.log_nested_statements = on;",
            ann = ann.id,
            name = world.database().name,
            mode = match planned {
                Planned::ForValues => "force_custom_plan",
                Planned::ForAll => "force_generic_plan",
            },
        ))
        .await
        .unwrap();
    for table in TABLES {
        // Or its statistics would be made anew.
        let keep = format!("alter table {table} set (autovacuum_enabled = off)");
        world.sql.batch_execute(&keep).await.unwrap();
    }
    world
        .rows(
            "update pg_class set reltuples = reltuples * 200
             where relnamespace = 'public'::regnamespace and relkind in ('r', 'i')",
            &[],
        )
        .await;
    for table in TABLES {
        let believed = estimate(&world, table).await;
        assert!(believed >= 1_000_000, "{believed} {table}");
    }
    // Settings of a database are those of connections to come.
    world.reopen(Door::Event).await;
    (world, ann)
}

/// How many rows the planner believes a table to have.
async fn estimate(world: &World, table: &str) -> u64 {
    let explained = world
        .rows(&format!("explain select from {table}"), &[])
        .await;
    // Seq Scan on posts  (cost=0.00..10137.00 rows=1000000 width=0)
    let line: &str = explained[0].get(0);
    let (_, rows) = line.split_once("rows=").unwrap();
    rows.split(' ').next().unwrap().parse().unwrap()
}

/// Sends a request that must succeed or be a failed login, and asserts that what it runs uses these indexes.
async fn explain(world: &World, request: Request, expected: &[&str]) -> Answer {
    let what = format!("{} {}", request.method, request.target);
    PLANS.take();
    let answer = world.send(request).await;
    let status = answer.status.as_u16();
    assert!(
        (200..300).contains(&status) || status == 401,
        "{what}: {}",
        answer.text()
    );
    assert_indexed(&what, expected);
    answer
}

#[track_caller]
fn assert_indexed(what: &str, expected: &[&str]) {
    let plans = PLANS.take().join("\n");
    for table in TABLES {
        // A table's scan is followed by its alias, by its costs, or by the end of the line.
        for line in plans.lines() {
            let is_scan = line
                .split_once(&format!("Seq Scan on {table}"))
                .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(' '));
            assert!(!is_scan, "{what} reads all of {table}:\n{plans}");
        }
    }
    for part in expected {
        assert!(
            plans.contains(part),
            "{what} makes no use of {part}:\n{plans}"
        );
    }
}

/// Gathers plans from now on, for every test of the process.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Notices).unwrap();
        log::set_max_level(LevelFilter::Info);
    });
}

/// Where the client of PostgreSQL puts the server's notices.
struct Notices;

impl Log for Notices {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tokio_postgres")
    }

    fn log(&self, record: &Record<'_>) {
        let notice = record.args().to_string();
        if self.enabled(record.metadata()) && notice.contains("Query Text:") {
            PLANS.with_borrow_mut(|plans| plans.push(notice));
        }
    }

    fn flush(&self) {}
}
