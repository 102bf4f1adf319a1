//! Requests, as API Gateway hands them to a function: events of an HTTP API (payload 2.0).

use std::sync::Arc;

use serde_json::{Map, Value, json};
use shared::{
    caller::unix_now,
    config::{Config, Defaults, Settings},
    tokens::{KeySet, Keys},
};

use crate::{Failure, SECRET_KEY, runtime_api::Answer};

/// A request as a client writes it.
#[derive(Clone)]
pub(crate) struct Request {
    method: &'static str,
    target: String,
    token: Option<String>,
    body: Option<(&'static str, String)>,
}

impl Request {
    pub(crate) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            token: None,
            body: None,
        }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target)
    }

    pub(crate) fn bearer(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = Some(("application/json", body.to_string()));
        self
    }

    pub(crate) fn form(mut self, body: impl Into<String>) -> Self {
        self.body = Some(("application/x-www-form-urlencoded", body.into()));
        self
    }

    /// What the gateway makes of it.
    pub(crate) fn event(&self) -> String {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let mut headers = Map::new();
        for (name, value) in [
            ("accept", "*/*"),
            ("accept-encoding", "gzip, deflate, br"),
            ("content-length", "0"),
            ("host", "abcdefghij.execute-api.eu-central-1.amazonaws.com"),
            ("user-agent", "curl/8.5.0"),
            (
                "x-amzn-trace-id",
                "Root=1-65f0a5de-3f2c1b4d5e6f708192a3b4c5",
            ),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
        ] {
            headers.insert(name.to_owned(), json!(value));
        }
        if let Some(token) = &self.token {
            headers.insert("authorization".to_owned(), json!(format!("Bearer {token}")));
        }
        if let Some((kind, body)) = &self.body {
            headers.insert("content-type".to_owned(), json!(kind));
            headers.insert("content-length".to_owned(), json!(body.len().to_string()));
        }
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": query,
            "headers": headers,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "abcdefghij",
                "domainName": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
                "domainPrefix": "abcdefghij",
                "http": {
                    "method": self.method,
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1",
                    "userAgent": "curl/8.5.0",
                },
                "requestId": "JKJaXmPLvHcESHA=",
                "routeKey": "$default",
                "stage": "$default",
                "time": "12/Mar/2026:19:03:58 +0000",
                "timeEpoch": 1_773_342_238_390_i64,
            },
            "body": self.body.as_ref().map(|(_, body)| body),
            "isBase64Encoded": false,
        })
        .to_string()
    }
}

/// Votes, as quick to make as can be: they are made while the function is waited for.
#[derive(Clone)]
pub(crate) struct Ballots {
    event: Arc<str>,
    tokens: Arc<[String]>,
}

impl Ballots {
    /// Of users from the first to this one, who have sessions of the same number.
    pub(crate) fn new(keys: &KeySet, users: i64) -> Result<Self, Failure> {
        let tokens: Vec<_> = (1..=users)
            .map(|user| access_token(keys, user, user))
            .collect::<Result<_, _>>()?;
        let vote = Request::post("/vote").bearer(TOKEN).json(&ballot(POST));
        Ok(Self {
            event: vote.event().into(),
            tokens: tokens.into(),
        })
    }

    /// A vote of a user for a post.
    pub(crate) fn event(&self, user: i64, post: i64) -> String {
        self.event
            .replace(&POST.to_string(), &post.to_string())
            .replace(TOKEN, self.token(user))
    }

    /// The access token of a user. After the last comes the first.
    pub(crate) fn token(&self, user: i64) -> &str {
        let index = usize::try_from(user - 1).unwrap_or_default();
        &self.tokens[index % self.tokens.len()]
    }
}

/// What stands in a template for a post and for a token.
const POST: i64 = 4_242_424_242;
const TOKEN: &str = "a.token.here";

/// The body of a vote that is added.
pub(crate) fn ballot(post: i64) -> Value {
    json!({ "post_id": post, "dir": 1 })
}

/// The keys that every function of the bench has.
pub(crate) async fn signing_keys() -> Result<Arc<KeySet>, Failure> {
    let settings =
        Settings::from_lookup(|name| (name == "SECRET_KEY").then(|| SECRET_KEY.to_owned()));
    let config = Config::read(&settings, Defaults::LAMBDA)?;
    let keys = Keys::new(&config.signing).set().await;
    Ok(keys.map_err(|error| error.cause())?)
}

/// The access token of a session.
pub(crate) fn access_token(keys: &KeySet, user: i64, session: i64) -> Result<String, Failure> {
    keys.sign_access_token(user, session, unix_now(), 24 * 60 * 60)
        .map_err(|error| error.cause().into())
}

impl Answer {
    /// The next page that the answer leads to.
    pub(crate) fn next_page(&self) -> Result<String, Failure> {
        let answer: Value = serde_json::from_slice(&self.text)?;
        let link = answer["headers"]["link"].as_str().unwrap_or_default();
        let query = link
            .strip_prefix('<')
            .and_then(|link| link.split('>').next());
        Ok(format!("/posts/{}", query.ok_or("there is no next page")?))
    }
}
