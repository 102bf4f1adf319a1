//! The migrations as a resource of a stack: whatever comes of them, CloudFormation gets an answer.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Response, StatusCode},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use migrate::custom_resource::{answer, answer_with};
use serde_json::{Value, json};
use shared::config::{Database, Settings};
use tokio::net::TcpListener;

use crate::{
    commands::variables,
    world::{Door, Function, Proxy, World, connect},
};

/// Path and query of a signed address: no character of it may change.
const ADDRESS: &str = "/bucket/arn%3Aaws%3Acloudformation%7CMigrations%7C1?X-Amz-Date=20260301T100000Z\
                       &X-Amz-Signature=5ec2e7&empty=&sign=a%2Bb%2f%3D~";

/// How many others hold locks on this database beyond a moment.
const HOLDERS: &str = "
    select count(distinct pid) from pg_locks
    where database = (select oid from pg_database where datname = current_database())
      and pid <> pg_backend_pid()";
const TABLES: &str = "select count(*) from pg_tables where schemaname = 'public'";

/// What makes the first statement of a migration take for ever, without waiting for anybody.
const ENDLESS: &str = "
    create function endless() returns event_trigger language plpgsql as $$ begin
        loop perform pg_sleep(600); end loop;
    end $$;
    create event trigger endless on ddl_command_end execute function endless()";

/// Where CloudFormation waits for answers.
struct Waiting {
    url: String,
    heard: Arc<Mutex<Vec<Put>>>,
}

/// An answer as it came.
#[derive(Clone, Debug)]
struct Put {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Waiting {
    /// Says these to the answers, one after the other, and 200 to all that follow.
    async fn new(says: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{ADDRESS}", listener.local_addr().unwrap());
        let says = says
            .iter()
            .map(|status| StatusCode::from_u16(*status).unwrap());
        let says = Arc::new(Mutex::new(says.collect()));
        let heard = Arc::default();
        tokio::spawn(accept(listener, says, Arc::clone(&heard)));
        Self { url, heard }
    }

    fn event(&self, request_type: &str) -> Value {
        json!({
            "RequestType": request_type,
            "ResponseURL": self.url,
            "ServiceToken": "arn:aws:lambda:eu-central-1:123456789012:function:social-migrate",
            "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/social/1",
            "RequestId": "a-request",
            "LogicalResourceId": "Migrations",
            "ResourceType": "Custom::Migrations",
            "ResourceProperties": { "Migrations": "5ec2e7" },
        })
    }

    /// Asks for the migrations of a database, and waits for the one answer.
    async fn ask(&self, request_type: &str, database: &Database) -> Value {
        self.ask_by(request_type, database, in_a_minute()).await
    }

    /// Asks as one whose function has so many seconds, eight of which are kept for the answer.
    async fn ask_within(&self, seconds: u64, database: &Database) -> Value {
        let deadline = SystemTime::now() + Duration::from_secs(seconds);
        self.ask_by("Create", database, deadline).await
    }

    async fn ask_by(&self, request_type: &str, database: &Database, deadline: SystemTime) -> Value {
        let request = serde_json::from_value(self.event(request_type)).unwrap();
        let variables = settings(database);
        let settings = Settings::from_lookup(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        });
        answer(request, deadline, &settings).await.unwrap();
        self.only_answer()
    }

    /// The one answer that came, since this was last asked.
    #[track_caller]
    fn only_answer(&self) -> Value {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let [put] = heard.as_slice() else {
            panic!("{heard:?}");
        };
        put.read()
    }
}

impl Put {
    /// What it says, sent as CloudFormation asks.
    #[track_caller]
    fn read(&self) -> Value {
        assert_eq!(
            (&self.method, self.target.as_str()),
            (&Method::PUT, ADDRESS)
        );
        assert_eq!(self.headers["content-type"], "");
        assert_eq!(self.headers["content-length"], self.body.len().to_string());
        assert!(self.body.len() <= 4096, "{}", self.body.len());
        let answer: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(
            answer["StackId"],
            "arn:aws:cloudformation:eu-central-1:123456789012:stack/social/1"
        );
        assert_eq!(answer["RequestId"], "a-request");
        assert_eq!(answer["LogicalResourceId"], "Migrations");
        assert_eq!(answer["PhysicalResourceId"], "migrations");
        answer
    }
}

async fn accept(
    listener: TcpListener,
    says: Arc<Mutex<VecDeque<StatusCode>>>,
    heard: Arc<Mutex<Vec<Put>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (says, heard) = (Arc::clone(&says), Arc::clone(&heard));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (says, heard) = (Arc::clone(&says), Arc::clone(&heard));
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes().to_vec();
                heard.lock().unwrap().push(Put {
                    method: parts.method,
                    target: parts.uri.to_string(),
                    headers: parts.headers,
                    body,
                });
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = says.lock().unwrap().pop_front().unwrap_or(StatusCode::OK);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move { connection.await.ok() });
    }
}

fn settings(database: &Database) -> Vec<(&'static str, String)> {
    let mut settings = variables(database).to_vec();
    settings.push(("DATABASE_SSLMODE", "disable".to_owned()));
    settings
}

fn in_a_minute() -> SystemTime {
    SystemTime::now() + Duration::from_mins(1)
}

fn all_migrations() -> String {
    let mut names: Vec<_> =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations"))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .map(|name| name.strip_suffix(".sql").unwrap().to_owned())
            .collect();
    names.sort_by_key(|name| {
        name[1..]
            .split("__")
            .next()
            .unwrap()
            .parse::<i32>()
            .unwrap()
    });
    names.join(", ")
}

#[tokio::test]
async fn a_new_stack_gets_its_schema_and_is_told_what_was_applied() {
    let world = World::unmigrated(Door::Event).await;
    let stack = Waiting::new(&[]).await;
    let answer = stack.ask("Create", world.database()).await;
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    assert_eq!(answer["Data"]["Applied"], all_migrations());
    assert!(answer.get("Reason").is_none());
    assert_eq!(world.get("/health").await.status, 200);
}

#[tokio::test]
async fn an_update_applies_what_is_missing_and_one_without_anything_new_succeeds_too() {
    let world = World::new(Door::Event).await;
    let stack = Waiting::new(&[]).await;
    let nothing_new = stack.ask("Update", world.database()).await;
    assert_eq!(nothing_new["Status"], "SUCCESS", "{nothing_new}");
    assert_eq!(nothing_new["Data"]["Applied"], "");
    let version = nothing_new["Data"]["Version"].as_str().unwrap();
    assert!(all_migrations().contains(&format!(", V{version}__")));

    let empty = "drop schema public cascade; create schema public";
    world.sql.batch_execute(empty).await.unwrap();
    let answer = stack.ask("Update", world.database()).await;
    assert_eq!(
        answer["Data"],
        json!({ "Applied": all_migrations(), "Version": version })
    );
}

#[tokio::test]
async fn the_name_that_the_resource_has_is_kept() {
    let stack = Waiting::new(&[]).await;
    let mut event = stack.event("Delete");
    event["PhysicalResourceId"] = json!("as it was once called");
    let request = serde_json::from_value(event).unwrap();
    let settings = Settings::from_lookup(|_| None);
    answer(request, in_a_minute(), &settings).await.unwrap();
    let put = stack.heard.lock().unwrap()[0].clone();
    let answer: Value = serde_json::from_slice(&put.body).unwrap();
    assert_eq!(answer["PhysicalResourceId"], "as it was once called");
}

#[tokio::test]
async fn a_stack_that_is_deleted_leaves_the_schema_and_needs_no_database() {
    let world = World::new(Door::Event).await;
    world.join("ann").await;
    let stack = Waiting::new(&[]).await;
    let answer = stack.ask("Delete", world.database()).await;
    assert_eq!(answer["Status"], "SUCCESS");
    assert!(answer.get("Data").is_none());
    assert_eq!(world.number("select count(*) from users").await, 1);
    let nowhere = Database {
        port: 1,
        ..world.database().clone()
    };
    assert_eq!(stack.ask("Delete", &nowhere).await["Status"], "SUCCESS");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_the_reason_of_a_failure() {
    let world = World::new(Door::Event).await;
    let stack = Waiting::new(&[]).await;
    let nowhere = Database {
        port: 1,
        ..world.database().clone()
    };
    let answer = stack.ask("Create", &nowhere).await;
    assert_eq!(answer["Status"], "FAILED");
    assert!(answer.get("Data").is_none());
    let reason = answer["Reason"].as_str().unwrap();
    assert!(
        reason.contains("cannot be used") && reason.contains(":1 "),
        "{reason}"
    );
    assert!(
        !reason.contains(world.database().password.reveal()),
        "{reason}"
    );
}

#[tokio::test]
async fn a_history_that_diverges_is_the_reason_of_a_failure() {
    let world = World::new(Door::Event).await;
    let stack = Waiting::new(&[]).await;
    let other_history = "
        delete from refinery_schema_history
        where version = (select max(version) from refinery_schema_history);
        update refinery_schema_history set checksum = '7' where version = 1";
    world.sql.batch_execute(other_history).await.unwrap();
    let answer = stack.ask("Update", world.database()).await;
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(
        reason.starts_with("The migrations did not finish"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_the_reason_of_a_failure() {
    let stack = Waiting::new(&[]).await;
    for (settings, expected) in [
        (&[][..], "DATABASE_HOSTNAME is not set."),
        (
            &[("DATABASE_HOSTNAME", "db")][..],
            "DATABASE_NAME is not set.",
        ),
    ] {
        let request = serde_json::from_value(stack.event("Create")).unwrap();
        let settings = Settings::from_lookup(|name| {
            let found = settings.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        answer(request, in_a_minute(), &settings).await.unwrap();
        let answer = stack.only_answer();
        assert_eq!(
            (&answer["Status"], &answer["Reason"]),
            (&json!("FAILED"), &json!(expected))
        );
    }
}

#[tokio::test]
async fn a_request_that_is_not_as_it_should_be_is_answered_all_the_same() {
    let stack = Waiting::new(&[]).await;
    let whole = stack.event("Create");
    let mut cases = vec![
        (
            "RequestType",
            json!("Read"),
            "The request's RequestType is not Create, Update or Delete.".to_owned(),
        ),
        (
            "RequestType",
            json!("create"),
            "The request's RequestType is not Create, Update or Delete.".to_owned(),
        ),
        (
            "PhysicalResourceId",
            json!(7),
            "The request's PhysicalResourceId is not text.".to_owned(),
        ),
        (
            "action",
            json!("migrate"),
            "The request has an action, which CloudFormation never sends.".to_owned(),
        ),
    ];
    for name in ["RequestType", "StackId", "RequestId", "LogicalResourceId"] {
        cases.push((name, json!(null), format!("The request has no {name}.")));
        for wrong in [json!(7), json!(["a"]), json!({}), json!("")] {
            let said = format!("The request's {name} is empty or is not text.");
            cases.push((name, wrong, said));
        }
    }
    for (name, value, reason) in cases {
        let mut event = whole.clone();
        event[name] = value.clone();
        let mut events = vec![event.clone()];
        if value.is_null() {
            event.as_object_mut().unwrap().remove(name);
            events.push(event);
        }
        for event in events {
            let request = serde_json::from_value(event.clone()).unwrap();
            let work = async { panic!("nothing is to be done") };
            answer_with(request, in_a_minute(), work).await.unwrap();
            let put = stack.heard.lock().unwrap().pop().unwrap();
            let mut expected = json!({
                "Status": "FAILED",
                "Reason": reason,
                "PhysicalResourceId": "migrations",
            });
            for repeated in ["StackId", "RequestId", "LogicalResourceId"] {
                if let Some(Value::String(text)) = event.get(repeated) {
                    expected[repeated] = json!(text);
                }
            }
            let answer: Value = serde_json::from_slice(&put.body).unwrap();
            assert_eq!(answer, expected, "{name} {value}");
        }
    }
}

#[tokio::test]
async fn a_bad_setting_at_the_start_is_answered_too() {
    let world = World::unmigrated(Door::Event).await;
    for (name, value) in [
        ("AWS_LAMBDA_LOG_LEVEL", "chatty"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "many"),
        ("DATABASE_PORT", "a port"),
        ("DATABASE_SSLMODE", "perhaps"),
    ] {
        let stack = Waiting::new(&[]).await;
        let function = Function::start("migrate", world.database(), &[(name, value)]).await;
        assert_eq!(function.invoke(stack.event("Create")).await, Value::Null);
        let answer = stack.only_answer();
        assert_eq!(answer["Status"], "FAILED");
        let reason = answer["Reason"].as_str().unwrap();
        assert!(
            reason.starts_with(name) && reason.contains(value),
            "{reason}"
        );
        // A stack can be taken down without any.
        function.invoke(stack.event("Delete")).await;
        assert_eq!(stack.only_answer()["Status"], "SUCCESS");
        let refused = function.invoke(json!({ "action": "migrate" })).await;
        assert_eq!(refused["errorMessage"], reason);
    }
    assert_eq!(world.number(TABLES).await, 0);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_an_error_in_the_log_without_its_address() {
    let world = World::unmigrated(Door::Event).await;
    let talkative = [("AWS_LAMBDA_LOG_LEVEL", "TRACE")];
    let function = Function::start("migrate", world.database(), &talkative).await;
    let mut event = Waiting::new(&[]).await.event("Create");
    let address = "https://cloudformation.example.com/?X-Amz-Signature=5ec2e7";
    for url in [
        json!(null),
        json!(7),
        json!([address]),
        json!({ address: 1 }),
    ] {
        event["ResponseURL"] = url;
        let refused = function.invoke(event.clone()).await;
        assert_eq!(
            refused["errorMessage"],
            "The event is CloudFormation's, but nobody can be answered: ResponseURL is not there, or \
             is not text."
        );
    }
    event["ResponseURL"] = json!("no address 5ec2e7");
    let refused = function.invoke(event).await;
    assert_eq!(
        refused["errorMessage"],
        "CloudFormation did not take the answer: it is no address."
    );
    let log = function.kill().await.join("\n");
    assert_eq!(log.matches("ResponseURL is not there").count(), 4, "{log}");
    assert!(log.contains("ERROR") && !log.contains("5ec2e7"), "{log}");
}

#[tokio::test]
async fn migrations_that_run_out_of_time_are_a_failure_and_nothing_is_applied() {
    let world = World::unmigrated(Door::Event).await;
    let stack = Waiting::new(&[]).await;
    let mut other = connect(world.database()).await;
    let held = other.transaction().await.unwrap();
    // What every migration begins with waits for this.
    held.batch_execute("create table refinery_schema_history (version int)")
        .await
        .unwrap();
    let answer = stack.ask_within(9, world.database()).await;
    assert_eq!(answer["Status"], "FAILED");
    assert_eq!(answer["Reason"], "The migrations did not finish in time.");
    assert_eq!(world.number(HOLDERS).await, 1, "only the other one");
    held.rollback().await.unwrap();
    assert_eq!(world.number(TABLES).await, 0);
}

#[tokio::test]
async fn a_statement_that_runs_out_of_time_is_ended_before_the_answer() {
    let world = World::unmigrated(Door::Event).await;
    world.sql.batch_execute(ENDLESS).await.unwrap();
    let stack = Waiting::new(&[]).await;
    let answer = stack.ask_within(9, world.database()).await;
    assert_eq!(answer["Reason"], "The migrations did not finish in time.");
    assert_eq!(world.number(HOLDERS).await, 0);
    assert_eq!(world.number(TABLES).await, 0);

    let end = "drop event trigger endless";
    world.sql.batch_execute(end).await.unwrap();
    let answer = stack.ask("Create", world.database()).await;
    assert_eq!(answer["Data"]["Applied"], all_migrations());
}

#[tokio::test]
async fn a_statement_that_cannot_be_cancelled_ends_with_its_connection() {
    let world = World::unmigrated(Door::Event).await;
    world.sql.batch_execute(ENDLESS).await.unwrap();
    let mut database = world.database().clone();
    let proxy = Proxy::before(&mut database);
    let stack = Waiting::new(&[]).await;
    // The proxy does not pass on what cancels: nothing listens there.
    let interrupt = async {
        world.until(HOLDERS, 1).await;
        proxy.lead_to(1);
    };
    let (answer, ()) = tokio::join!(stack.ask_within(12, &database), interrupt);
    assert_eq!(answer["Reason"], "The migrations did not finish in time.");
    world.until(HOLDERS, 0).await;
    assert_eq!(world.number(TABLES).await, 0);
}

#[tokio::test]
async fn a_request_that_comes_twice_succeeds_twice() {
    let world = World::unmigrated(Door::Event).await;
    let older = connect(world.database()).await;
    older.batch_execute("begin").await.unwrap();
    older
        .batch_execute("select pg_advisory_xact_lock(x'736f6369616c'::bigint)")
        .await
        .unwrap();
    let (one, two) = (Waiting::new(&[]).await, Waiting::new(&[]).await);
    let finish = async {
        world.until_waiting(2).await;
        // Both wait for as long as there is time for an answer, which may be longer than a migration waits for a
        // table: nine tenths of what is left of a quarter of an hour.
        let waits = "
            select min(substring(query from 'lock_timeout = ([0-9]+)')::bigint) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        let waits = world.number(waits).await;
        assert!((790_000..803_000).contains(&waits), "{waits}");
        drop(older);
    };
    let (first, second, ()) = tokio::join!(
        one.ask_within(900, world.database()),
        two.ask_within(900, world.database()),
        finish
    );
    let mut applied = [&first, &second].map(|answer| {
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        answer["Data"]["Applied"].as_str().unwrap()
    });
    applied.sort_unstable();
    assert_eq!(applied, ["", &all_migrations()]);
}

#[tokio::test]
async fn a_request_that_waited_in_vain_says_for_what() {
    let world = World::unmigrated(Door::Event).await;
    let older = connect(world.database()).await;
    older
        .batch_execute("select pg_advisory_lock(x'736f6369616c'::bigint)")
        .await
        .unwrap();
    let stack = Waiting::new(&[]).await;
    let answer = stack.ask_within(10, world.database()).await;
    assert_eq!(
        answer["Reason"],
        "Another migration or adoption did not finish in time, and nothing was changed."
    );
    assert_eq!(world.number(HOLDERS).await, 1, "only the other one");
}

#[tokio::test]
async fn migrations_that_panic_are_a_failure() {
    let stack = Waiting::new(&[]).await;
    let request = serde_json::from_value(stack.event("Create")).unwrap();
    answer_with(request, in_a_minute(), async {
        panic!("out of {}", "cheese")
    })
    .await
    .unwrap();
    let answer = stack.only_answer();
    assert_eq!(answer["Status"], "FAILED");
    assert_eq!(answer["Reason"], "The migrations panicked: out of cheese.");
}

#[tokio::test]
async fn a_long_reason_is_cut_to_what_cloudformation_takes() {
    let stack = Waiting::new(&[]).await;
    for long in ["a reason ", "\u{1}", "\"", "ä😀"] {
        let long = long.repeat(5000);
        let request = serde_json::from_value(stack.event("Create")).unwrap();
        answer_with(request, in_a_minute(), async { panic!("{long}") })
            .await
            .unwrap();
        let answer = stack.only_answer();
        let reason = answer["Reason"].as_str().unwrap();
        let reason = reason.strip_prefix("The migrations panicked: ").unwrap();
        assert!(long.starts_with(reason) && reason.chars().count() > 200);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_sent_again_and_its_address_is_not_logged() {
    let world = World::new(Door::Event).await;
    let stack = Waiting::new(&[503, 403]).await;
    let talkative = [("AWS_LAMBDA_LOG_LEVEL", "TRACE")];
    let function = Function::start("migrate", world.database(), &talkative).await;
    function.invoke(stack.event("Delete")).await;
    let puts = stack.heard.lock().unwrap().clone();
    assert_eq!(puts.len(), 3);
    assert!(puts.iter().all(|put| put.read() == puts[0].read()));
    let log = function.kill().await.join("\n");
    assert!(log.contains("503") && log.contains("403"), "{log}");
    assert!(
        !log.contains("Signature") && !log.contains("bucket"),
        "{log}"
    );
}

#[tokio::test]
async fn an_answer_that_is_never_taken_is_given_up() {
    let stack = Waiting::new(&[500; 5]).await;
    let request = serde_json::from_value(stack.event("Delete")).unwrap();
    let settings = Settings::from_lookup(|_| None);
    let failure = answer(request, in_a_minute(), &settings).await.unwrap_err();
    let said = "CloudFormation did not take the answer: 500 Internal Server Error.";
    assert_eq!(failure.to_string(), said);
    assert_eq!(stack.heard.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn nobody_listens_at_the_address_and_it_is_not_shown() {
    let mut event = Waiting::new(&[]).await.event("Delete");
    for url in [
        "http://127.0.0.1:1/?X-Amz-Signature=5ec2e7",
        "no address 5ec2e7",
    ] {
        event["ResponseURL"] = json!(url);
        let request = serde_json::from_value(event.clone()).unwrap();
        let settings = Settings::from_lookup(|_| None);
        let failure = answer(request, in_a_minute(), &settings).await.unwrap_err();
        assert!(!failure.to_string().contains("5ec2e7"), "{failure}");
    }
}

#[tokio::test]
async fn the_function_answers_cloudformation_and_people() {
    let world = World::unmigrated(Door::Event).await;
    let stack = Waiting::new(&[]).await;
    let function = Function::start("migrate", world.database(), &[]).await;
    let answer = function.invoke(stack.event("Create")).await;
    assert_eq!(answer, Value::Null);
    assert_eq!(stack.only_answer()["Data"]["Applied"], all_migrations());

    let status = function.invoke(json!({ "action": "status" })).await;
    assert_eq!(status["pending"], json!([]));
    let migrated = function.invoke(json!({ "action": "migrate" })).await;
    assert_eq!(migrated["applied"], json!([]));
    let cleaned = function.invoke(json!({ "action": "clean-up" })).await;
    assert_eq!(cleaned, json!({ "sessions": 0 }));
    let unknown = function
        .invoke(json!({ "action": "drop everything" }))
        .await;
    assert_eq!(
        unknown["errorMessage"],
        "There is no action \"drop everything\": it must be \"migrate\", \"status\", \
         \"clean-up\" or \"adopt\"."
    );
    let unsure = r#"{"action": "adopt", "dry-run": true, "dry_run": false}"#;
    let unsure = function.invoke(serde_json::from_str(unsure).unwrap()).await;
    assert!(
        unsure["errorMessage"]
            .as_str()
            .unwrap()
            .contains("contradict"),
        "{unsure}"
    );
}
