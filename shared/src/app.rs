//! The running function: what its handlers share, and what every answer has in common.

use std::{
    convert::Infallible, fmt, net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    http::{HeaderValue, StatusCode, Uri, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::time::timeout;
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};
use tracing::Instrument;

use crate::{
    config::Config,
    db::Db,
    error::{Error, said_in_panic},
    password::Passwords,
    telemetry::{self, Arrival, Cold},
    tokens::Keys,
};

/// Longest time of one request: more than any statement may take, less than the platform waits (29 seconds).
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// State of a running function. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The database.
    pub db: Db,
    /// What signs and verifies tokens.
    pub keys: Keys,
    /// What hashes and verifies passwords.
    pub passwords: Passwords,
    /// How long an access token is accepted.
    pub access_token_life: Duration,
    /// How long a session lasts from its login.
    pub session_life: Duration,
    /// How long a spent refresh token may be exchanged again for the same successor.
    pub reuse_grace: Duration,
    /// Most sign-ups an hour from one source; 0 for no limit.
    pub sign_ups_per_hour: i32,
}

impl App {
    /// What the settings describe. Nothing is connected to yet. `hashes_at_once` bounds the memory that
    /// Argon2 takes.
    pub fn new(config: &Config, hashes_at_once: usize) -> Result<Self, Error> {
        Ok(Self {
            db: Db::new(config.database.as_ref()),
            keys: Keys::new(&config.signing),
            passwords: Passwords::new(hashes_at_once)?,
            access_token_life: config.access_token_life,
            session_life: config.session_life,
            reuse_grace: config.reuse_grace,
            sign_ups_per_hour: config.sign_ups_per_hour,
        })
    }
}

/// The path as the client wrote it, with the stage of a gateway and a trailing slash where there was one. What
/// a gateway or a proxy keeps to itself is missing, so that answers lead on by references relative to it.
#[derive(Clone, Debug)]
pub struct RequestedPath(pub Arc<str>);

impl RequestedPath {
    /// A relative reference (RFC 3986, section 4.2) from here to what stands below, whether or not a slash ends
    /// the path: from `/v1/posts` and from `/v1/posts/` to `/v1/posts/1`.
    pub fn to(&self, below: impl fmt::Display) -> String {
        match self.0.rsplit_once('/') {
            Some((_, last)) if !last.is_empty() => format!("{last}/{below}"),
            _ => below.to_string(),
        }
    }
}

/// A request that no request could be made of: how it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused(pub StatusCode, pub &'static str);

/// What finds the request in the log; given by the platform, else made here, never taken from a client.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// What finds the request in X-Ray, where the platform traces it.
#[derive(Clone, Debug)]
pub struct TraceId(pub Arc<str>);

/// The address that the request came from, as the platform saw it, never as a header claims it. Handlers see an
/// IPv4 address that was written as an IPv6 one (`::ffff:192.0.2.1`) as the IPv4 address that it is.
#[derive(Clone, Copy, Debug)]
pub struct Source(pub IpAddr);

/// The source of a request, for a handler; `None` where the platform names none.
#[derive(Clone, Copy, Debug)]
pub struct From(pub Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(
            parts.extensions.get::<Source>().map(|source| source.0),
        ))
    }
}

/// A function, ready to serve: every request gets an answer.
pub type Served = BoxCloneService<Request, Response, Infallible>;

/// The routes of one function or of all, with what every route has in common: JSON for unknown paths and
/// methods, no difference by a trailing slash, headers, a panic as a 500, one line in the log.
pub fn service(router: Router<App>, app: App) -> Served {
    let router = router
        .route_layer(middleware::from_fn(telemetry::note_route))
        .fallback(async || Error::not_found("Not Found"))
        .method_not_allowed_fallback(async || {
            Error::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .with_state(app);
    // Around the router, not inside it: the path is changed before it is matched.
    ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(Cold::new(), answer))
        .service(router)
        .boxed_clone()
}

/// One request, from the door to the log.
async fn answer(State(cold): State<Cold>, mut request: Request, next: Next) -> Response {
    // An IPv4 client of a socket for both families is one client, however its address is written.
    if let Some(Source(source)) = request.extensions_mut().get_mut() {
        *source = source.to_canonical();
    }
    let arrival = Arrival::of(&request, &cold);
    if request.extensions().get::<RequestedPath>().is_none() {
        let path = RequestedPath(request.uri().path().into());
        request.extensions_mut().insert(path);
    }
    drop_trailing_slash(request.uri_mut());
    let refused = request.extensions().get().copied();
    let answering = async {
        match refused {
            Some(Refused(status, detail)) => Error::new(status, detail).into_response(),
            None => next.run(request).await,
        }
    };
    let answered = timeout(REQUEST_TIMEOUT, AssertUnwindSafe(answering).catch_unwind())
        .instrument(arrival.span.clone())
        .await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            Error::internal(format!("a handler panicked: {}", said_in_panic(&*panic)))
                .into_response()
        }
        Err(_) => Error::unavailable("the request took too long").into_response(),
    };
    let has_no_content = matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    let headers = response.headers_mut();
    if has_no_content {
        // There is no length of what is not there, and that of a page that was not sent is another one
        // (RFC 9110, section 8.6).
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::CONTENT_TYPE);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&arrival.request_id) {
        headers.insert("x-request-id", id);
    }
    arrival.log(&response);
    response
}

/// `/posts/` is `/posts`.
fn drop_trailing_slash(uri: &mut Uri) {
    let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else {
        return;
    };
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    // A path less its last slash is a path still, so this never fails; if it did, the slash would stay.
    parts.path_and_query = path_and_query.parse().ok();
    if let Ok(shorter) = Uri::from_parts(parts) {
        *uri = shorter;
    }
}
