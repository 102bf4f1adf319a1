//! The two doors of the API: HTTP, and API Gateway's events into the Lambda adapter.

use std::net::SocketAddr;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use lambda_http::{Context, LambdaEvent, tower::ServiceExt};
use serde_json::{Map, Value, json};
use shared::{
    app::Served,
    lambda::{self, Event},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use url::{Position, Url};

/// Which way a world's requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// To the port of `local`.
    Http,
    /// As an event of an HTTP API to the function that the path belongs to.
    Event,
    /// The same, with the body in base64.
    Base64Event,
    /// As an event of a REST API.
    RestEvent,
}

/// A request as a client writes it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query, escaped.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// What the gateway says the request came from; over HTTP it is the peer whatever this says.
    pub(crate) source: Option<String>,
}

/// An answer as a client reads it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Every function, and all of them behind one port.
pub(super) struct Functions {
    pub(super) all: Served,
    pub(super) auth: Served,
    pub(super) users: Served,
    pub(super) posts: Served,
    pub(super) votes: Served,
    pub(super) system: Served,
}

/// A door that is open.
pub(super) enum Open {
    Http {
        address: SocketAddr,
        _end: oneshot::Sender<()>,
    },
    Event {
        door: Door,
        functions: Functions,
    },
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.parse().unwrap(),
            target: target.to_owned(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            source: Some("192.0.2.1".to_owned()),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    pub(crate) fn put(target: &str) -> Self {
        Self::new("PUT", target)
    }

    pub(crate) fn delete(target: &str) -> Self {
        Self::new("DELETE", target)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        self.headers
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        self
    }

    /// The same request from another source.
    pub(crate) fn from(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// The same request through a gateway that names no source.
    pub(crate) fn without_source(mut self) -> Self {
        self.source = None;
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.json_text(&body.to_string())
    }

    /// A JSON body exactly as it stands here.
    pub(crate) fn json_text(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) fn form(self, body: &str) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Where the link of an answer leads whoever asked for this path or URL: path and query.
    pub(crate) fn next_page(&self, asked: &str) -> Option<String> {
        let target = self.header("link")?.strip_prefix('<').unwrap();
        Some(resolve(
            asked,
            target.strip_suffix(">; rel=\"next\"").unwrap(),
        ))
    }

    /// Where the `Location` of an answer leads whoever asked for this path or URL: path and query.
    pub(crate) fn location(&self, asked: &str) -> String {
        resolve(asked, self.header("location").unwrap())
    }

    /// Asserts status and whole body, and what every answer has.
    #[track_caller]
    pub(crate) fn assert(&self, status: u16, body: &Value) -> &Self {
        assert_eq!((self.status.as_u16(), self.json()), (status, body.clone()));
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.assert_common()
    }

    /// Asserts an error in a sentence.
    #[track_caller]
    pub(crate) fn assert_detail(&self, status: u16, detail: &str) -> &Self {
        self.assert(status, &json!({ "detail": detail }))
    }

    /// Asserts a 422, its problems by type and place, in their order.
    #[track_caller]
    pub(crate) fn assert_problems(&self, expected: &[(&str, Value)]) -> &Self {
        assert_eq!(self.status.as_u16(), 422, "{}", self.text());
        let body = self.json();
        let problems = body["detail"].as_array().unwrap();
        let found: Vec<_> = problems
            .iter()
            .map(|problem| (problem["type"].as_str().unwrap(), problem["loc"].clone()))
            .collect();
        assert_eq!(found, expected, "{body}");
        for problem in problems {
            assert!(
                problem["msg"].is_string() && problem.get("input").is_some(),
                "{problem}"
            );
        }
        self.assert_common()
    }

    /// Asserts what every answer has.
    #[track_caller]
    pub(crate) fn assert_common(&self) -> &Self {
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()));
        self
    }
}

impl Open {
    pub(super) async fn new(door: Door, functions: Functions) -> Self {
        match door {
            Door::Http => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let (end, ended) = oneshot::channel::<()>();
                let cors = local::server::cors(local::settings::Origins::Any);
                tokio::spawn(local::server::serve(
                    listener,
                    functions.all,
                    cors,
                    local::proxies::TrustedProxies::default(),
                    async {
                        let _ = ended.await;
                    },
                ));
                Self::Http { address, _end: end }
            }
            door => Self::Event { door, functions },
        }
    }

    /// Where the API listens.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Http { address, .. } => *address,
            Self::Event { .. } => panic!("events have no address"),
        }
    }

    pub(super) async fn send(&self, request: Request) -> Answer {
        match self {
            Self::Http { address, .. } => send_http(*address, request).await,
            Self::Event { door, functions } => {
                let path = request.target.split('?').next().unwrap().to_owned();
                let event = match door {
                    Door::RestEvent => rest_event(request),
                    door => http_event(request, *door == Door::Base64Event),
                };
                functions.send(&path, event).await
            }
        }
    }

    /// Sends an event exactly as it stands here to the function that a path belongs to.
    pub(super) async fn send_event(&self, path: &str, event: Value) -> Answer {
        match self {
            Self::Http { .. } => panic!("events do not go over HTTP"),
            Self::Event { functions, .. } => functions.send(path, event).await,
        }
    }
}

/// Path and query of a reference, as a browser resolves it that asked for this path or URL (RFC 3986, section 5).
pub(crate) fn resolve(asked: &str, reference: &str) -> String {
    let base = Url::parse("http://localhost").unwrap();
    let there = base.join(asked).unwrap().join(reference).unwrap();
    there[Position::BeforePath..Position::AfterQuery].to_owned()
}

/// Sends a request to whoever listens there.
pub(crate) async fn send_http(address: SocketAddr, request: Request) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut message = axum::http::Request::builder()
        .method(request.method)
        .uri(&request.target)
        .header("host", "localhost")
        .body(Full::new(Bytes::from(request.body)))
        .unwrap();
    message.headers_mut().extend(request.headers);
    let (parts, body) = sender.send_request(message).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// An event of an HTTP API, payload 2.0: repeated headers are joined by commas.
pub(crate) fn http_event(request: Request, is_base64: bool) -> Value {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let mut headers = Map::new();
    for name in request.headers.keys() {
        let values: Vec<_> = request
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        headers.insert(name.to_string(), json!(values.join(",")));
    }
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.execute-api.eu-central-1.amazonaws.com",
            "http": {
                "method": request.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.source,
                "userAgent": "test",
            },
            "requestId": "gateway-request",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_773_342_238_390_i64,
        },
        "isBase64Encoded": false,
    });
    put_body(&mut event, request.body, is_base64);
    event
}

/// An event of a REST API (payload 1.0).
pub(crate) fn rest_event(request: Request) -> Value {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let (mut single, mut multiple) = (Map::new(), Map::new());
    for name in request.headers.keys() {
        let values: Vec<_> = request
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        single.insert(name.to_string(), json!(values.last()));
        multiple.insert(name.to_string(), json!(values));
    }
    let mut parameters: Map<String, Value> = Map::new();
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let values = parameters.entry(decode(name)).or_insert_with(|| json!([]));
        values.as_array_mut().unwrap().push(json!(decode(value)));
    }
    let last: Map<_, _> = parameters
        .iter()
        .map(|(name, values)| {
            (
                name.clone(),
                values.as_array().unwrap().last().unwrap().clone(),
            )
        })
        .collect();
    let mut event = json!({
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": request.method.as_str(),
        "headers": single,
        "multiValueHeaders": multiple,
        "queryStringParameters": last,
        "multiValueQueryStringParameters": parameters,
        "pathParameters": null,
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "httpMethod": request.method.as_str(),
            "identity": { "sourceIp": request.source, "userAgent": "test" },
            "path": format!("/live{path}"),
            "protocol": "HTTP/1.1",
            "requestId": "gateway-request",
            "resourceId": "resource",
            "resourcePath": "/{proxy+}",
            "stage": "live",
        },
        "isBase64Encoded": false,
    });
    put_body(&mut event, request.body, false);
    event
}

/// A body that is no text goes in base64 whatever the test says, as it does on the gateway.
fn put_body(event: &mut Value, body: Vec<u8>, is_base64: bool) {
    if body.is_empty() {
        return;
    }
    match String::from_utf8(body) {
        Ok(text) if !is_base64 => event["body"] = json!(text),
        text => {
            let bytes =
                text.map_or_else(std::string::FromUtf8Error::into_bytes, String::into_bytes);
            event["body"] = json!(STANDARD.encode(bytes));
            event["isBase64Encoded"] = json!(true);
        }
    }
}

impl Functions {
    async fn send(&self, path: &str, event: Value) -> Answer {
        let function = match path.split('/').nth(1) {
            Some("auth") => &self.auth,
            Some("users") => &self.users,
            Some("posts") => &self.posts,
            Some("vote") => &self.votes,
            _ => &self.system,
        };
        let event: Event = serde_json::from_str(&event.to_string()).unwrap();
        let mut context = Context::default();
        "lambda-request".clone_into(&mut context.request_id);
        let answer = lambda::handler(function.clone())
            .oneshot(LambdaEvent::new(event, context))
            .await
            .unwrap();
        read_answer(&serde_json::to_value(answer).unwrap())
    }
}

/// The answer that the gateway would make of a function's.
pub(super) fn read_answer(answer: &Value) -> Answer {
    let mut headers = HeaderMap::new();
    for part in ["headers", "multiValueHeaders"] {
        for (name, values) in answer[part].as_object().into_iter().flatten() {
            let values = values
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![values.clone()]);
            for value in values {
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    value.as_str().unwrap().parse().unwrap(),
                );
            }
        }
    }
    let body = answer["body"].as_str().unwrap_or_default();
    let body = if answer["isBase64Encoded"] == json!(true) {
        STANDARD.decode(body).unwrap()
    } else {
        body.into()
    };
    Answer {
        status: StatusCode::from_u16(answer["statusCode"].as_u64().unwrap().try_into().unwrap())
            .unwrap(),
        headers,
        body,
    }
}
