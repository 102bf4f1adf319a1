//! The edge to AWS: API Gateway events in, answers out, by `lambda_http`.
//!
//! Events are read and checked before its adapter sees them. The adapter panics on much that an event may hold: a
//! body that says to be base64 and is not, a name without values in a query, a URI that is none or too long, a
//! header too many. What it cannot deserialize is an error of the function, and so is a caught panic; either
//! raises an alarm, which a malformed event and a ping that keeps the function warm must not.

mod event;
mod path;
mod shutdown;

use std::{convert::Infallible, mem, thread, time::Duration};

use axum::{
    Router,
    body::{Body as HttpBody, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use http_body_util::{BodyExt, Full};
use lambda_http::{
    Adapter, Body, LambdaEvent, RequestExt,
    request::{LambdaRequest, RequestContext},
    service_fn,
    tower::{Service, ServiceExt},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

pub use event::{Event, GatewayRequest};

use crate::{
    app::{self, App, RequestId, Served, Source, TraceId},
    config::{Config, Lambda, Settings},
    lambda::event::Beside,
};

/// Longest wait for secrets and the database before the first request; Lambda allows ten seconds for all of init.
const INIT: Duration = Duration::from_secs(5);

type WholeResponse = lambda_http::Response<Full<Bytes>>;

/// What a function answers an event with.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<R> {
    /// The adapter's answer to a request.
    ToRequest(R),
    ToPing(Value),
}

/// Runs a function until the platform ends it: reads the settings, opens the first connection, serves, and
/// closes the connections in the end. Fails where a setting is bad.
pub fn serve(router: Router<App>) -> Result<(), lambda_http::Error> {
    let settings = Settings::from_env();
    let lambda = Lambda::read(&settings)?;
    lambda.log.clone().init();
    let mut runtime = if lambda.concurrency > 1 {
        Builder::new_multi_thread()
    } else {
        // One thread for one request at a time; Argon2 has threads of its own.
        Builder::new_current_thread()
    };
    runtime.enable_all().build()?.block_on(async {
        let config = Config::read(&settings, lambda.defaults())
            .inspect_err(|error| tracing::error!(%error, "the function cannot start"))?;
        // Argon2 takes a whole virtual CPU, and a request never hashes two passwords at once.
        let hashes_at_once = thread::available_parallelism()?
            .get()
            .min(lambda.concurrency);
        let app = App::new(&config, hashes_at_once).map_err(|error| error.cause())?;
        let mut told_to_end = signal(SignalKind::terminate())?;
        // What is not ready by then, the first request waits for.
        let warmed = async { tokio::join!(app.db.warm(), app.keys.warm()) };
        let (_, ()) = tokio::join!(timeout(INIT, warmed), shutdown::ask_for_notice());
        let handler = handler(app::service(router, app.clone()));
        // A task of its own is woken within the process; what the runtime was built around, through the kernel.
        let mut serving = tokio::spawn(lambda_http::lambda_runtime::run_concurrent(handler));
        tokio::select! {
            ended = &mut serving => ended?,
            _ = told_to_end.recv() => {
                serving.abort();
                app.db.close().await;
                Ok(())
            }
        }
    })
}

/// A served router as Lambda calls it. Every event gets an answer that a gateway can read.
pub fn handler(
    served: Served,
) -> impl Service<LambdaEvent<Event>, Response: Serialize + Send, Error = Infallible, Future: Send>
+ Clone
+ Send {
    service_fn(move |event: LambdaEvent<Event>| {
        let served = served.clone();
        async move {
            let Some((request, mut beside)) = event.payload.into_request() else {
                return Ok(Answer::ToPing(json!({
                    "statusCode": 200,
                    "headers": { "content-type": "application/json" },
                    "body": r#"{"status":"ok"}"#,
                    "isBase64Encoded": false,
                })));
            };
            let is_http_api = matches!(request, LambdaRequest::ApiGatewayV2(_));
            let served = served
                .map_request(move |request| receive(request, mem::take(&mut beside)))
                .then(async move |answer| in_whole(answer, is_http_api).await);
            let request = LambdaEvent::new(request, event.context);
            let answer = Adapter::from(served).oneshot(request).await;
            answer.map(Answer::ToRequest)
        }
    })
}

/// What came through the adapter, and beside it, as the request that the client made.
fn receive(request: lambda_http::Request, beside: Beside) -> Request {
    let source = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.as_deref(),
        Some(RequestContext::ApiGatewayV1(context)) => context.identity.source_ip.as_deref(),
        _ => None,
    };
    let source = source.and_then(|source| source.parse().ok());
    let context = request.lambda_context_ref();
    let request_id = context.map(|context| context.request_id.as_str().into());
    let trace_id = context.and_then(|context| trace_id(context.xray_trace_id.as_deref()?));
    let (mut parts, body) = request.into_parts();
    parts.uri = beside.uri;
    let extensions = &mut parts.extensions;
    if let Some(source) = source {
        extensions.insert(Source(source));
    }
    if let Some(id) = request_id {
        extensions.insert(RequestId(id));
    }
    if let Some(id) = trace_id {
        extensions.insert(TraceId(id.into()));
    }
    if let Some(path) = beside.requested_path {
        extensions.insert(path);
    }
    if let Some(refused) = beside.refused {
        extensions.insert(refused);
    }
    let body = beside.decoded.unwrap_or_else(|| match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        _ => HttpBody::empty(),
    });
    Request::from_parts(parts, body)
}

/// An answer whose body can be shared between threads, as the adapter asks. It was in memory before.
async fn in_whole(
    answer: Result<Response, Infallible>,
    is_http_api: bool,
) -> Result<WholeResponse, Infallible> {
    let Ok(response) = answer;
    let (mut parts, body) = response.into_parts();
    if is_http_api {
        join_values(&mut parts.headers);
    }
    // What is in memory can be read.
    let body = body.collect().await.unwrap_or_default().to_bytes();
    Ok(WholeResponse::from_parts(parts, Full::new(body)))
}

/// Brings the values of each header into one (RFC 9110, section 5.3): of several, the adapter tells an HTTP API
/// the first alone. Cookies it tells all.
fn join_values(headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    let names: Vec<_> = headers.keys().cloned().collect();
    for name in names.iter().filter(|name| **name != header::SET_COOKIE) {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b", "[..])) {
            headers.insert(name, joined);
        }
    }
}

/// The id of the trace in a tracing header: `1-65f0a5de-3f2c1b4d5e6f708192a3b4c5`. Clients may send that header,
/// and whatever else they write there goes no further.
fn trace_id(header: &str) -> Option<String> {
    let root = header
        .split(';')
        .find_map(|part| part.trim().strip_prefix("Root="))?;
    let is_id = root.len() == 35
        && root
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_id.then(|| root.to_owned())
}
