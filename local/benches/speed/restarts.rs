//! Mixed traffic while PostgreSQL is restarted every few seconds: nothing acknowledged is lost, nothing is done
//! twice, and no answer is a 500. Run with `cargo bench -p local -- restarts [REQUESTS]`.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{body::Bytes, http::Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use local::{
    postgres::{Connection, Server, Source},
    proxies::TrustedProxies,
    server,
    settings::{DEFAULTS, Origins},
};
use migrate::Order;
use serde_json::{Value, json};
use shared::{
    App, app,
    config::{Config, Database, Settings},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::Failure;

const CLIENTS: u64 = 16;
const REQUESTS: u64 = 200_000;
/// Time between two restarts.
const UPTIME: Duration = Duration::from_secs(3);
const PASSWORD: &str = "opal-lantern-42";

/// What all clients share.
struct Scene {
    http: Client<HttpConnector, Full<Bytes>>,
    api: String,
    left: AtomicU64,
}

/// What one client did and knows.
#[derive(Default)]
struct Diary {
    user_id: i64,
    answers: BTreeMap<u16, u64>,
    posts: HashSet<i64>,
    /// Posts on which the client's vote is known to be or not to be; one whose answer was lost is not here.
    votes: BTreeMap<i64, bool>,
    broken: Vec<String>,
}

/// So many requests, or as many as an hour of moderate traffic has.
pub(crate) async fn run(requests: Option<u64>) -> Result<(), Failure> {
    let requests = requests.unwrap_or(REQUESTS);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("restarts");
    let mut quiet = |_: &str| ();
    let mut postgres = Server::start(&home, &Source::Search, true, &mut quiet).await?;

    // The server has another port after each restart; the API sees one, as behind a proxy.
    let port = Arc::new(AtomicU16::new(postgres.connection().port));
    let gate = TcpListener::bind("127.0.0.1:0").await?;
    let gate_port = gate.local_addr()?.port();
    tokio::spawn(forward(gate, Arc::clone(&port)));

    let config = settings(postgres.connection(), gate_port)?;
    let database = config.database.clone().ok_or("there is no database")?;
    migrate::carry_out(&Order::Migrate, &database).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let scene = Arc::new(Scene {
        http: Client::builder(TokioExecutor::new()).build_http(),
        api: format!("http://{}", listener.local_addr()?),
        left: AtomicU64::new(requests),
    });
    let app = App::new(&config, 2).map_err(|error| error.cause())?;
    let served = app::service(local::router(), app);
    let cors = server::cors(Origins::Any);
    tokio::spawn(server::serve(
        listener,
        served,
        cors,
        TrustedProxies::default(),
        std::future::pending(),
    ));

    let began = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(Arc::clone(&scene), number));
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let restarts = tokio::spawn({
        let (is_over, port, home) = (Arc::clone(&is_over), Arc::clone(&port), home.clone());
        async move {
            let mut restarts = 0;
            while !is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(UPTIME).await;
                postgres.stop().await?;
                postgres = Server::start(&home, &Source::Search, false, &mut |_| ()).await?;
                port.store(postgres.connection().port, Ordering::Relaxed);
                restarts += 1;
            }
            Ok::<_, Failure>((postgres, restarts))
        }
    });
    let diaries = clients.join_all().await;
    is_over.store(true, Ordering::Relaxed);
    let (postgres, restarts) = restarts.await??;
    let took = began.elapsed();

    let broken = audit(&diaries, &database).await?;
    let mut answers: BTreeMap<u16, u64> = BTreeMap::new();
    for diary in &diaries {
        for (status, count) in &diary.answers {
            *answers.entry(*status).or_default() += count;
        }
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{requests} requests by {CLIENTS} clients, {restarts} restarts, {took:.0?}"
    )?;
    for (status, count) in &answers {
        writeln!(out, "{status:>8} {count:>8}")?;
    }
    writeln!(out, "{:>8} {:>8}", "broken", broken.len())?;
    for promise in &broken {
        writeln!(out, "{promise}")?;
    }
    postgres.stop().await?;
    fs::remove_dir_all(&home).ok();
    if broken.is_empty() && !answers.contains_key(&500) {
        Ok(())
    } else {
        Err("a promise was broken".into())
    }
}

fn settings(connection: &Connection, port: u16) -> Result<Config, Failure> {
    let settings = Settings::from_lookup(|name| match name {
        "DATABASE_HOSTNAME" => Some(connection.host.to_string()),
        "DATABASE_PORT" => Some(port.to_string()),
        "DATABASE_NAME" => Some(connection.database.clone()),
        "DATABASE_USERNAME" => Some(connection.username.clone()),
        "DATABASE_PASSWORD" => Some(connection.password.clone()),
        "SECRET_KEY" => Some("a signing key for a benchmark, 32 bytes".to_owned()),
        _ => None,
    });
    Ok(Config::read(&settings, DEFAULTS)?)
}

async fn forward(gate: TcpListener, port: Arc<AtomicU16>) {
    while let Ok((mut client, _)) = gate.accept().await {
        let port = Arc::clone(&port);
        tokio::spawn(async move {
            if let Ok(mut server) =
                TcpStream::connect(("127.0.0.1", port.load(Ordering::Relaxed))).await
            {
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

/// Writes, reads, votes and refreshes until no request is left.
async fn client(scene: Arc<Scene>, number: u64) -> Diary {
    let mut diary = Diary::default();
    let email = format!("client{number}@example.com");
    let account = json!({ "email": email, "password": PASSWORD });
    let user = loop {
        match scene
            .send(&mut diary, "POST", "/users", None, Some(account.clone()))
            .await
        {
            Some((201, user)) => break user,
            // The account was made, and the answer lost: then it can be read after the login.
            Some((409, _)) => break Value::Null,
            _ => {}
        }
    };
    let mut pair = scene.log_in(&mut diary, &email).await;
    diary.user_id = match user["id"].as_i64() {
        Some(id) => id,
        None => loop {
            if let Some((200, user)) = scene
                .send(&mut diary, "GET", "/users/me", token(&pair), None)
                .await
            {
                break user["id"].as_i64().unwrap_or_default();
            }
        },
    };
    let mut dice = number + 1;
    while scene
        .left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok()
    {
        // A linear congruential generator (Knuth): the same traffic every time.
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (roll, post_id) = (
            dice >> 33,
            i64::try_from((dice >> 40) % 200 + 1).unwrap_or(1),
        );
        let bearer = token(&pair);
        match roll % 20 {
            0 => {
                let post = json!({ "title": format!("by {number}"), "content": roll.to_string() });
                if let Some((201, post)) = scene
                    .send(&mut diary, "POST", "/posts", bearer, Some(post))
                    .await
                {
                    diary.posts.extend(post["id"].as_i64());
                }
            }
            1..=8 => scene.vote(&mut diary, bearer, post_id, roll % 2 == 0).await,
            9 => {
                let token = json!({ "refresh_token": pair["refresh_token"] });
                match scene
                    .send(&mut diary, "POST", "/auth/refresh", None, Some(token))
                    .await
                {
                    Some((200, next)) => pair = next,
                    // Whether the token was spent is not known: the client begins anew.
                    _ => pair = scene.log_in(&mut diary, &email).await,
                }
            }
            10..=14 => drop(
                scene
                    .send(&mut diary, "GET", "/posts?limit=5", bearer, None)
                    .await,
            ),
            _ => drop(
                scene
                    .send(&mut diary, "GET", &format!("/posts/{post_id}"), None, None)
                    .await,
            ),
        }
    }
    diary
}

fn token(pair: &Value) -> Option<&str> {
    pair["access_token"].as_str()
}

impl Scene {
    /// Sends a request and notes its answer; `None` where the answer was lost.
    async fn send(
        &self,
        diary: &mut Diary,
        method: &str,
        target: &str,
        bearer: Option<&str>,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.api));
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        self.answered(diary, request.body(Full::new(body)).ok()?)
            .await
    }

    async fn answered(
        &self,
        diary: &mut Diary,
        request: Request<Full<Bytes>>,
    ) -> Option<(u16, Value)> {
        let line = format!("{} {}", request.method(), request.uri().path());
        let answer = self.http.request(request).await.ok()?;
        let status = answer.status().as_u16();
        *diary.answers.entry(status).or_default() += 1;
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        if status == 500 || status == 401 && !line.contains("/auth/") {
            diary
                .broken
                .push(format!("{line} was answered with {status}: {body}"));
        }
        Some((status, body))
    }

    async fn log_in(&self, diary: &mut Diary, email: &str) -> Value {
        let form = format!("username={}&password={PASSWORD}", email.replace('@', "%40"));
        loop {
            let request = Request::builder()
                .method("POST")
                .uri(format!("{}/auth/login", self.api))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(form.clone())));
            let Ok(request) = request else { continue };
            if let Some((200, pair)) = self.answered(diary, request).await {
                return pair;
            }
        }
    }

    async fn vote(&self, diary: &mut Diary, bearer: Option<&str>, post_id: i64, is_added: bool) {
        let before = diary.votes.remove(&post_id);
        let ballot = json!({ "post_id": post_id, "dir": i32::from(is_added) });
        let answer = self
            .send(diary, "POST", "/vote", bearer, Some(ballot))
            .await;
        let Some((status, body)) = answer else { return };
        let is_known_post = body["detail"]
            .as_str()
            .is_none_or(|detail| !detail.starts_with("Post with id"));
        let changed = match status {
            201 => true,
            409 => false,
            404 if is_known_post => false,
            _ => return,
        };
        if before.is_some_and(|before| (before != is_added) != changed) {
            diary
                .broken
                .push(format!("a vote on post {post_id} was not as it was left"));
        }
        diary.votes.insert(post_id, is_added);
    }
}

/// Holds what clients know against what is stored.
async fn audit(diaries: &[Diary], database: &Database) -> Result<Vec<String>, Failure> {
    let sql = shared::db::connect(database)
        .await
        .map_err(|error| error.cause())?;
    let mut broken: Vec<String> = diaries
        .iter()
        .flat_map(|diary| diary.broken.clone())
        .collect();
    for diary in diaries {
        let posts = sql
            .query(
                "select id from posts where owner_id = $1",
                &[&diary.user_id],
            )
            .await?;
        let posts: HashSet<i64> = posts.iter().map(|row| row.get("id")).collect();
        broken.extend(
            diary
                .posts
                .difference(&posts)
                .map(|id| format!("post {id} was acknowledged and lost")),
        );
        let votes = sql
            .query(
                "select post_id from votes where user_id = $1",
                &[&diary.user_id],
            )
            .await?;
        let votes: HashSet<i64> = votes.iter().map(|row| row.get("post_id")).collect();
        for (post_id, is_there) in &diary.votes {
            if votes.contains(post_id) != *is_there {
                broken.push(format!(
                    "a vote of user {} on post {post_id} is not as acknowledged",
                    diary.user_id
                ));
            }
        }
    }
    let doubles = [
        (
            "sessions with two live tokens",
            "select count(*) from (select from refresh_tokens where spent_at is null group by session_id having count(*) > 1) twice",
        ),
        (
            "posts whose count is wrong",
            "select count(*) from posts where (select count(*) from votes where post_id = posts.id)
          <> (select coalesce(sum(votes), 0) from vote_counts where post_id = posts.id)",
        ),
        (
            "addresses with two accounts",
            "select count(*) from (select from users group by lower(email) having count(*) > 1) twice",
        ),
    ];
    for (what, count) in doubles {
        let count: i64 = sql.query_one(count, &[]).await?.get(0);
        if count > 0 {
            broken.push(format!("{count} {what}"));
        }
    }
    Ok(broken)
}
