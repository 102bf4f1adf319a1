//! The migrate function, and `GET /health`, which tells whether it still has something to do.

#[cfg(feature = "checks")]
mod pooled;

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use migrate::{Deadline, Order};
use serde_json::{Value, json};

use crate::world::{Door, World, connect};

#[tokio::test]
async fn a_database_that_was_never_migrated_gets_every_migration_once() {
    let world = World::unmigrated(Door::Event).await;
    let (all, none) = (files(), json!([]));
    let version = &all.as_array().unwrap().last().unwrap()["version"];

    let before = json!({ "applied": none, "pending": all });
    assert_eq!(carry_out(&world, "status").await, Ok(before));
    assert_eq!(
        tables(&world).await,
        [] as [String; 0],
        "asking changes nothing"
    );

    let first = json!({ "applied": all, "version": version });
    assert_eq!(carry_out(&world, "migrate").await, Ok(first));
    let after = json!({ "applied": all, "pending": none });
    assert_eq!(carry_out(&world, "status").await, Ok(after.clone()));
    assert_eq!(history(&world).await, all);

    let second = json!({ "applied": none, "version": version });
    assert_eq!(carry_out(&world, "migrate").await, Ok(second));
    assert_eq!(carry_out(&world, "status").await, Ok(after));
    assert_eq!(history(&world).await, all);
    assert_eq!(world.get("/posts/").await.json(), json!([]));
}

#[tokio::test]
async fn five_at_once_apply_every_migration_once() {
    let world = World::unmigrated(Door::Event).await;
    let (all, none) = (files(), json!([]));
    let mut applied = Vec::new();
    for report in join_all((0..5).map(|_| carry_out(&world, "migrate"))).await {
        let report = report.unwrap();
        assert_eq!(
            report["version"],
            all.as_array().unwrap().last().unwrap()["version"]
        );
        applied.push(report["applied"].clone());
    }
    applied.sort_by_key(|names| names.as_array().unwrap().len());
    assert_eq!(
        applied,
        [none.clone(), none.clone(), none.clone(), none, all.clone()]
    );
    assert_eq!(history(&world).await, all);
}

#[tokio::test]
async fn where_one_migration_fails_none_is_applied_and_all_can_be_tried_again() {
    let world = World::unmigrated(Door::Event).await;
    let all = files();
    // The second migration cannot make its table, after it has made something else.
    world
        .sql
        .batch_execute("create table posts (mine text); insert into posts values ('kept')")
        .await
        .unwrap();

    let failure = carry_out(&world, "migrate").await.unwrap_err();
    assert!(
        failure.starts_with("The migrations did not finish: ")
            && failure.contains("42P07")
            && failure.ends_with(". Nothing was changed."),
        "{failure}"
    );
    let status = json!({ "applied": [], "pending": all });
    assert_eq!(carry_out(&world, "status").await, Ok(status));
    assert_eq!(tables(&world).await, ["posts"]);
    assert_eq!(
        world
            .number("select count(*) from posts where mine = 'kept'")
            .await,
        1
    );
    assert_eq!(
        world
            .number("select count(*) from pg_extension where extname = 'pg_trgm'")
            .await,
        0
    );
    world.get("/health").await.assert_detail(503, BEHIND);

    world.sql.batch_execute("drop table posts").await.unwrap();
    let report = carry_out(&world, "migrate").await.unwrap();
    assert_eq!(report["applied"], all);
    assert_eq!(history(&world).await, all);
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_left_alone() {
    let world = World::new(Door::Event).await;
    let (all, last) = (
        files(),
        "(select max(version) from refinery_schema_history)",
    );
    let newest = all.as_array().unwrap().last().unwrap();
    let spoil = format!(
        "delete from refinery_schema_history where version = {last};
         update refinery_schema_history set checksum = 'none' where version = 1"
    );
    world.sql.batch_execute(&spoil).await.unwrap();
    let failure = carry_out(&world, "migrate").await.unwrap_err();
    assert!(
        failure.ends_with("the history has no checksum of migration 1. Nothing was changed."),
        "{failure}"
    );
    let status = carry_out(&world, "status").await.unwrap();
    assert_eq!(status["pending"], json!([newest]));
}

#[tokio::test]
async fn a_database_that_is_ahead_of_this_build_is_left_alone() {
    let world = World::new(Door::Event).await;
    world
        .rows(
            "insert into refinery_schema_history
             values (1000, 'later', '2030-01-01T00:00:00Z', '1')",
            &[],
        )
        .await;
    let mut applied = files();
    applied
        .as_array_mut()
        .unwrap()
        .push(json!({ "version": 1000, "name": "later" }));

    let status = json!({ "applied": applied, "pending": [] });
    assert_eq!(carry_out(&world, "status").await, Ok(status));
    let report = json!({ "applied": [], "version": 1000 });
    assert_eq!(carry_out(&world, "migrate").await, Ok(report));
    assert_eq!(history(&world).await, applied);
    world
        .get("/health")
        .await
        .assert(200, &json!({ "status": "ok" }));
}

#[test]
fn orders_are_what_they_are_called_and_nothing_else() {
    let adopt = |dry_run| Order::Adopt { dry_run };
    for (event, order) in [
        (json!({ "action": "migrate" }), Order::Migrate),
        (json!({ "action": "status" }), Order::Status),
        (json!({ "action": "clean-up" }), Order::CleanUp),
        (json!({ "action": "adopt" }), adopt(false)),
        (json!({ "action": "adopt", "dry_run": true }), adopt(true)),
        (json!({ "action": "adopt", "dry-run": true }), adopt(true)),
        (json!({ "dry-run": false, "action": "adopt" }), adopt(false)),
        (
            json!({ "action": "adopt", "dry_run": true, "dry-run": true }),
            adopt(true),
        ),
    ] {
        assert_eq!(serde_json::from_value::<Order>(event).unwrap(), order);
    }
}

#[test]
fn a_field_that_an_action_does_not_know_is_named_and_nothing_is_done() {
    for action in ["migrate", "status", "clean-up", "adopt"] {
        for field in ["dryRun", "dry run", "DRY_RUN", "Action", "detail", ""] {
            assert_eq!(
                refused(&json!({ "action": action, field: true })),
                format!(
                    "The event has fields that the action \"{action}\" does not know, and nothing \
                     was done: \"{field}\"."
                )
            );
        }
    }
    for action in ["migrate", "status", "clean-up"] {
        for field in ["dry_run", "dry-run"] {
            let refused = refused(&json!({ "action": action, field: true, "also": 1 }));
            assert!(
                refused.ends_with(&format!(": \"also\", \"{field}\".")),
                "{refused}"
            );
        }
    }
}

#[test]
fn an_event_that_may_mean_two_things_means_none() {
    let contradiction = "The fields \"dry_run\" and \"dry-run\" mean the same, and contradict each \
                         other here.";
    for (one, other) in [(true, false), (false, true)] {
        let event = json!({ "action": "adopt", "dry_run": one, "dry-run": other });
        assert_eq!(refused(&event), contradiction);
    }
    for name in ["dry_run", "dry-run"] {
        for value in [json!("true"), json!(1), json!(null), json!([]), json!({})] {
            assert_eq!(
                refused(&json!({ "action": "adopt", name: value })),
                format!("The field \"{name}\" must be true or false.")
            );
        }
    }
    for (event, name) in [
        (
            r#"{"action": "adopt", "dry_run": true, "dry_run": false}"#,
            "dry_run",
        ),
        (r#"{"action": "status", "action": "adopt"}"#, "action"),
    ] {
        let refused = serde_json::from_str::<Order>(event).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("The event has the field \"{name}\" more than once.")
        );
    }
}

#[test]
fn what_is_no_action_is_named_with_what_may_be_meant() {
    let actions = "\"migrate\", \"status\", \"clean-up\" or \"adopt\"";
    for (action, meant) in [
        ("Migrate", "migrate"),
        ("clean_up", "clean-up"),
        ("cleanup", "clean-up"),
        (" ADOPT", "adopt"),
    ] {
        assert_eq!(
            refused(&json!({ "action": action })),
            format!(
                "There is no action \"{action}\": it must be {actions}. Did you mean \"{meant}\"?"
            )
        );
    }
    assert_eq!(
        refused(&json!({ "action": "drop" })),
        format!("There is no action \"drop\": it must be {actions}.")
    );
    for action in [json!(null), json!(1), json!(["migrate"])] {
        assert_eq!(
            refused(&json!({ "action": action })),
            format!("The field \"action\" must be {actions}.")
        );
    }
    assert_eq!(
        refused(&json!({})),
        format!("The event has no field \"action\", which must be {actions}.")
    );
    // As EventBridge wraps a schedule that has no input of its own.
    let scheduled = json!({ "detail-type": "Scheduled Event", "source": "aws.events" });
    assert_eq!(
        refused(&scheduled),
        format!(
            "The event has no field \"action\", which must be {actions}. It has fields that are \
             not known: \"detail-type\", \"source\"."
        )
    );
    for event in [
        json!("migrate"),
        json!(null),
        json!(["migrate"]),
        json!(1.5),
        json!(true),
    ] {
        assert_eq!(
            refused(&event),
            "An event must be an object with the field \"action\"."
        );
    }
}

/// Why an event is no order.
fn refused(event: &Value) -> String {
    let order = serde_json::from_value::<Order>(event.clone());
    order
        .map(|order| format!("{order:?}"))
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_named_without_its_password() {
    let mut world = World::new(Door::Event).await;
    let database = world.config.database.as_mut().unwrap();
    database.name = "no_such_database".to_owned();
    let password = database.password.reveal().to_owned();
    for action in ["migrate", "status", "clean-up"] {
        let failure = carry_out(&world, action).await.unwrap_err();
        assert!(
            failure.starts_with("The database no_such_database on 127.0.0.1:"),
            "{failure}"
        );
        assert!(
            failure.contains("3D000") && !failure.contains(&password),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn cleaning_up_deletes_what_has_expired_a_bounded_number_of_rows_at_a_time() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    // Some have been used for long: more tokens than a batch has, of one session and of all.
    fill(&world, 2, "now() - interval '1 day'").await;
    let used = "
        insert into refresh_tokens (digest, session_id, spent_at)
        select sha256(format('%s used %s', id, number)::bytea), id, now()
        from sessions, generate_series(1, 12000) as number where expires_at <= now()";
    world.sql.batch_execute(used).await.unwrap();
    fill(&world, 250, "now() - number * interval '1 second'").await;
    fill(&world, 3, "now() + interval '1 hour'").await;
    world
        .sql
        .batch_execute(
            "
        create table batches (number bigint generated always as identity, kind text, size bigint);
        create function note_batch() returns trigger language plpgsql as $$ begin
            insert into batches (kind, size) select tg_table_name, count(*) from gone;
            return null;
        end $$;
        create trigger batch after delete on sessions referencing old table as gone
            for each statement execute function note_batch();
        create trigger batch after delete on refresh_tokens referencing old table as gone
            for each statement execute function note_batch();
    ",
        )
        .await
        .unwrap();

    assert_eq!(
        carry_out(&world, "clean-up").await,
        Ok(json!({ "sessions": 252 }))
    );
    let batches = world
        .rows(
            "select kind, size from batches where size > 0 order by number",
            &[],
        )
        .await;
    let batches: Vec<(&str, i64)> = batches
        .iter()
        .map(|row| (row.get("kind"), row.get("size")))
        .collect();
    assert_eq!(
        batches,
        [
            ("refresh_tokens", 10_000),
            ("refresh_tokens", 10_000),
            ("refresh_tokens", 4_200),
            ("sessions", 100),
            ("refresh_tokens", 200),
            ("sessions", 100),
            ("refresh_tokens", 104),
            ("sessions", 52),
        ]
    );
    // Those that have not expired are ann's own and the three, with two tokens each.
    assert_eq!(world.number("select count(*) from sessions").await, 4);
    assert_eq!(
        world
            .number("select count(*) from sessions where expires_at <= now()")
            .await,
        0
    );
    assert_eq!(world.number("select count(*) from refresh_tokens").await, 7);
    assert!(world.accepts(&ann.access_token).await);
    assert_eq!(world.refresh(&ann.refresh_token).await.status, 200);

    assert_eq!(
        carry_out(&world, "clean-up").await,
        Ok(json!({ "sessions": 0 }))
    );
}

#[tokio::test]
async fn cleaning_up_has_a_time_limit_of_its_own_and_keeps_what_a_batch_did() {
    let world = World::new(Door::Event).await;
    world.join("ann").await;
    fill(&world, 250, "now()").await;
    // Each batch takes longer than a request may, and the last one fails.
    world
        .sql
        .batch_execute(&format!(
            "alter database {} set statement_timeout = '50ms';
             create function take_time() returns trigger language plpgsql as $$ begin
                 perform pg_sleep(0.1);
                 if (select count(*) from gone) = 50 then raise 'the last batch'; end if;
                 return null;
             end $$;
             create trigger slow after delete on sessions referencing old table as gone
                 for each statement execute function take_time()",
            world.database().name
        ))
        .await
        .unwrap();
    let failure = carry_out(&world, "clean-up").await.unwrap_err();
    assert!(failure.contains("the last batch"), "{failure}");
    let left = "select count(*) from sessions where expires_at <= now()";
    assert_eq!(world.number(left).await, 50);
}

#[tokio::test]
async fn cleaning_up_ends_in_time_and_says_what_is_left() {
    let world = World::new(Door::Event).await;
    world.join("ann").await;
    fill(&world, 5, "now()").await;
    let out_of_time = Deadline::before(SystemTime::now(), Duration::ZERO);
    let failure = migrate::carry_out_by(&Order::CleanUp, world.database(), out_of_time)
        .await
        .unwrap_err();
    assert_eq!(
        failure.to_string(),
        "The clean-up did not finish in time; what it deleted before stays so."
    );
    let soon = Deadline::before(SystemTime::now() + Duration::from_secs(9), Duration::ZERO);
    let report = migrate::carry_out_by(&Order::CleanUp, world.database(), soon)
        .await
        .unwrap();
    assert_eq!(
        serde_json::to_value(report).unwrap(),
        json!({ "sessions": 0, "sessions_left": 5 })
    );
}

#[tokio::test]
async fn cleaning_up_sweeps_attempts_that_nobody_else_sweeps_any_more() {
    let world = World::new(Door::Event).await;
    let fill = "
        insert into attempts (bucket, attempts, window_ends_at)
        select sha256(number::text::bytea), 1, now() + interval '1 hour' * sign(number - 3000.5)
        from generate_series(1, 3005) as number";
    world.sql.batch_execute(fill).await.unwrap();
    let holder = connect(world.database()).await;
    holder
        .batch_execute(
            "begin; select from attempts where window_ends_at <= now()
             order by window_ends_at limit 3 for update",
        )
        .await
        .unwrap();
    let cleaned = Ok(json!({ "sessions": 0 }));
    assert_eq!(carry_out(&world, "clean-up").await, cleaned);
    assert_eq!(world.number("select count(*) from attempts").await, 8);
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(carry_out(&world, "clean-up").await, cleaned);
    assert_eq!(world.number("select count(*) from attempts").await, 5);
}

#[tokio::test]
async fn cleaning_up_waits_for_nobody() {
    let world = World::new(Door::Event).await;
    world.join("ann").await;
    fill(&world, 20, "now()").await;
    let holder = connect(world.database()).await;
    holder
        .batch_execute("begin; select from sessions where expires_at <= now() limit 5 for update")
        .await
        .unwrap();

    // Nobody lets go of the five before this returns.
    assert_eq!(
        carry_out(&world, "clean-up").await,
        Ok(json!({ "sessions": 15 }))
    );
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(
        world
            .number("select count(*) from sessions where expires_at <= now()")
            .await,
        5
    );
    assert_eq!(
        carry_out(&world, "clean-up").await,
        Ok(json!({ "sessions": 5 }))
    );
    assert_eq!(world.number("select count(*) from sessions").await, 1);
}

#[tokio::test]
async fn cleaning_up_waits_for_nobody_who_holds_a_token() {
    let world = World::new(Door::Event).await;
    world.join("ann").await;
    fill(&world, 120, "now() - number * interval '1 second'").await;
    let holder = connect(world.database()).await;
    holder
        .batch_execute(
            "begin;
             select from refresh_tokens where session_id = (
                 select id from sessions order by expires_at limit 1) and spent_at is null
             for update",
        )
        .await
        .unwrap();
    assert_eq!(
        carry_out(&world, "clean-up").await,
        Ok(json!({ "sessions": 119 }))
    );
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(
        carry_out(&world, "clean-up").await,
        Ok(json!({ "sessions": 1 }))
    );
}

at_both_doors! {
    async fn all_is_well_while_the_schema_is_current(world: World) {
        for target in ["/health", "/health/"] {
            world
                .get(target)
                .await
                .assert(200, &json!({ "status": "ok" }));
        }
    }

    async fn a_schema_that_is_behind_is_not_well(world: World) {
        let last = "(select max(version) from refinery_schema_history)";
        world
            .rows(
                &format!("delete from refinery_schema_history where version = {last}"),
                &[],
            )
            .await;
        world.get("/health").await.assert_detail(503, BEHIND);
        world.rows("delete from refinery_schema_history", &[]).await;
        world.get("/health").await.assert_detail(503, BEHIND);
    }
}

#[tokio::test]
async fn a_database_that_was_never_migrated_is_not_well_until_it_is() {
    for door in [Door::Http, Door::Event] {
        let world = World::unmigrated(door).await;
        world.get("/health").await.assert_detail(503, BEHIND);
        carry_out(&world, "migrate").await.unwrap();
        world
            .get("/health")
            .await
            .assert(200, &json!({ "status": "ok" }));
    }
}

const BEHIND: &str = "The database schema is behind; run the migrations";

/// Gives an order as the function's event does; the report as the function answers it, or its failure.
async fn carry_out(world: &World, action: &str) -> Result<Value, String> {
    let order: Order = serde_json::from_value(json!({ "action": action })).unwrap();
    let database = world.config.database.as_ref().unwrap();
    let report = migrate::carry_out(&order, database).await;
    report
        .map(|report| serde_json::to_value(report).unwrap())
        .map_err(|failure| failure.to_string())
}

/// The migrations in their folder, in order.
fn files() -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut found: Vec<(i32, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| {
            let (version, name) = file
                .strip_prefix('V')?
                .strip_suffix(".sql")?
                .split_once("__")?;
            Some((version.parse().unwrap(), name.to_owned()))
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(version, name)| json!({ "version": version, "name": name }))
        .collect()
}

/// The migrations that the database itself says it has.
async fn history(world: &World) -> Value {
    let select = "select version, name from refinery_schema_history order by version";
    let rows = world.rows(select, &[]).await;
    rows.iter()
        .map(|row| json!({ "version": row.get::<_, i32>(0), "name": row.get::<_, &str>(1) }))
        .collect()
}

async fn tables(world: &World) -> Vec<String> {
    let select = "select tablename::text from pg_tables where schemaname = 'public' order by 1";
    world
        .rows(select, &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// Sessions of somebody's that expire at a time, each with a spent token and a live one.
async fn fill(world: &World, size: i64, expires_at: &str) {
    let insert = format!(
        "
        with opened as (
            insert into sessions (user_id, expires_at)
            select users.id, {expires_at} from users, generate_series(1, $1::bigint) as number
            returning id)
        insert into refresh_tokens (digest, session_id, spent_at)
        select sha256(format('%s %s', id, spent_at)::bytea), id, spent_at
        from opened, unnest(array[null, now()]) as spent_at"
    );
    world.rows(&insert, &[&size]).await;
}
