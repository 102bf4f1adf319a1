//! The log: one JSON line an event, one span a request.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use tracing::{Span, field};

use crate::{app::RequestId, error::Cause};

/// Writes every event of `info` and above to standard output as one line of JSON. For a process that has no
/// other log; called once.
pub fn init() {
    // A second subscriber would be refused, and the first goes on.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .try_init();
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

/// A request that has arrived.
pub(crate) struct Arrival {
    pub(crate) span: Span,
    pub(crate) request_id: Arc<str>,
    method: Method,
    at: Instant,
}

/// The route that matched, for the log: `/posts/{id}` and not the path, which may hold anything.
#[derive(Clone)]
struct Route(MatchedPath);

impl Arrival {
    pub(crate) fn of(request: &Request) -> Self {
        let request_id = request
            .extensions()
            .get::<RequestId>()
            .map_or_else(new_request_id, |id| Arc::clone(&id.0));
        let span =
            tracing::info_span!("request", "request.id" = %request_id, "user.id" = field::Empty);
        Self {
            span,
            request_id,
            method: request.method().clone(),
            at: Instant::now(),
        }
    }

    /// Writes the request's one line: an error with its cause where it failed through a fault of ours.
    pub(crate) fn log(&self, response: &Response) {
        let _entered = self.span.enter();
        let route = response
            .extensions()
            .get::<Route>()
            .map_or("-", |route| route.0.as_str());
        let status = response.status().as_u16();
        let duration_ms = self.at.elapsed().as_secs_f64() * 1000.0;
        let method = METHODS
            .iter()
            .find(|method| **method == self.method)
            .map_or("-", Method::as_str);
        if let Some(Cause(cause)) = response.extensions().get::<Cause>() {
            tracing::error!(method, route, status, duration_ms, cause, "request failed");
        } else {
            tracing::info!(method, route, status, duration_ms, "request");
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
