//! `GET /docs` and `GET /redoc`: the API to read about and to try. The build script packs both pages.

use axum::{
    Extension,
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use shared::{Error, app::RequestedPath};

/// What Swagger UI may do: run the scripts that came with the page, show the pictures in its styles, ask this API.
/// Nothing inline, nothing from elsewhere, and nobody shows the page in a frame of theirs.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// ReDoc may search in a worker that it makes itself, and add two styles to the page by their hash: an empty one,
/// which its scripts fill, and that of its scroll bars.
const REDOC_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' \
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; \
    img-src 'self' data:; connect-src 'self'; worker-src blob:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One page. It is short, names its parts by their content, and is asked for anew each time.
struct Page {
    html: &'static str,
    etag: &'static str,
}

/// A script, a style or a picture of the pages.
struct Asset {
    /// Changes with the content.
    name: &'static str,
    content_type: &'static str,
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Swagger UI.
pub(crate) async fn docs(path: Extension<RequestedPath>, headers: HeaderMap) -> Response {
    DOCS.answer(DOCS_POLICY, &path, &headers)
}

/// ReDoc.
pub(crate) async fn redoc(path: Extension<RequestedPath>, headers: HeaderMap) -> Response {
    REDOC.answer(REDOC_POLICY, &path, &headers)
}

/// `GET /docs/{asset}`: what the pages are made of. Always compressed: a client of pages is a browser, and there
/// is none that does not read gzip.
pub(crate) async fn asset(name: Result<Path<String>, PathRejection>) -> Result<Response, Error> {
    let asset = name
        .ok()
        .and_then(|Path(name)| ASSETS.iter().find(|asset| asset.name == name))
        .ok_or_else(|| Error::not_found("Not Found"))?;
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CONTENT_ENCODING, "gzip"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.gzip).into_response())
}

impl Page {
    fn answer(&self, policy: &'static str, path: &RequestedPath, headers: &HeaderMap) -> Response {
        let common = [
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, self.etag),
            (header::CONTENT_SECURITY_POLICY, policy),
        ];
        if headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .any(|tag| tag.trim().trim_start_matches("W/") == self.etag || tag.trim() == "*")
        {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        // The parts are named relative to the page, whatever the prefix is that it stands under.
        let html = if path.0.ends_with('/') {
            self.html.replace("\"docs/", "\"../docs/")
        } else {
            self.html.to_owned()
        };
        let content_type = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        (common, content_type, html).into_response()
    }
}
