//! A test's own way to Secrets Manager: it notes what is fetched, and can be out of order.

use std::{
    collections::HashMap,
    convert::Infallible,
    future,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

use super::moto;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Secrets Manager as one test sees it. Secrets of other tests have other names.
pub(crate) struct SecretsManager {
    address: SocketAddr,
    state: watch::Sender<State>,
    fetched: Arc<Mutex<Vec<String>>>,
    /// Until somebody listens, connections are refused.
    closed: Option<TcpSocket>,
}

#[derive(Clone)]
enum State {
    Up,
    /// Whoever connects is cut off, whoever is connected too.
    Down,
    /// Requests are read and never answered.
    Mute,
    /// Requests are answered by this.
    Saying(StatusCode, Bytes),
}

impl SecretsManager {
    /// In order.
    pub(crate) async fn new() -> Self {
        let mut it = Self::unreachable().await;
        it.open();
        it
    }

    /// Nobody listens at its address.
    pub(crate) async fn unreachable() -> Self {
        moto::address().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            state: watch::Sender::new(State::Up),
            fetched: Arc::default(),
            closed: Some(socket),
        }
    }

    /// Somebody listens now.
    pub(crate) fn open(&mut self) {
        let listener = self.closed.take().unwrap().listen(64).unwrap();
        let (state, fetched) = (self.state.subscribe(), Arc::clone(&self.fetched));
        tokio::spawn(accept(listener, state, fetched));
    }

    pub(crate) fn goes_down(&self) {
        self.state.send_replace(State::Down);
    }

    pub(crate) fn goes_mute(&self) {
        self.state.send_replace(State::Mute);
    }

    pub(crate) fn says(&self, status: StatusCode, answer: &str) {
        let answer = Bytes::from(answer.to_owned());
        self.state.send_replace(State::Saying(status, answer));
    }

    pub(crate) fn recovers(&self) {
        self.state.send_replace(State::Up);
    }

    /// The stages whose values were asked for since the last call, in the order of the alphabet.
    pub(crate) fn fetched(&self) -> Vec<String> {
        let mut fetched = std::mem::take(&mut *self.fetched.lock().unwrap());
        fetched.sort();
        fetched
    }

    /// The settings of a process that finds this Secrets Manager.
    pub(crate) fn settings(&self, others: &[(&str, &str)]) -> HashMap<String, String> {
        let endpoint = format!("http://{}", self.address);
        [
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_SESSION_TOKEN", "test"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &endpoint),
        ]
        .iter()
        .chain(others)
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }
}

/// A secret in moto.
pub(crate) struct StoredSecret {
    pub(crate) arn: String,
}

impl StoredSecret {
    /// A new one with a value, and the id of the value's version.
    pub(crate) async fn new(text: &str) -> (Self, String) {
        let name = format!("secret-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let made = call(
            "CreateSecret",
            &json!({ "Name": name, "SecretString": text }),
        )
        .await;
        let arn = made["ARN"].as_str().unwrap().to_owned();
        (Self { arn }, version(&made))
    }

    /// A new value, which is in use from now on; the id of its version.
    pub(crate) async fn rotate(&self, text: &str) -> String {
        let value = json!({ "SecretId": self.arn, "SecretString": text });
        version(&call("PutSecretValue", &value).await)
    }

    /// A new value that is not in use yet; the id of its version.
    pub(crate) async fn prepare(&self, text: &str) -> String {
        let stages = ["AWSPENDING"];
        let value = json!({ "SecretId": self.arn, "SecretString": text, "VersionStages": stages });
        version(&call("PutSecretValue", &value).await)
    }
}

fn version(answer: &Value) -> String {
    answer["VersionId"].as_str().unwrap().to_owned()
}

async fn call(action: &str, parameters: &Value) -> Value {
    let request = hyper::Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("secretsmanager.{action}"))
        // Moto looks at nothing here but the names of region and service.
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/secretsmanager/aws4_request, \
             SignedHeaders=host, Signature=none",
        )
        .body(Full::new(Bytes::from(parameters.to_string())))
        .unwrap();
    let answer = send(request).await;
    let (status, body) = (answer.status(), answer.into_body());
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(status, StatusCode::OK, "{action}: {body:?}");
    serde_json::from_slice(&body).unwrap()
}

/// Sends a request to moto.
async fn send(request: hyper::Request<Full<Bytes>>) -> Response<Full<Bytes>> {
    let stream = TcpStream::connect(moto::address().await).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let (mut parts, body) = sender.send_request(request).await.unwrap().into_parts();
    parts.headers.remove("transfer-encoding");
    parts.headers.remove("connection");
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(parts, Full::new(body))
}

async fn accept(
    listener: TcpListener,
    state: watch::Receiver<State>,
    fetched: Arc<Mutex<Vec<String>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (now, fetched) = (state.clone(), Arc::clone(&fetched));
        let service = service_fn(move |request| answer(request, now.clone(), Arc::clone(&fetched)));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        let mut state = state.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = state.wait_for(|state| matches!(state, State::Down)) => {}
                _ = connection => {}
            }
        });
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    state: watch::Receiver<State>,
    fetched: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        parts.headers["x-amz-target"],
        "secretsmanager.GetSecretValue"
    );
    let named = asked["VersionStage"].as_str().unwrap().to_owned();
    fetched.lock().unwrap().push(named);
    let state = state.borrow().clone();
    Ok(match state {
        State::Up | State::Down => send(hyper::Request::from_parts(parts, Full::new(body))).await,
        State::Mute => future::pending().await,
        State::Saying(status, answer) => {
            let mut response = Response::new(Full::new(answer));
            *response.status_mut() = status;
            response
        }
    })
}
