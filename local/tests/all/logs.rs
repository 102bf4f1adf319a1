//! The log, at its most talkative: never a password, a token, a digest, a key or an address.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use shared::telemetry::Log;
use tokio::runtime;
use tracing::{Dispatch, dispatcher};
use tracing_subscriber::{
    fmt::{MakeWriter, format::FmtSpan},
    layer::SubscriberExt,
    registry,
};

use crate::{
    accounts::farewell,
    limits::buckets,
    refresh::digest_of,
    world::{Answer, Door, Request, SECRET_KEY, World, connect, pair},
};

const NAME: &str = "ludmilla";
const PASSWORDS: [&str; 4] = [
    "quartz-heron-8153",
    "copper-finch-6641",
    "velvet-otter-2297",
    "password1",
];

/// Everything that was logged.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Heard {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What no log may hold, by what it is.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, kind: &'static str, text: &str) {
        self.0.push((kind, text.to_owned()));
    }

    /// Bytes in every form in which somebody might write them down.
    fn add_bytes(&mut self, kind: &'static str, bytes: &[u8]) {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = hex.concat();
        let list = format!("{bytes:?}");
        for text in [
            &hex,
            &hex.to_uppercase(),
            list.trim_matches(['[', ']']),
            &URL_SAFE_NO_PAD.encode(bytes),
        ] {
            self.add(kind, text);
        }
    }

    /// The tokens of a login or a refresh, whole and in part.
    fn add_pair(&mut self, answer: &Answer) -> (String, String) {
        let (access_token, refresh_token) = pair(answer);
        for part in access_token.split('.').skip(1) {
            self.add("access token", part);
        }
        self.add("refresh token", &refresh_token);
        self.add_bytes(
            "refresh token",
            &URL_SAFE_NO_PAD.decode(&refresh_token).unwrap(),
        );
        self.add_bytes("digest", &digest_of(&refresh_token));
        (access_token, refresh_token)
    }

    #[track_caller]
    fn assert_unheard(&self, log: &str) {
        for (kind, secret) in &self.0 {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "a {kind} is in the log: {secret}");
        }
    }
}

#[test]
fn nothing_secret_is_logged_at_any_level_over_http() {
    assert_keeps_secrets(Door::Http);
}

#[test]
fn nothing_secret_is_logged_at_any_level_by_event() {
    assert_keeps_secrets(Door::Event);
}

/// What crates write by `log` would reach ours only through this bridge: PostgreSQL's driver, for one, writes
/// down the parameters of statements.
#[test]
fn there_is_no_bridge_from_another_log() {
    assert!(!include_str!("../../../Cargo.lock").contains("\"tracing-log\""));
}

fn assert_keeps_secrets(door: Door) {
    let (heard, heard_on_lambda) = (Heard::default(), Heard::default());
    let everything = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_events(FmtSpan::FULL)
        .with_writer(heard.clone());
    let on_lambda = Log {
        function: Some("social".to_owned()),
        ..Log::PLAIN
    };
    let ears = heard_on_lambda.clone();
    let log = registry()
        .with(on_lambda.layer(move || ears.clone()))
        .with(everything);
    let log = Dispatch::new(log);
    // Beside a second one: of a single subscriber tracing assumes that it is every thread's, and a thread of
    // another test that has none would silence an event for all.
    let _other = Dispatch::new(registry());
    let of_thread = log.clone();
    // The threads of this runtime alone, those that hash among them: other tests keep their own log.
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || std::mem::forget(dispatcher::set_default(&of_thread)))
        .build()
        .unwrap();
    let secrets = dispatcher::with_default(&log, || runtime.block_on(live(door)));
    drop(runtime);
    let (log, log_on_lambda) = (heard.text(), heard_on_lambda.text());
    // Silence would prove nothing.
    assert!(log.contains("a whisper") && log_on_lambda.contains("_aws"));
    for log in [log, log_on_lambda] {
        secrets.assert_unheard(&log);
        for said in [
            r#""status":200"#,
            r#""status":429"#,
            r#""status":500"#,
            r#""status":503"#,
            "SQLSTATE 23514",
            "SQLSTATE 57P01",
            "refresh_token_reused",
            "a stored password hash cannot be used",
        ] {
            assert!(log.contains(said), "{said} is not in the log");
        }
    }
}

/// The whole life of an account, and what goes wrong in it.
async fn live(door: Door) -> Secrets {
    let [old, new, wrong, common] = PASSWORDS;
    let world = World::with(door, |config| config.reuse_grace = Duration::from_mins(1)).await;
    let email = format!("{NAME}@example.com");
    // On the threads that hash, too, the log hears everything.
    tokio::task::spawn_blocking(|| tracing::trace!("a whisper"))
        .await
        .unwrap();
    let mut secrets = Secrets::default();
    secrets.add("key", SECRET_KEY);
    secrets.add("password", world.database().password.reveal());
    secrets.add("address", NAME);
    let client_ip = world.usual_source().to_string();
    // The address that the tests' own server listens on is in lines about its connections.
    if door != Door::Http {
        secrets.add("client", &client_ip);
    }
    secrets.add("password hash", "$argon2");
    for password in PASSWORDS {
        secrets.add("password", password);
        secrets.add("password", &password.replace('-', "%2D"));
    }
    let counted_by = buckets(&email, &world.usual_source().to_string());
    secrets.add_bytes("digest", &counted_by.address);
    secrets.add_bytes("digest", &counted_by.address_and_source);

    for (password, status) in [(old, 201), (new, 409), (common, 422)] {
        assert_eq!(world.sign_up(&email, password).await.status, status);
    }
    let (access_token, first) = secrets.add_pair(&world.log_in(&email, old).await);
    let (_, elsewhere) = secrets.add_pair(&world.log_in(&email, old).await);
    assert_eq!(world.log_in(&email, wrong).await.status, 401);

    // Refreshed, answered again, refreshed, and reused.
    let (_, second) = secrets.add_pair(&world.refresh(&elsewhere).await);
    secrets.add_pair(&world.refresh(&elsewhere).await);
    let (_, third) = secrets.add_pair(&world.refresh(&second).await);
    assert_eq!(world.refresh(&elsewhere).await.status, 401);
    assert_eq!(world.log_out(&third).await.status, 404);

    // Secrets where they do not belong.
    for request in [
        Request::get(&format!(
            "/posts/?search={NAME}&token={first}&password={old}"
        )),
        Request::get(&format!("/users/{email}")),
        Request::get(&format!("/{first}/{old}")),
        Request::get("/posts/").bearer(&first),
        Request::get("/posts/").header("authorization", &format!("Basic {old}")),
        Request::new(NAME, "/posts/"),
        Request::post("/auth/login").form(&format!("username={email}&password={old}%FF")),
        Request::post("/users/").json_text(&format!(r#"{{"email":"{email}","password":"{old}""#)),
    ] {
        world.send(request).await;
    }

    let change = Request::put("/users/me/password")
        .bearer(&access_token)
        .json(&json!({ "old_password": old, "new_password": new }));
    assert_eq!(world.send(change).await.status, 200);
    let (access_token, _) = secrets.add_pair(&world.log_in(&email, new).await);

    // The server's complaint quotes the row, address and hash and all.
    world
        .sql
        .batch_execute("alter table users add check (email not like 'x%')")
        .await
        .unwrap();
    let refused = world.sign_up(&format!("x{email}"), old).await;
    assert_eq!(refused.status, 500);
    break_off(&world, &email, new).await;
    let stored =
        format!("update users set password_hash = '$argon2id$v=19$m=1,t=1,p=1${old}${new}'");
    let keep = world.rows("select password_hash from users", &[]).await;
    world.sql.batch_execute(&stored).await.unwrap();
    assert_eq!(world.log_in(&email, new).await.status, 401);
    let restore = "update users set password_hash = $1";
    world
        .sql
        .execute(restore, &[&keep[0].get::<_, String>(0)])
        .await
        .unwrap();

    for _ in 0..10 {
        world.send(farewell(&access_token, wrong)).await;
    }
    assert_eq!(world.send(farewell(&access_token, new)).await.status, 429);
    world.sql.batch_execute("truncate attempts").await.unwrap();
    assert_eq!(world.log_out(&first).await.status, 200);
    assert_eq!(world.send(farewell(&access_token, new)).await.status, 204);
    secrets
}

/// A login whose connection is cut off while it waits.
async fn break_off(world: &World, email: &str, password: &str) {
    let mut other = connect(world.database()).await;
    let lock = other.transaction().await.unwrap();
    lock.execute("select from users for update", &[])
        .await
        .unwrap();
    let cut = async {
        world.until_waiting(1).await;
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
        world.rows(cut, &[]).await;
    };
    let (answer, ()) = tokio::join!(world.log_in(email, password), cut);
    answer.assert_detail(503, "Service Unavailable");
    lock.commit().await.unwrap();
}
