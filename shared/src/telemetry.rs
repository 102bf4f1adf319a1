//! The log: one line an event, one span a request. The line of a request carries its metrics where a function
//! runs on Lambda, in the embedded metric format that CloudWatch reads from the log.

use std::{
    fmt,
    io::{self, Write},
    net::{IpAddr, Ipv6Addr},
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
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};
use tracing::{
    Event, Level, Metadata, Span, Subscriber, field,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    app::{RequestId, TraceId},
    error::Cause,
    timestamp::Timestamp,
    tokens::KeySet,
};

/// What marks the span and the line of a request: they are written whatever the level, since the metrics are
/// read from them.
const REQUEST: &str = "request";
/// The namespace of the metrics in CloudWatch.
const NAMESPACE: &str = "SocialMedia";
/// What they are told apart by: each is counted for its function, and for each of its routes.
const DIMENSIONS: [&[&str]; 2] = [&["Function"], &["Function", "Route"]];

/// How much is shown of the digest of an address: enough to tell addresses apart.
const EMAIL_DIGEST_BYTES: usize = 12;

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
        self.init_to(io::stdout);
    }

    /// The same, but each line goes whole to what `writer` makes for it.
    pub fn init_to<W: Write + 'static>(self, writer: impl Fn() -> W + Send + Sync + 'static) {
        let level = self.level;
        let is_written = filter_fn(move |metadata| {
            is_of_request(metadata) || Severity::of(*metadata.level()) >= Some(level)
        });
        // A second subscriber would be refused, and the first goes on.
        let _ = tracing_subscriber::registry()
            .with(self.layer(writer))
            .with(is_written)
            .try_init();
    }

    /// Every event as a line of the log, whatever its level, written whole to what `writer` makes for it.
    pub fn layer<S, W>(self, writer: impl Fn() -> W + 'static) -> impl Layer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
        W: Write,
    {
        Lines { log: self, writer }
    }
}

fn is_of_request(metadata: &Metadata<'_>) -> bool {
    metadata.target() == REQUEST
}

/// Writes the log. The lines are made here and not by a formatter of the subscriber's: that writes the fields of
/// a span as JSON, to be read again for each line, which took a seventh of all instructions of a request.
struct Lines<F> {
    log: Log,
    writer: F,
}

impl<S, F, W> Layer<S> for Lines<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    F: Fn() -> W + 'static,
    W: Write,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if is_of_request(attributes.metadata())
            && let Some(span) = context.span(id)
        {
            let mut known = Fields::default();
            attributes.record(&mut known);
            span.extensions_mut().insert(known);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(known) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(known);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(known) = span.extensions().get::<Fields>() {
                fields.0.extend(known.0.iter().cloned());
            }
        }
        let line = Line {
            at: SystemTime::now(),
            metadata,
            fields,
        };
        let mut line = if is_of_request(metadata) || self.log.is_json {
            let line = LineAsJson(&line, &self.log);
            serde_json::to_vec(&line).unwrap_or_default()
        } else {
            line.to_string().into_bytes()
        };
        line.push(b'\n');
        // Where the log itself cannot be written, there is nowhere to say so.
        let _ = (self.writer)().write_all(&line);
    }
}

/// A line of the log, not yet written.
struct Line {
    at: SystemTime,
    metadata: &'static Metadata<'static>,
    fields: Fields,
}

/// Fields of an event, or those that the span of a request knows.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

/// What a line is made of besides the fields of its event, none of which may take these names.
const OUR_OWN: [&str; 3] = ["timestamp", "level", "target"];

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    /// Keeps a value, instead of the one that was known before: a name that came twice would be no JSON.
    fn put(&mut self, field: &field::Field, value: impl Into<Value>) {
        let name = field.name();
        if OUR_OWN.contains(&name) {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value.into(),
            None => self.0.push((name, value.into())),
        }
    }
}

impl field::Visit for Fields {
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

impl Line {
    /// Milliseconds since 1970, which fit for longer than anybody reads the log.
    fn unix_millis(&self) -> u64 {
        let since = self.at.duration_since(UNIX_EPOCH);
        since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

/// `2026-02-01T10:00:00.123456Z WARN a message {"target":"shared::db"}`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.fields.get("message").and_then(Value::as_str);
        write!(
            f,
            "{} {} {} ",
            Timestamp::from(self.at),
            self.metadata.level(),
            message.unwrap_or_default()
        )?;
        let others = self.fields.0.iter().filter(|(name, _)| *name != "message");
        let others = others.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let target = ("target".to_owned(), json!(self.metadata.target()));
        write!(f, "{}", Value::Object(others.chain([target]).collect()))
    }
}

/// A line as JSON, that of a request with its metrics.
struct LineAsJson<'a>(&'a Line, &'a Log);

impl Serialize for LineAsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(line, log) = self;
        let mut map = serializer.serialize_map(None)?;
        let level = Severity::of(*line.metadata.level()).unwrap_or(Severity::Info);
        map.serialize_entry("timestamp", &Timestamp::from(line.at))?;
        let is_of_request = is_of_request(line.metadata);
        if is_of_request {
            // Lambda itself drops lines below the level that it is set to.
            map.serialize_entry("level", &level.max(log.level))?;
        } else {
            map.serialize_entry("level", &level)?;
            map.serialize_entry("target", line.metadata.target())?;
        }
        for (name, value) in &line.fields.0 {
            map.serialize_entry(name, value)?;
        }
        if is_of_request && let Some(function) = &log.function {
            add_metrics(&mut map, line, function)?;
        }
        map.end()
    }
}

/// Makes the line of a request one of the embedded metric format. A count is there only where it is one: what
/// never happens on a route is no metric, and costs nothing.
fn add_metrics<M: SerializeMap>(map: &mut M, line: &Line, function: &str) -> Result<(), M::Error> {
    let field = |name| line.fields.get(name);
    let outcome = field("outcome").and_then(Value::as_str);
    let is = |named: Outcome| outcome == Some(named.name());
    let counts = [
        (
            "ServerErrors",
            field("status").and_then(Value::as_u64) >= Some(500),
        ),
        (
            "ColdStarts",
            field("cold_start") == Some(&Value::Bool(true)),
        ),
        ("LoginFailures", is(Outcome::LoginFailed)),
        ("LoginsThrottled", is(Outcome::LoginThrottled)),
        ("RefreshTokenReuses", is(Outcome::RefreshTokenReused)),
    ];
    let mut metrics = vec![Metric {
        name: "Duration",
        unit: "Milliseconds",
    }];
    map.serialize_entry("Duration", &field("duration_ms"))?;
    for (name, _) in counts.into_iter().filter(|(_, is_one)| *is_one) {
        metrics.push(Metric {
            name,
            unit: "Count",
        });
        map.serialize_entry(name, &1)?;
    }
    map.serialize_entry("Route", &field("route"))?;
    map.serialize_entry("Function", function)?;
    map.serialize_entry(
        "_aws",
        &Told {
            timestamp: line.unix_millis(),
            directives: [Directive {
                namespace: NAMESPACE,
                dimensions: DIMENSIONS,
                metrics,
            }],
        },
    )
}

/// What CloudWatch is told of a line (embedded metric format, "Embedded metric format structure").
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    timestamp: u64,
    #[serde(rename = "CloudWatchMetrics")]
    directives: [Directive; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: [&'static [&'static str]; 2],
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: &'static str,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A login by an unknown address or a wrong password.
    LoginFailed,
    /// A login that was not looked at, after too many failed ones.
    LoginThrottled,
    /// A spent refresh token came back, and its session was ended.
    RefreshTokenReused,
}

impl Outcome {
    /// What the log calls it.
    fn name(self) -> &'static str {
        match self {
            Self::LoginFailed => "login_failed",
            Self::LoginThrottled => "login_throttled",
            Self::RefreshTokenReused => "refresh_token_reused",
        }
    }
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
            "request.id" = &*request_id,
            "trace.id" = trace_id,
            "user.id" = field::Empty,
            "session.id" = field::Empty,
            "email.digest" = field::Empty,
            "client.network" = field::Empty
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
        let outcome = extensions.get::<Outcome>().map(|outcome| outcome.name());
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

/// Names the user and the session that a request is about in its line of the log. What is not known is left out.
pub fn record_account(user_id: Option<i64>, session_id: Option<i64>) {
    let span = Span::current();
    span.record("user.id", user_id);
    span.record("session.id", session_id);
}

/// Names an address that has no account in the line of the request: by a keyed digest, which is the same in each
/// line until the key is rotated, and tells the address to nobody.
pub fn record_unknown_email(keys: &KeySet, email: &str) {
    let digest = keys.digest(
        "the digest of an address in the log",
        email.to_ascii_lowercase().as_bytes(),
    );
    Span::current().record(
        "email.digest",
        URL_SAFE_NO_PAD.encode(&digest[..EMAIL_DIGEST_BYTES]),
    );
}

/// Names the network of a client in the line of the request, and not the client: the /24 of an IPv4 address, the
/// /48 of an IPv6 one.
pub fn record_client_network(client_ip: Option<IpAddr>) {
    let network = client_ip.map(|client_ip| match client_ip.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    });
    Span::current().record("client.network", network);
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
