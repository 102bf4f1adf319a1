//! The routers over HTTP, as API Gateway would call them.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, Method, header},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use shared::app::{Served, Source};
use tokio::{net::TcpListener, time::timeout};
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer, Vary};

use crate::{proxies::TrustedProxies, settings::Origins};

/// Longest wait for the head of a request.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for requests under way when the process ends: as long as a function has on Lambda.
const DRAIN: Duration = Duration::from_secs(15);
/// Wait after a failure to accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Methods of the API that a page of another origin may use.
const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];
/// Headers of answers that such a page may read, besides those that any page may.
const EXPOSED: [HeaderName; 7] = [
    header::ALLOW,
    header::ETAG,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("x-request-id"),
];
/// Headers that the pages of listed origins may send: what the libraries of browsers set, and what their tracers add.
const SENT: [HeaderName; 20] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::PRAGMA,
    HeaderName::from_static("x-requested-with"),
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("sentry-trace"),
    HeaderName::from_static("x-datadog-origin"),
    HeaderName::from_static("x-datadog-parent-id"),
    HeaderName::from_static("x-datadog-sampled"),
    HeaderName::from_static("x-datadog-sampling-priority"),
    HeaderName::from_static("x-datadog-tags"),
    HeaderName::from_static("x-datadog-trace-id"),
];

/// What CORS allows a page of another origin: any header without credentials where every origin may call, and
/// credentials with the headers above where some may. Functions know nothing of it: deployed, it is the gateway's,
/// and template.yaml has the same lists.
pub fn cors(origins: Origins) -> CorsLayer {
    let cors = CorsLayer::new()
        .allow_methods(METHODS)
        .expose_headers(EXPOSED)
        .max_age(Duration::from_mins(10));
    match origins {
        // `*` among the headers would not stand for `authorization` (Fetch standard, section 4.8), so the answer
        // repeats what is asked for. It differs by that alone, and nobody keeps the answer to an `OPTIONS`.
        Origins::Any => cors
            .allow_origin(AllowOrigin::any())
            .allow_headers(AllowHeaders::mirror_request())
            .vary(Vary::list([])),
        Origins::Listed(origins) => {
            let listed = origins.clone();
            cors.allow_origin(AllowOrigin::list(origins))
                .allow_headers(AllowHeaders::list(SENT))
                .allow_credentials(AllowCredentials::predicate(move |origin, _| {
                    listed.contains(origin)
                }))
        }
    }
}

/// Serves until `end` comes, then finishes what is under way. The peer's address is the request's source, or what
/// the proxies say that are trusted.
pub async fn serve(
    listener: TcpListener,
    served: Served,
    cors: CorsLayer,
    proxies: TrustedProxies,
    end: impl Future<Output = ()>,
) {
    let proxies = Arc::new(proxies);
    let graceful = GracefulShutdown::new();
    let mut end = std::pin::pin!(end);
    let open = cors.layer(served.clone()).boxed_clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (served, open, proxies) = (served.clone(), open.clone(), Arc::clone(&proxies));
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let request = from_client(request, peer, &proxies);
            let service = if asks_for_methods(&request) {
                &served
            } else {
                &open
            };
            service.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WAIT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        // A client that breaks off has no answer coming, and its request is in the log.
        tokio::spawn(async move { connection.await.ok() });
    }
    drop(listener);
    let _ = timeout(DRAIN, graceful.shutdown()).await;
}

/// Whether this is an `OPTIONS` of its own, which is a method like any other, and not the question that a
/// browser asks before another request (Fetch standard, section 4.8). The CORS layer would answer both.
fn asks_for_methods(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && !request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn from_client(request: Request<Incoming>, peer: SocketAddr, proxies: &TrustedProxies) -> Request {
    let mut request = request.map(Body::new);
    let client = proxies.client(peer.ip(), request.headers());
    request.extensions_mut().insert(Source(client));
    request
}
