//! What attempts are counted by: digests of addresses and sources, so that the counts name nobody.

use std::net::IpAddr;

use axum::http::{HeaderValue, StatusCode, header};
use ring::digest;

use crate::{
    db::{Parameter, Type},
    error::Error,
};

/// What one login is counted by.
pub struct LoginBuckets {
    /// The address, known or not, without regard to ASCII case.
    pub address: Vec<u8>,
    /// Where the request came from; `None` where the platform does not say.
    pub source: Option<Vec<u8>>,
    /// Both.
    pub address_and_source: Vec<u8>,
}

impl LoginBuckets {
    /// The buckets of an address that was normalised, and the source of a request.
    pub fn new(address: &str, source: Option<IpAddr>) -> Self {
        let address = address.to_ascii_lowercase();
        let network = source.map(network);
        Self {
            address: bucket(&["login by address", &address]),
            source: network
                .as_ref()
                .map(|network| bucket(&["login by source", network])),
            address_and_source: bucket(&[
                "login by both",
                &address,
                network.as_deref().unwrap_or(""),
            ]),
        }
    }

    /// The buckets as the three parameters of `count_login` and `forgive_login`.
    pub fn parameters(&self) -> [Parameter<'_>; 3] {
        [
            (&self.address, Type::BYTEA),
            (&self.source, Type::BYTEA),
            (&self.address_and_source, Type::BYTEA),
        ]
    }
}

/// What sign-ups from a source are counted by.
pub fn sign_up_bucket(source: Option<IpAddr>) -> Vec<u8> {
    bucket(&[
        "sign-up by source",
        source.map(network).as_deref().unwrap_or(""),
    ])
}

/// 429 with `Retry-After`, in seconds.
pub fn too_many(detail: &str, retry_after: i32) -> Error {
    Error::new(StatusCode::TOO_MANY_REQUESTS, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after))
}

/// What one subscriber has: an IPv4 address, or the first half of an IPv6 one.
fn network(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn bucket(parts: &[&str]) -> Vec<u8> {
    digest::digest(&digest::SHA256, parts.join("\0").as_bytes())
        .as_ref()
        .to_vec()
}
