//! What a function is invoked with: requests as API Gateway writes them, pings that keep it warm, and whatever
//! else somebody sends. None of it ends in an error of the function: what `lambda_http` cannot read, or would
//! panic on, does not reach it.

use std::{collections::HashMap, fmt};

use axum::{
    body::{Body as HttpBody, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use futures_util::stream;
use lambda_http::{
    aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest},
    request::LambdaRequest,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::path;
use crate::app::{Refused, RequestedPath};

/// Most bytes of a path and its query, which the type of a URI sets.
const MAX_TARGET_BYTES: usize = u16::MAX as usize - 1;
/// Most headers, where gateways let 10,240 bytes of them pass. Whoever adds one, as the adapter does, panics where
/// the type of headers has no place left, which is never before 6,000.
const MAX_HEADERS: usize = 4_096;

/// An event of a function of the API. Every JSON is one.
pub enum Event {
    /// A request by way of a gateway.
    Request(Box<GatewayRequest>),
    /// A ping or a schedule, which keeps the function warm.
    Ping,
    /// An event of a gateway that is no request, or whose fields are of wrong types.
    Malformed,
    /// An event of a service that this function does not serve.
    Unknown,
}

/// What goes beside `lambda_http`'s adapter, which has no place for it.
#[derive(Default)]
pub(super) struct Beside {
    /// The path within the API and the query, as they are. The adapter resolves `..` in a path and brings the
    /// parameters of a REST API's query into any order.
    pub(super) uri: Uri,
    pub(super) requested_path: Option<RequestedPath>,
    /// Why no request could be made of the event.
    pub(super) refused: Option<Refused>,
    /// A body that came in base64. The adapter panics on what is none.
    pub(super) decoded: Option<HttpBody>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Payload 1.0.
    Rest,
    /// Payload 2.0.
    Http,
}

impl Format {
    /// An event of this format that says nothing.
    fn blank(self) -> LambdaRequest {
        match self {
            Self::Rest => LambdaRequest::ApiGatewayV1(ApiGatewayProxyRequest::default()),
            Self::Http => LambdaRequest::ApiGatewayV2(ApiGatewayV2httpRequest::default()),
        }
    }
}

/// A request as API Gateway writes it: of a REST API (payload 1.0), or of an HTTP API or a function URL (2.0).
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayRequest {
    http_method: Option<String>,
    path: Option<String>,
    resource: Option<String>,
    multi_value_headers: Option<Pairs>,
    multi_value_query_string_parameters: Option<Pairs>,

    route_key: Option<String>,
    raw_path: Option<String>,
    raw_query_string: Option<String>,

    headers: Option<Pairs>,
    query_string_parameters: Option<Pairs>,
    path_parameters: Option<Pairs>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
    request_context: Option<RequestContext>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RequestContext {
    stage: Option<String>,
    domain_name: Option<String>,
    http_method: Option<String>,
    path: Option<String>,
    resource_path: Option<String>,
    http: Option<Http>,
    identity: Option<Identity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Http {
    method: Option<String>,
    path: Option<String>,
    source_ip: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Identity {
    source_ip: Option<String>,
}

impl<'de> Deserialize<'de> for Event {
    /// Never fails: the runtime would report an error of the function, which raises alarms.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(<&RawValue>::deserialize(deserializer)
            .map_or(Self::Malformed, |json| Self::read(json.get())))
    }
}

impl Event {
    fn read(json: &str) -> Self {
        if !json.starts_with('{') {
            return Self::Ping;
        }
        match serde_json::from_str::<GatewayRequest>(json) {
            Ok(request) if request.method().is_some() => Self::Request(Box::new(request)),
            _ => Self::of_another_kind(json),
        }
    }

    /// What an event is that is no request.
    fn of_another_kind(json: &str) -> Self {
        let Ok(fields) = serde_json::from_str::<HashMap<String, &RawValue>>(json) else {
            return Self::Malformed;
        };
        let has_one_of = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
        if has_one_of(&[
            "requestContext",
            "httpMethod",
            "rawPath",
            "routeKey",
            "headers",
            "multiValueHeaders",
            "isBase64Encoded",
        ]) {
            return Self::Malformed;
        }
        // EventBridge and the plugins that keep functions warm name their source, or say that they warm.
        let is_ping = fields.is_empty()
            || has_one_of(&[
                "source",
                "detail-type",
                "warmer",
                "warmup",
                "warm",
                "ping",
                "keepalive",
                "keepWarm",
            ]);
        if is_ping { Self::Ping } else { Self::Unknown }
    }

    /// The request that the client made, as the adapter takes it. One that cannot be made of the event is a
    /// request still, and says how it is refused; a ping is none.
    pub(super) fn into_request(self) -> Option<(LambdaRequest, Beside)> {
        let refused = |format: Format, refused: Refused| {
            let beside = Beside {
                refused: Some(refused),
                ..Beside::default()
            };
            (format.blank(), beside)
        };
        let malformed = Refused(
            StatusCode::BAD_REQUEST,
            "The event is not a request of API Gateway",
        );
        match self {
            Self::Request(event) => {
                let format = event.format();
                let request = event.into_request();
                Some(request.unwrap_or_else(|reason| refused(format, reason)))
            }
            Self::Ping => None,
            Self::Malformed => Some(refused(Format::Http, malformed)),
            Self::Unknown => {
                tracing::warn!("the event is neither a request of API Gateway nor a ping");
                Some(refused(Format::Http, malformed))
            }
        }
    }
}

impl GatewayRequest {
    fn context(&self) -> Option<&RequestContext> {
        self.request_context.as_ref()
    }

    fn http(&self) -> Option<&Http> {
        self.context()?.http.as_ref()
    }

    fn method(&self) -> Option<&str> {
        let of_http_api = self.http().and_then(|http| http.method.as_deref());
        of_http_api
            .or(self.http_method.as_deref())
            .or_else(|| self.context()?.http_method.as_deref())
    }

    fn format(&self) -> Format {
        match self.http() {
            Some(http) if http.method.is_some() => Format::Http,
            _ => Format::Rest,
        }
    }

    fn into_request(mut self) -> Result<(LambdaRequest, Beside), Refused> {
        let method = self.method().unwrap_or_default();
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Refused(StatusCode::BAD_REQUEST, "The request method is malformed"))?;
        let (path, requested) = self.paths();
        let headers = self.take_headers()?;
        let query = self.query();
        let target = if query.is_empty() {
            path.clone()
        } else {
            format!("{path}?{query}")
        };
        if target.len() > MAX_TARGET_BYTES {
            return Err(Refused(StatusCode::URI_TOO_LONG, "URI Too Long"));
        }
        let uri = target
            .parse()
            .map_err(|_| Refused(StatusCode::BAD_REQUEST, "The request path is malformed"))?;
        let (body, decoded) = self.take_body();
        let beside = Beside {
            uri,
            requested_path: Some(RequestedPath(requested.into())),
            refused: None,
            decoded,
        };
        // Neither stage nor domain is told: the adapter would guess by them what was found out here.
        let mut request = self.format().blank();
        let context = self.request_context.unwrap_or_default();
        match &mut request {
            LambdaRequest::ApiGatewayV2(request) => {
                let http = &mut request.request_context.http;
                http.method = method;
                http.source_ip = context.http.and_then(|http| http.source_ip);
                request.raw_path = Some(path);
                request.headers = headers;
                request.body = body;
            }
            LambdaRequest::ApiGatewayV1(request) => {
                let identity = context.identity.unwrap_or_default();
                request.request_context.identity.source_ip = identity.source_ip;
                request.http_method = method;
                request.path = Some(path);
                request.multi_value_headers = headers;
                request.body = body;
            }
            _ => {}
        }
        Ok((request, beside))
    }

    /// The path within the API, and the path that the client asked for, as far as the event tells.
    fn paths(&self) -> (String, String) {
        let (path, template) = match self.format() {
            Format::Http => (
                self.raw_path
                    .as_deref()
                    .or_else(|| self.http()?.path.as_deref()),
                // `ANY /posts/{proxy+}`, or `$default`.
                self.route_key
                    .as_deref()
                    .and_then(|key| Some(key.split_once(' ')?.1)),
            ),
            Format::Rest => (
                self.path
                    .as_deref()
                    .or_else(|| self.context()?.path.as_deref()),
                self.resource
                    .as_deref()
                    .or_else(|| self.context()?.resource_path.as_deref()),
            ),
        };
        let context = self.context();
        path::of_event(&path::EventPaths {
            is_http_api: self.format() == Format::Http,
            path: path.unwrap_or("/"),
            path_in_context: context.and_then(|context| context.path.as_deref()),
            stage: context
                .and_then(|context| context.stage.as_deref())
                .filter(|stage| *stage != "$default"),
            domain: context.and_then(|context| context.domain_name.as_deref()),
            template,
            parameter: &|name| self.path_parameters.as_ref()?.first(name),
        })
    }

    /// All headers but the host, which no route looks at and the adapter would take for a part of a URL. A REST
    /// API tells every value beside the last of each name; test events have one of the two.
    fn take_headers(&mut self) -> Result<HeaderMap, Refused> {
        let malformed = || {
            Refused(
                StatusCode::BAD_REQUEST,
                "A header of the request is malformed",
            )
        };
        let mut headers = HeaderMap::new();
        for pairs in [self.multi_value_headers.take(), self.headers.take()] {
            let mut seen = Vec::new();
            for (name, values) in pairs.into_iter().flat_map(|pairs| pairs.0) {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
                if name == header::HOST || headers.contains_key(&name) && !seen.contains(&name) {
                    continue;
                }
                for value in values.0 {
                    if headers.len() == MAX_HEADERS {
                        return Err(malformed());
                    }
                    let value = HeaderValue::try_from(value).map_err(|_| malformed())?;
                    headers.append(name.clone(), value);
                }
                seen.push(name);
            }
        }
        Ok(headers)
    }

    /// The query as a URI has it. An HTTP API passes it on as it came, a REST API decoded and in parts.
    fn query(&self) -> String {
        if let Some(query) = &self.raw_query_string {
            return path::encode_query(query);
        }
        let (multiple, single) = (
            self.multi_value_query_string_parameters.as_ref(),
            self.query_string_parameters.as_ref(),
        );
        let is_told = |name: &str| multiple.is_some_and(|pairs| pairs.first(name).is_some());
        let others = single.into_iter().flat_map(|pairs| &pairs.0);
        let others = others.filter(|(name, _)| !is_told(name));
        let mut query = String::new();
        for (name, values) in multiple
            .into_iter()
            .flat_map(|pairs| &pairs.0)
            .chain(others)
        {
            for value in &values.0 {
                if !query.is_empty() {
                    query.push('&');
                }
                query.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
                query.push('=');
                query.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
            }
        }
        query
    }

    /// The body as text, or else decoded. One that says to be base64 and is not cannot be read, like one that
    /// breaks off.
    fn take_body(&mut self) -> (Option<String>, Option<HttpBody>) {
        match self.body.take() {
            Some(text) if self.is_base64_encoded == Some(true) => {
                let broken = stream::once(async { Err::<Bytes, _>("the body is not base64") });
                let decoded = decode(&text).map_or_else(
                    || HttpBody::from_stream(broken),
                    |bytes: Vec<u8>| bytes.into(),
                );
                (None, Some(decoded))
            }
            text => (text, None),
        }
    }
}

/// The bytes of a text in base64, of either alphabet, with or without padding and line breaks (RFC 4648).
fn decode(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    // Gateways write it so.
    if let Ok(bytes) = STANDARD.decode(text) {
        return Some(bytes);
    }
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    LENIENT.decode(text).ok()
}

/// The fields of an object of texts, in their order.
struct Pairs(Vec<(String, Values)>);

impl Pairs {
    fn first(&self, wanted: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == wanted);
        found.and_then(|(_, values)| values.0.first().map(String::as_str))
    }
}

/// The values of a name: a text, a list of texts, or null. People who write events by hand write numbers too.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }

            fn visit_string<E>(self, text: String) -> Result<Values, E> {
                Ok(Values(vec![text]))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_unit<E>(self) -> Result<Values, E> {
                Ok(Values(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut texts = Vec::new();
                while let Some(Values(more)) = list.next_element()? {
                    texts.extend(more);
                }
                Ok(Values(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}
