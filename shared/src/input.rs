//! What a request brings: read strictly, all problems reported at once.

mod fields;
mod form;
mod integer;
mod json;
mod multipart;

use std::time::Duration;

use axum::{
    body::{Body as HttpBody, Bytes},
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

pub use fields::Fields;
pub use integer::Id;

use crate::{app::App, caller::Caller, error::Error};
use fields::BodyFields;
use form::Form;

/// Most bytes of a body, unless its route says less: room for 50,000 characters of content, each as the twelve
/// bytes that a character outside the BMP takes in JSON where it is escaped (`\ud83d\ude00`).
pub const BODY_LIMIT: usize = 640 * 1024;
/// Most bytes of a body of an account or a login: room for the longest address and two passwords, escaped as well.
pub const SMALL_BODY_LIMIT: usize = 8 * 1024;

const URLENCODED: &[u8] = b"application/x-www-form-urlencoded";
const MULTIPART: &[u8] = b"multipart/form-data";

/// Longest wait for a body. On Lambda it has come already.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// What the body of a request must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing; a body is not looked at.
    Nothing,
    /// An object (`application/json`, `application/*+json` or no type), of at most so many bytes.
    Json(usize),
    /// A form (`application/x-www-form-urlencoded`, or `multipart/form-data` of text alone), of at most so many bytes.
    Form(usize),
}

impl Body {
    /// What the route takes, as a sentence goes on.
    fn media_types(self) -> &'static str {
        match self {
            Self::Nothing => "no body",
            Self::Json(_) => "application/json",
            Self::Form(_) => "application/x-www-form-urlencoded or multipart/form-data",
        }
    }
}

/// A request as a type: which fields a route takes, and what they may hold.
pub trait Input: Sized + Send {
    /// What the body must be.
    const BODY: Body;

    /// Reads every field before it looks at any result, so that all problems are found. `None` where there
    /// was one.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// The input of a route that takes nothing.
pub struct NoInput;

impl Input for NoInput {
    const BODY: Body = Body::Nothing;

    fn read(_: &mut Fields<'_>) -> Option<Self> {
        Some(Self)
    }
}

/// The input of a route for one thing, by the id in its path.
pub struct ById(pub Id);

impl Input for ById {
    const BODY: Body = Body::Nothing;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.path_id("id").map(Self)
    }
}

/// The input of a route for anyone, whoever they say they are.
pub struct Open<T>(pub T);

/// The caller, if there is one, and the input of a route for anyone: no credentials are fine, bad ones are a 401.
pub struct Public<T>(pub Option<Caller>, pub T);

/// The caller and the input of a route for callers. Whether the caller still exists, the route's own statement asks.
pub struct Signed<T>(pub Caller, pub T);

impl<T: Input> FromRequest<App> for Open<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        Received::new::<T>(request)
            .await?
            .parse()?
            .read(app)
            .await
            .map(Self)
    }
}

impl<T: Input> FromRequest<App> for Public<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let received = Received::new::<T>(request).await?;
        let parsed = received.parse()?;
        match Caller::of(&received.parts.headers, app).await? {
            None => Ok(Self(None, parsed.read(app).await?)),
            Some(caller) => Ok(Self(Some(caller), parsed.read_for(caller, app).await?)),
        }
    }
}

impl<T: Input> FromRequest<App> for Signed<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let received = Received::new::<T>(request).await?;
        let parsed = received.parse()?;
        let caller = Caller::of(&received.parts.headers, app)
            .await?
            .ok_or_else(Error::not_authenticated)?;
        Ok(Self(caller, parsed.read_for(caller, app).await?))
    }
}

/// A request whose size and content type are right.
struct Received {
    parts: Parts,
    path: Option<RawPathParams>,
    body: Bytes,
    kind: Body,
}

/// A request whose body is also well-formed.
struct Parsed<'a> {
    received: &'a Received,
    body: BodyFields<'a>,
}

impl Received {
    async fn new<T: Input>(request: Request) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let path = RawPathParams::from_request_parts(&mut parts, &())
            .await
            .ok();
        let body = match T::BODY {
            Body::Nothing => Bytes::new(),
            Body::Json(limit) | Body::Form(limit) => {
                check_length(&parts.headers, limit)?;
                let kind_is_right = has_type(&parts.headers, T::BODY);
                let body = read_body(body, limit).await?;
                // No type is no wrong type where there is nothing that it could describe.
                let says_nothing =
                    body.is_empty() && !parts.headers.contains_key(header::CONTENT_TYPE);
                if !kind_is_right && !says_nothing {
                    return Err(Error::new(
                        StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        format!("Unsupported Media Type: send {}", T::BODY.media_types()),
                    ));
                }
                body
            }
        };
        Ok(Self {
            parts,
            path,
            body,
            kind: T::BODY,
        })
    }

    fn parse(&self) -> Result<Parsed<'_>, Error> {
        let body = match self.kind {
            Body::Nothing => BodyFields::Nothing,
            Body::Json(_) => {
                json::parse(&self.body).map_err(|problem| Error::problems(&[problem]))?
            }
            Body::Form(_) => BodyFields::Form(self.parse_form()?),
        };
        Ok(Parsed {
            received: self,
            body,
        })
    }

    fn parse_form(&self) -> Result<Form, Error> {
        match self.parts.headers.get(header::CONTENT_TYPE) {
            Some(kind) if essence(kind.as_bytes()).eq_ignore_ascii_case(MULTIPART) => {
                multipart::parse(kind.as_bytes(), &self.body)
                    .map_err(|problem| Error::problems(&[problem]))
            }
            _ => Ok(Form {
                pairs: form::parse(&self.body),
                files: Vec::new(),
            }),
        }
    }
}

impl Parsed<'_> {
    async fn read<T: Input>(self, app: &App) -> Result<T, Error> {
        let query = form::parse(
            self.received
                .parts
                .uri
                .query()
                .unwrap_or_default()
                .as_bytes(),
        );
        let keys = app.keys.set().await?;
        let mut fields = Fields::new(&keys, self.received.path.as_ref(), query, self.body);
        let input = T::read(&mut fields);
        match (input, fields.into_problems()) {
            (Some(input), problems) if problems.is_empty() => Ok(input),
            (_, problems) => Err(Error::problems(&problems)),
        }
    }

    /// Reads for a caller, who comes first: a problem is told only to one who still exists.
    async fn read_for<T: Input>(self, caller: Caller, app: &App) -> Result<T, Error> {
        match self.read(app).await {
            Ok(input) => Ok(input),
            Err(problems) => {
                caller.confirm(app).await?;
                Err(problems)
            }
        }
    }
}

fn too_large() -> Error {
    Error::new(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large")
}

fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), Error> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        Err(too_large())
    } else {
        Ok(())
    }
}

async fn read_body(body: HttpBody, limit: usize) -> Result<Bytes, Error> {
    match timeout(BODY_WAIT, Limited::new(body, limit).collect()).await {
        Err(_) => Err(Error::new(StatusCode::REQUEST_TIMEOUT, "Request Timeout")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        // The client went away or broke off; whoever still listens is told what was missing.
        Ok(Err(_)) => Err(Error::new(
            StatusCode::BAD_REQUEST,
            "The request body could not be read",
        )),
    }
}

/// Whether the content type is one that the route takes; parameters such as `charset` do not matter.
fn has_type(headers: &HeaderMap, body: Body) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return matches!(body, Body::Json(_));
    };
    let essence = essence(value.as_bytes()).to_ascii_lowercase();
    match body {
        Body::Nothing => true,
        Body::Json(_) => {
            essence == b"application/json"
                || essence.starts_with(b"application/") && essence.ends_with(b"+json")
        }
        Body::Form(_) => [URLENCODED, MULTIPART].contains(&essence.as_slice()),
    }
}

/// The value of a header without its parameters, which may be any bytes.
fn essence(value: &[u8]) -> &[u8] {
    value[..unquoted_end(value)].trim_ascii()
}

/// Where the next parameter of a header begins, outside of quotes.
fn unquoted_end(value: &[u8]) -> usize {
    let end = value.iter().position(|byte| *byte == b';');
    end.unwrap_or(value.len())
}
