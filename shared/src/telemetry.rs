//! The log: one line an event, one span a request. The line of a request carries its metrics where a function
//! runs on Lambda, in the embedded metric format that CloudWatch reads from the log.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::{Event, Level, Metadata, Span, Subscriber, field};
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    fmt::{
        FmtContext, FormatEvent, FormattedFields, MakeWriter,
        format::{JsonFields, Writer},
        time::{FormatTime, SystemTime as Now},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    app::{RequestId, TraceId},
    error::Cause,
};

/// What marks the span and the line of a request: they are written whatever the level, since the metrics are
/// read from them.
const REQUEST: &str = "request";
/// The namespace of the metrics in CloudWatch.
const NAMESPACE: &str = "SocialMedia";

/// How the log is written, and whose metrics it carries.
#[derive(Clone, Debug)]
pub struct Log {
    /// The least severe events that are written; the line of a request always is.
    pub level: Severity,
    /// Whether the other lines are JSON too.
    pub is_json: bool,
    /// The name of the Lambda function; none where nobody reads metrics from the log.
    pub function: Option<String>,
}

/// How severe an event is, in Lambda's words. Nothing less severe is written: at `TRACE` the Lambda runtime writes
/// down whole events, passwords and tokens in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Info,
    Warn,
    Error,
    Fatal,
}

impl Severity {
    /// How severe an event of this level is; none for one that is never written.
    fn of(level: Level) -> Option<Self> {
        match level {
            Level::ERROR => Some(Self::Error),
            Level::WARN => Some(Self::Warn),
            Level::INFO => Some(Self::Info),
            _ => None,
        }
    }
}

impl Log {
    /// Everything of `info` and above as JSON, for a process whose log nobody reads metrics from.
    pub const PLAIN: Self = Self {
        level: Severity::Info,
        is_json: true,
        function: None,
    };

    /// Writes the log to standard output from now on. For a process that has no other log; called once.
    pub fn init(self) {
        let level = self.level;
        let is_written = filter_fn(move |metadata| {
            is_of_request(metadata) || Severity::of(*metadata.level()) >= Some(level)
        });
        // A second subscriber would be refused, and the first goes on.
        let _ = tracing_subscriber::registry()
            .with(self.layer(io::stdout))
            .with(is_written)
            .try_init();
    }

    /// Every event as a line of the log, whatever its level.
    pub fn layer<S, W>(self, writer: W) -> impl Layer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
        W: for<'writer> MakeWriter<'writer> + 'static,
    {
        tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(self)
            .with_writer(writer)
    }
}

fn is_of_request(metadata: &Metadata<'_>) -> bool {
    metadata.target() == REQUEST
}

/// A line of the log.
#[derive(Serialize)]
struct Line {
    timestamp: String,
    level: Severity,
    #[serde(skip_serializing_if = "Value::is_null")]
    message: Value,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<S> FormatEvent<S, JsonFields> for Log
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Map::new();
        // The span first: what an event says itself goes before it.
        for span in context.event_scope().into_iter().flatten() {
            if is_of_request(span.metadata())
                && let Some(written) = span.extensions().get::<FormattedFields<JsonFields>>()
                && let Ok(written) = serde_json::from_str::<Map<_, _>>(&written.fields)
            {
                fields.extend(written);
            }
        }
        event.record(&mut Reader(&mut fields));
        let message = fields.remove("message").unwrap_or_default();
        let mut timestamp = String::new();
        Now.format_time(&mut Writer::new(&mut timestamp))?;
        let mut level = Severity::of(*metadata.level()).unwrap_or(Severity::Info);
        if is_of_request(metadata) {
            // Lambda itself drops lines below the level that it is set to.
            level = level.max(self.level);
            if let Some(function) = &self.function {
                add_metrics(&mut fields, function);
            }
        } else {
            fields.insert("target".to_owned(), json!(metadata.target()));
            if !self.is_json {
                let message = message.as_str().unwrap_or_default();
                let fields = Value::Object(fields);
                let level = metadata.level();
                return writeln!(writer, "{timestamp} {level} {message} {fields}");
            }
        }
        for name in ["timestamp", "level"] {
            fields.remove(name);
        }
        let line = Line {
            timestamp,
            level,
            message,
            fields,
        };
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

/// Reads the fields of an event as JSON.
struct Reader<'a>(&'a mut Map<String, Value>);

impl Reader<'_> {
    fn put(&mut self, field: &field::Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl field::Visit for Reader<'_> {
    fn record_f64(&mut self, field: &field::Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &field::Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &field::Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &field::Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &field::Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// Makes the line of a request one of the embedded metric format. A count is there only where it is one: what
/// never happens on a route is no metric, and costs nothing.
fn add_metrics(line: &mut Map<String, Value>, function: &str) {
    let is = |name: &str, value: Value| line.get(name) == Some(&value);
    let counts = [
        (
            "ServerErrors",
            line.get("status").and_then(Value::as_u64) >= Some(500),
        ),
        ("ColdStarts", is("cold_start", json!(true))),
        ("LoginFailures", is("outcome", json!(Outcome::LoginFailed))),
        (
            "LoginsThrottled",
            is("outcome", json!(Outcome::LoginThrottled)),
        ),
        (
            "RefreshTokenReuses",
            is("outcome", json!(Outcome::RefreshTokenReused)),
        ),
    ];
    let mut metrics = vec![json!({ "Name": "Duration", "Unit": "Milliseconds" })];
    let duration = line.get("duration_ms").cloned().unwrap_or_default();
    line.insert("Duration".to_owned(), duration);
    for (name, _) in counts.into_iter().filter(|(_, is_one)| *is_one) {
        metrics.push(json!({ "Name": name, "Unit": "Count" }));
        line.insert(name.to_owned(), json!(1));
    }
    let route = line.get("route").cloned().unwrap_or_default();
    line.insert("Route".to_owned(), route);
    line.insert("Function".to_owned(), json!(function));
    // Milliseconds since 1970, which fit for longer than anybody reads the log.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["Function"], ["Function", "Route"]],
                "Metrics": metrics,
            }],
        }),
    );
}

/// The methods that the log names: any other is a word of the client's own, which may hold anything.
const METHODS: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

/// What became of a request that somebody should know about: on the extensions of its answer, for the log and
/// its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A login by an unknown address or a wrong password.
    LoginFailed,
    /// A login that was not looked at, after too many failed ones.
    LoginThrottled,
    /// A spent refresh token came back, and its session was ended.
    RefreshTokenReused,
}

/// Whether the process has yet to see its first request.
#[derive(Clone)]
pub(crate) struct Cold(Arc<AtomicBool>);

impl Cold {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

/// A request that has arrived.
pub(crate) struct Arrival {
    pub(crate) span: Span,
    pub(crate) request_id: Arc<str>,
    method: Method,
    at: Instant,
    is_cold: bool,
}

/// The route that matched, for the log: `/posts/{id}` and not the path, which may hold anything.
#[derive(Clone)]
struct Route(MatchedPath);

impl Arrival {
    pub(crate) fn of(request: &Request, cold: &Cold) -> Self {
        let extensions = request.extensions();
        let request_id = extensions
            .get::<RequestId>()
            .map_or_else(new_request_id, |id| Arc::clone(&id.0));
        let trace_id = extensions.get::<TraceId>().map(|id| &*id.0);
        let span = tracing::info_span!(
            target: REQUEST,
            "request",
            "request.id" = %request_id,
            "trace.id" = trace_id,
            "user.id" = field::Empty
        );
        Self {
            span,
            request_id,
            method: request.method().clone(),
            at: Instant::now(),
            is_cold: cold.0.swap(false, Ordering::Relaxed),
        }
    }

    /// Writes the request's one line: an error with its cause where it failed through a fault of ours.
    pub(crate) fn log(&self, response: &Response) {
        let _entered = self.span.enter();
        let extensions = response.extensions();
        let route = extensions
            .get::<Route>()
            .map_or("-", |route| route.0.as_str());
        let status = response.status().as_u16();
        let duration_ms = self.at.elapsed().as_secs_f64() * 1000.0;
        let cold_start = self.is_cold;
        let method = METHODS
            .iter()
            .find(|method| **method == self.method)
            .map_or("-", Method::as_str);
        let outcome = extensions.get::<Outcome>().map(|outcome| json!(outcome));
        let outcome = outcome.as_ref().and_then(Value::as_str);
        if let Some(Cause(cause)) = extensions.get::<Cause>() {
            tracing::error!(
                target: REQUEST, method, route, status, duration_ms, cold_start, cause, "request failed"
            );
        } else {
            tracing::info!(
                target: REQUEST, method, route, status, duration_ms, cold_start, outcome, "request"
            );
        }
    }
}

/// Leaves the matched route on the response, where [`Arrival::log`] finds it.
pub(crate) async fn note_route(route: MatchedPath, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.extensions_mut().insert(Route(route));
    response
}

fn new_request_id() -> Arc<str> {
    let mut bytes = [0; 16];
    // An id that is not random still names a line in the log.
    let _ = SystemRandom::new().fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes).into()
}
