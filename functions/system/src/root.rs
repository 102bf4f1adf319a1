//! `GET /`: what answers here.

use axum::{
    Extension,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use shared::{app::RequestedPath, reply::Json};

/// The service in a few words, and where it is described: addresses relative to this one.
#[derive(Serialize)]
struct About {
    name: &'static str,
    version: &'static str,
    docs: String,
    redoc: String,
    openapi: String,
}

/// Says to a program what answers here, and sends a person's browser to the documentation.
pub(crate) async fn read(
    Extension(path): Extension<RequestedPath>,
    headers: HeaderMap,
) -> Response {
    let vary = [(header::VARY, "accept")];
    if weight(&headers, "text", "html") > weight(&headers, "application", "json") {
        return (
            StatusCode::FOUND,
            vary,
            [(header::LOCATION, path.to("docs"))],
        )
            .into_response();
    }
    let about = Json(About {
        name: "Social Media API",
        version: env!("CARGO_PKG_VERSION"),
        docs: path.to("docs"),
        redoc: path.to("redoc"),
        openapi: path.to("openapi.json"),
    });
    (vary, about).into_response()
}

/// How much a client wants a type: the `q` of the range in its `Accept` that names the type best (RFC 9110,
/// section 12.5.1).
fn weight(headers: &HeaderMap, group: &str, kind: &str) -> f32 {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(|accept| accept.split(','))
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let (its_group, its_kind) = parts.next()?.split_once('/')?;
            let exactness = match (its_group, its_kind) {
                ("*", "*") => 1,
                (its, "*") if its.eq_ignore_ascii_case(group) => 2,
                (its, of) if its.eq_ignore_ascii_case(group) && of.eq_ignore_ascii_case(kind) => 3,
                _ => return None,
            };
            let quality = parts
                .filter_map(|parameter| parameter.split_once('='))
                .find(|(name, _)| name.eq_ignore_ascii_case("q"))
                .map_or(Ok(1.0), |(_, value)| value.parse())
                .ok()?;
            Some((exactness, quality))
        })
        .max_by_key(|(exactness, _)| *exactness)
        .map_or(0.0, |(_, quality)| quality)
}
