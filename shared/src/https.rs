//! The one request that a function makes to somebody other than a database or Secrets Manager.

use axum::{
    body::Bytes,
    http::{HeaderValue, Request, StatusCode, header},
};
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::{config::Secret, error::chain, tls};

/// Why there was no answer, without the address.
#[derive(Debug)]
pub struct Unreachable(pub String);

/// Puts a body where a signed address says, whose query is left as it is. The type is empty, since it is part of
/// what such addresses sign.
pub async fn put(url: &Secret, body: String) -> Result<StatusCode, Unreachable> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::web())
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::put(url.reveal())
        .header(header::CONTENT_TYPE, HeaderValue::from_static(""))
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Unreachable("it is no address".to_owned()))?;
    let answer = client.request(request).await;
    answer
        .map(|answer| answer.status())
        .map_err(|error| Unreachable(chain(&error)))
}
