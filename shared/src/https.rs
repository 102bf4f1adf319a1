//! Requests of ours to others: to AWS, and where CloudFormation wants its answers.

use axum::{
    body::{Bytes, HttpBody},
    http::{HeaderValue, Request, StatusCode, header},
};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::ClientConfig;

use crate::{config::Secret, error::chain, tls};

/// A client of HTTP/1.1 that keeps its connections.
pub(crate) type HttpsClient<B> = Client<HttpsConnector<HttpConnector>, B>;

/// Why there was no answer, without the address.
#[derive(Debug)]
pub struct Unreachable(pub String);

/// A client that trusts whom the configuration trusts.
pub(crate) fn client<B>(tls: ClientConfig) -> HttpsClient<B>
where
    B: HttpBody<Data: Send> + Send,
{
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Puts a body where a signed address says, whose query is left as it is. The type is empty, since it is part of
/// what such addresses sign.
pub async fn put(url: &Secret, body: String) -> Result<StatusCode, Unreachable> {
    let request = Request::put(url.reveal())
        .header(header::CONTENT_TYPE, HeaderValue::from_static(""))
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Unreachable("it is no address".to_owned()))?;
    let answer = client(tls::web()).request(request).await;
    answer
        .map(|answer| answer.status())
        .map_err(|error| Unreachable(chain(&error)))
}
