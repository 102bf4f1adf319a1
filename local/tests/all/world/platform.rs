//! Lambda's side of a function that runs as a process of its own: a Runtime API on loopback, which hands out
//! events and takes answers, and the signals that a platform sends.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Bytes,
    http::{Method, Response, StatusCode},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shared::config::Database;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    Answer, Request,
    cargo::cargo,
    door::{http_event, read_answer},
};
use crate::commands::{signal, variables};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long an invocation may take, as the function is told.
const TIMEOUT: Duration = Duration::from_secs(29);
/// The trace that every invocation belongs to, and what a client may have added to its header.
pub(crate) const TRACE_ID: &str = "1-65f0a5de-3f2c1b4d5e6f708192a3b4c5";
const TRACE: &str = "Self=a client's word;Root=1-65f0a5de-3f2c1b4d5e6f708192a3b4c5;Sampled=1";

/// A function as Lambda runs it.
pub(crate) struct Function {
    platform: Arc<Platform>,
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

/// What the function and the test share.
#[derive(Default)]
struct Platform {
    invocations: AtomicUsize,
    waiting: Mutex<VecDeque<(String, Value)>>,
    arrived: Notify,
    answers: Mutex<HashMap<String, oneshot::Sender<Value>>>,
    /// How many wait for an event right now.
    idle: watch::Sender<usize>,
    extensions: watch::Sender<Vec<String>>,
    refuses_extensions: bool,
}

/// The folder of the functions' programs, which are built once, with the features that the tests have: nothing
/// but the programs is left to build.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    // The tests are in `target/debug/deps`.
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(3).unwrap();
    let built = cargo()
        .args(["build", "--quiet", "--locked", "--message-format", "json"])
        .arg("--target-dir")
        .arg(target)
        .args(["--package", "local", "--test", "all"])
        .args(["--package", "posts", "--bin", "posts"])
        .args(["--package", "migrate", "--bin", "migrate"])
        .args(["--package", "auth", "--bin", "auth"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the functions could not be built");
    // What `cargo test` has compiled serves here too, and is what the next cargo from a shell finds.
    let compiled_again: Vec<Value> = built
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .filter(|message: &Value| message["fresh"] == false)
        .map(|message| message["package_id"].clone())
        .filter(|package| !package.as_str().unwrap().starts_with("path+"))
        .collect();
    assert_eq!(compiled_again, Vec::<Value>::new());
    target.join("debug")
});

impl Function {
    /// Starts a function over a database, with these variables besides those that Lambda and the API need, and
    /// waits until it has asked for its first event.
    pub(crate) async fn start(name: &str, database: &Database, variables: &[(&str, &str)]) -> Self {
        Self::start_on(Platform::default(), name, database, variables).await
    }

    /// The same on a platform that registers no extensions.
    pub(crate) async fn start_without_extensions(name: &str, database: &Database) -> Self {
        let platform = Platform {
            refuses_extensions: true,
            ..Platform::default()
        };
        Self::start_on(platform, name, database, &[]).await
    }

    async fn start_on(
        platform: Platform,
        name: &str,
        database: &Database,
        others: &[(&str, &str)],
    ) -> Self {
        let programs = tokio::task::spawn_blocking(|| &*PROGRAMS).await.unwrap();
        let platform = Arc::new(platform);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(serve(listener, Arc::clone(&platform)));
        let mut process = Command::new(programs.join(name))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", format!("social-{name}"))
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "7")
            .envs(variables(database))
            .env("DATABASE_SSLMODE", "disable")
            .env("SECRET_KEY", super::SECRET_KEY)
            .envs(others.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = crate::commands::lines_of(&mut process);
        let function = Self {
            platform,
            process,
            lines,
        };
        function.until_idle(1).await;
        function
    }

    /// Waits until at least so many wait for an event.
    pub(crate) async fn until_idle(&self, how_many: usize) {
        let mut idle = self.platform.idle.subscribe();
        let waited = timeout(PATIENCE, idle.wait_for(|idle| *idle >= how_many));
        waited.await.expect("the function asks for events").unwrap();
    }

    /// The names of the extensions that were registered.
    pub(crate) fn extensions(&self) -> Vec<String> {
        self.platform.extensions.borrow().clone()
    }

    /// Sends a request as an event of an HTTP API.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        read_answer(&self.invoke(http_event(request, false)).await)
    }

    /// Invokes the function, and waits for what it answers.
    pub(crate) async fn invoke(&self, event: Value) -> Value {
        let (answer, answered) = oneshot::channel();
        {
            let number = self.platform.invocations.fetch_add(1, Ordering::Relaxed);
            let id = format!("invocation-{number}");
            let mut answers = self.platform.answers.lock().unwrap();
            answers.insert(id.clone(), answer);
            self.platform.waiting.lock().unwrap().push_back((id, event));
        }
        self.platform.arrived.notify_waiters();
        timeout(PATIENCE, answered).await.unwrap().unwrap()
    }

    /// The most memory that its process ever had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id().unwrap());
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    /// The next line of its log.
    pub(crate) async fn line(&mut self) -> String {
        timeout(PATIENCE, self.lines.recv()).await.unwrap().unwrap()
    }

    /// Tells it to end, as Lambda does, and waits for that: its status, and the rest of its log.
    pub(crate) async fn end(mut self) -> (Option<i32>, Vec<String>) {
        signal(&self.process, "TERM");
        let status = timeout(PATIENCE, self.process.wait()).await.unwrap();
        (status.unwrap().code(), self.rest().await)
    }

    /// Ends it without notice, and returns the rest of its log.
    pub(crate) async fn kill(mut self) -> Vec<String> {
        self.process.kill().await.unwrap();
        self.rest().await
    }

    async fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.lines.recv().await {
            lines.push(line);
        }
        lines
    }
}

async fn serve(listener: TcpListener, platform: Arc<Platform>) {
    while let Ok((stream, _)) = listener.accept().await {
        let platform = Arc::clone(&platform);
        let service = service_fn(move |request| answer(request, Arc::clone(&platform)));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        // A function that ends breaks off.
        tokio::spawn(async move { connection.await.ok() });
    }
}

/// The Runtime API and the Extensions API, as far as a function uses them.
async fn answer(
    request: hyper::Request<Incoming>,
    platform: Arc<Platform>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path: Vec<_> = parts.uri.path().trim_matches('/').split('/').collect();
    Ok(match (parts.method, path.as_slice()) {
        (Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => platform.next().await,
        (
            Method::POST,
            [
                "2018-06-01",
                "runtime",
                "invocation",
                id,
                "response" | "error",
            ],
        ) => {
            let answer = platform.answers.lock().unwrap().remove(*id);
            // A test that broke off wants no answer.
            let _ = answer.unwrap().send(serde_json::from_slice(&body).unwrap());
            accepted(StatusCode::ACCEPTED)
        }
        (Method::POST, ["2020-01-01", "extension", "register"]) if platform.refuses_extensions => {
            accepted(StatusCode::FORBIDDEN)
        }
        (Method::POST, ["2020-01-01", "extension", "register"]) => {
            assert_eq!(&body[..], br#"{"events":[]}"#);
            let name = parts.headers["lambda-extension-name"].to_str().unwrap();
            platform
                .extensions
                .send_modify(|names| names.push(name.to_owned()));
            let mut response = accepted(StatusCode::OK);
            response.headers_mut().insert(
                "lambda-extension-identifier",
                "an-extension".parse().unwrap(),
            );
            response
        }
        (Method::GET, ["2020-01-01", "extension", "event", "next"]) => {
            assert_eq!(parts.headers["lambda-extension-identifier"], "an-extension");
            std::future::pending().await
        }
        (method, path) => panic!("{method} {path:?} {body:?}"),
    })
}

fn accepted(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

impl Platform {
    /// The next event, when there is one.
    async fn next(&self) -> Response<Full<Bytes>> {
        self.idle.send_modify(|idle| *idle += 1);
        let (id, event) = loop {
            let arrived = self.arrived.notified();
            let next = self.waiting.lock().unwrap().pop_front();
            match next {
                Some(next) => break next,
                None => arrived.await,
            }
        };
        self.idle.send_modify(|idle| *idle -= 1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Response::builder()
            .header("lambda-runtime-aws-request-id", id)
            .header(
                "lambda-runtime-deadline-ms",
                (now + TIMEOUT).as_millis().to_string(),
            )
            .header(
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:eu-central-1:123456789012:function:social",
            )
            .header("lambda-runtime-trace-id", TRACE)
            .body(Full::new(event.to_string().into()))
            .unwrap()
    }
}
