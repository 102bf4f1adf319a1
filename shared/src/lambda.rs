//! The edge to AWS: API Gateway events in, answers out.

mod shutdown;

use std::{convert::Infallible, thread, time::Duration};

use axum::{
    Router,
    body::{Body as HttpBody, Bytes},
    extract::Request,
    http::header,
    response::Response,
};
use http_body_util::{BodyExt, Full};
use lambda_http::{
    Adapter, Body, LambdaEvent, RequestExt,
    request::{LambdaRequest, RequestContext},
    tower::{Service, ServiceExt},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::{
    app::{self, App, RequestId, RequestedPath, Served, Source, TraceId},
    config::{Config, Lambda, Settings},
};

/// Longest wait for secrets and the database before the first request; Lambda allows ten seconds for all of init.
const INIT: Duration = Duration::from_secs(5);

type WholeResponse = lambda_http::Response<Full<Bytes>>;

/// What may not stand in a URI as it is (RFC 3986, section 2), less `%`, which begins an escape.
const NOT_IN_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// The same for a path, which a query would end.
const NOT_IN_PATH: &AsciiSet = &NOT_IN_URI.add(b'?');

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

/// A served router as API Gateway calls it, by events of an HTTP API (payload 2.0) or a REST API.
pub fn handler(
    served: Served,
) -> impl Service<
    LambdaEvent<LambdaRequest>,
    Response: Serialize + Send,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send {
    Adapter::from(served.map_request(receive).then(in_whole)).map_request(
        |event: LambdaEvent<LambdaRequest>| LambdaEvent::new(tidy(event.payload), event.context),
    )
}

/// An event whose path and query are those of a URI, whatever a client wrote there. Gateways decode the path,
/// and the adapter panics on what is no URI. The host is dropped: no route looks at it.
fn tidy(mut event: LambdaRequest) -> LambdaRequest {
    match &mut event {
        LambdaRequest::ApiGatewayV2(event) => {
            event.headers.remove(header::HOST);
            event.request_context.domain_name = None;
            event.raw_path = event.raw_path.take().map(|path| uri_path(&path));
            event.raw_query_string = event
                .raw_query_string
                .take()
                .map(|query| utf8_percent_encode(&query, NOT_IN_URI).to_string());
        }
        LambdaRequest::ApiGatewayV1(event) => {
            event.headers.remove(header::HOST);
            event.multi_value_headers.remove(header::HOST);
            // The adapter would let the single ones, each the last of its name, take the place of all.
            if !event.multi_value_headers.is_empty() {
                event.headers.clear();
            }
            event.request_context.domain_name = None;
            event.path = event.path.take().map(|path| uri_path(&path));
        }
        _ => {}
    }
    event
}

fn uri_path(path: &str) -> String {
    // A percent sign that begins no escape stands for itself.
    let mut escaped = String::new();
    for (at, piece) in path.split('%').enumerate() {
        if at > 0 {
            let is_escape =
                piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
            escaped.push_str(if is_escape { "%" } else { "%25" });
        }
        escaped.extend(utf8_percent_encode(piece, NOT_IN_PATH));
    }
    if escaped.starts_with('/') {
        escaped
    } else {
        format!("/{escaped}")
    }
}

/// An event as the request that the client made. A stage that is not `$default` stands before the path; the
/// routes know nothing of it. The adapter's own path is not looked at: it resolves `..` and guesses whether a
/// path begins with the stage.
fn receive(event: lambda_http::Request) -> Request {
    let raw_path = event.raw_http_path().to_owned();
    let (path, requested_path, source) = match event.request_context_ref() {
        // An HTTP API tells the path with the stage, a REST API without.
        Some(RequestContext::ApiGatewayV2(context)) => {
            let path = match stage_prefix(context.stage.as_deref()) {
                Some(prefix) => without_prefix(&raw_path, &prefix).to_owned(),
                None => raw_path.clone(),
            };
            (path, raw_path, context.http.source_ip.clone())
        }
        Some(RequestContext::ApiGatewayV1(context)) => {
            let prefix = stage_prefix(context.stage.as_deref()).unwrap_or_default();
            let requested_path = format!("{prefix}{raw_path}");
            (raw_path, requested_path, context.identity.source_ip.clone())
        }
        _ => (raw_path.clone(), raw_path, None),
    };
    let context = event.lambda_context_ref();
    let request_id = context.map(|context| context.request_id.clone());
    let trace_id = context.and_then(|context| trace_id(context.xray_trace_id.as_deref()?));
    let (mut parts, body) = event.into_parts();
    parts
        .extensions
        .insert(RequestedPath(requested_path.into()));
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    parts.uri = target.parse().unwrap_or(parts.uri);
    if let Some(source) = source.and_then(|source| source.parse().ok()) {
        parts.extensions.insert(Source(source));
    }
    if let Some(id) = request_id {
        parts.extensions.insert(RequestId(id.into()));
    }
    if let Some(id) = trace_id {
        parts.extensions.insert(TraceId(id.into()));
    }
    let body = match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        _ => HttpBody::empty(),
    };
    Request::from_parts(parts, body)
}

/// An answer whose body can be shared between threads, as the adapter asks. It was in memory before.
async fn in_whole(answer: Result<Response, Infallible>) -> Result<WholeResponse, Infallible> {
    let Ok(response) = answer;
    let (parts, body) = response.into_parts();
    // What is in memory can be read.
    let body = body.collect().await.unwrap_or_default().to_bytes();
    Ok(WholeResponse::from_parts(parts, Full::new(body)))
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

fn stage_prefix(stage: Option<&str>) -> Option<String> {
    stage
        .filter(|stage| *stage != "$default")
        .map(|stage| format!("/{stage}"))
}

/// The path less its first part, if that is this one. The root of a stage may come without its slash.
fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}
