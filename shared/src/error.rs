//! The one error type: what a client reads, and what the log reads.

use std::{any::Any, fmt};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;

use crate::telemetry::Outcome;

/// Seconds after which a client may try again when the database was away.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An answer other than success: a status, `{"detail": …}`, and for our own faults the cause, which goes to
/// the log and never to the client.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    detail: Value,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
    outcome: Option<Outcome>,
}

/// Why a request failed through no fault of its own; on the response's extensions, for the log.
#[derive(Clone, Debug)]
pub struct Cause(pub String);

/// One thing that is wrong with a request, in the shape that Pydantic 2 gives a validation error.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// What kind of problem it is, in Pydantic's words: `missing`, `string_too_long`, …
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where the value stands: `["body", "title"]`.
    pub loc: Vec<Value>,
    /// The problem as a sentence.
    pub msg: String,
    /// The value as it came; null where it is a secret, or missing.
    pub input: Value,
    /// The limits or the reason behind `msg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Value>,
}

impl Problem {
    /// A value that is refused for a reason, where it stands.
    pub(crate) fn of_value(loc: Vec<Value>, reason: &str, input: Value) -> Self {
        Self {
            kind: "value_error",
            loc,
            msg: format!("Value error, {reason}"),
            input,
            ctx: Some(json!({ "reason": reason })),
        }
    }

    /// A secret in the body that is refused for a reason, and not repeated.
    pub fn of_secret(name: &str, reason: &str) -> Self {
        Self::of_value(vec![json!("body"), json!(name)], reason, Value::Null)
    }
}

impl Error {
    /// An answer that the API chose to give: `{"detail": "<sentence>"}`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: Value::String(detail.into()),
            headers: Vec::new(),
            cause: None,
            outcome: None,
        }
    }

    /// 401 `Not authenticated`: no credentials were given (RFC 6750, section 3).
    pub fn not_authenticated() -> Self {
        Self::unauthorized("Not authenticated")
    }

    /// 401 `Could not validate credentials`: the credentials given are bad in any way (RFC 6750, section 3.1).
    pub fn bad_credentials() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Could not validate credentials").with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer error=\"invalid_token\""),
        )
    }

    /// 401 with a sentence of the route's own: what was handed in buys nothing.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403 with a sentence that says what is not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404 with a sentence that names what is missing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409 with a sentence that names what is in the way.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422 with every problem of the request, in the order of its fields.
    pub fn problems(problems: &[Problem]) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail: json!(problems),
            headers: Vec::new(),
            cause: None,
            outcome: None,
        }
    }

    /// 500 `Internal Server Error`: a fault of ours. `cause` is logged.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }

    /// 503 `Service Unavailable` with `Retry-After`: what we depend on is away. `cause` is logged.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
                .with_header(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
        }
    }

    /// The same error with one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same error, which is noted in the log and counted.
    #[must_use]
    pub fn noted(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// What went wrong, for the log or for whoever runs the process; not for a client.
    pub fn cause(&self) -> String {
        self.cause
            .clone()
            .unwrap_or_else(|| self.detail.to_string())
    }

    /// The status that the client gets.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<tokio_postgres::Error> for Error {
    /// 503 for a database that is away, full, shutting down, in recovery, or that gave up on a statement or a
    /// lock; 500 for anything else, which is a fault of ours.
    fn from(error: tokio_postgres::Error) -> Self {
        if is_outage(&error) {
            Self::unavailable(describe(&error))
        } else {
            Self::internal(describe(&error))
        }
    }
}

/// Whether the error means that the database could not do it now, and not that it refused.
fn is_outage(error: &tokio_postgres::Error) -> bool {
    // Without a SQLSTATE it is the connection that failed.
    let Some(state) = error.code() else {
        return true;
    };
    // 08 connection, 26 an unknown statement name, 28 authorization, 40 rollback, 53 resources, 57 operator,
    // 58 system (PostgreSQL manual, appendix A); 25006 is a former primary; 42P05 a statement name that is taken,
    // which a pooler causes; 55P03 a lock not available.
    ["08", "26", "28", "40", "53", "57", "58"]
        .iter()
        .any(|class| state.code().starts_with(class))
        || *state == SqlState::READ_ONLY_SQL_TRANSACTION
        || *state == SqlState::DUPLICATE_PSTATEMENT
        || *state == SqlState::LOCK_NOT_AVAILABLE
}

/// The error for the log: the server's code and message, the names of constraint and table, never DETAIL nor
/// the message of a data or constraint error, which quote rows.
pub fn describe(error: &tokio_postgres::Error) -> String {
    let Some(server) = error.as_db_error() else {
        return chain(error);
    };
    let code = server.code().code();
    let quotes_rows = code.starts_with("22") || code.starts_with("23");
    let parts = [
        Some(format!("SQLSTATE {code}")),
        (!quotes_rows).then(|| server.message().to_owned()),
        server.table().map(|name| format!("table {name}")),
        server.constraint().map(|name| format!("constraint {name}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// An error and everything behind it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Many errors already print the one behind them.
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// What a panic said of itself, as `catch_unwind` caught it.
pub fn said_in_panic(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it did not say why")
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = json!({ "detail": self.detail }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response.headers_mut().extend(
            self.headers
                .into_iter()
                .map(|(name, value)| (Some(name), value)),
        );
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(Cause(cause));
        }
        if let Some(outcome) = self.outcome {
            response.extensions_mut().insert(outcome);
        }
        response
    }
}
