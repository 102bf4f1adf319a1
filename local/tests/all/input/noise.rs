//! Noise: requests by a generator with a fixed seed, at every route. Each is answered, in JSON, by no fault of ours.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::ann_and_a_post;
use crate::world::{Answer, Door, Request, World, http_event, rest_event};

/// A small generator (`SplitMix64`): the same noise in every run.
struct Noise(u64);

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];
const ROUTES: [(&str, &str); 15] = [
    ("POST", "/users/"),
    ("GET", "/users/1"),
    ("POST", "/auth/login"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/logout-all"),
    ("GET", "/posts/"),
    ("POST", "/posts"),
    ("GET", "/posts/1"),
    ("PUT", "/posts/1"),
    ("DELETE", "/posts/1"),
    ("POST", "/vote/"),
    ("GET", "/"),
    ("GET", "/health/"),
    ("GET", "/nothing"),
];
const NAMES: [&str; 16] = [
    "email",
    "password",
    "username",
    "grant_type",
    "refresh_token",
    "title",
    "content",
    "is_published",
    "post_id",
    "dir",
    "limit",
    "skip",
    "search",
    "cursor",
    "id",
    "x",
];
const TEXTS: [&str; 22] = [
    "",
    "x",
    "ann@example.com",
    "opal-lantern-42",
    "password",
    "1",
    "-1",
    "0",
    "99999999999999999999",
    "1.0",
    "true",
    "\\u0000",
    "\\ud800",
    "%00",
    "%FF",
    "%",
    "' or 1=1 --",
    "ÄÖÜ😀",
    "\u{202e}\u{feff}",
    "\\",
    "_%_",
    "a+b&c=d",
];
const VALUES: [&str; 14] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "1.5",
    "1e400",
    "9223372036854775808",
    "[]",
    "{}",
    "[[[]]]",
    "\"\\u0000\"",
    "{\"a\":1,\"a\":2}",
];

/// All but letters, digits and what parts a target.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'%')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'/');

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn bytes(&mut self, at_most: usize) -> Vec<u8> {
        let length = self.below(at_most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Any text, with more odd characters than usual ones.
    fn text(&mut self) -> String {
        match self.below(4) {
            0 => String::from_utf8_lossy(&self.bytes(12)).into_owned(),
            1 => (0..self.below(8))
                .filter_map(|_| char::from_u32(self.next().to_le_bytes()[0].into()))
                .collect(),
            2 => TEXTS[self.below(TEXTS.len())].repeat(1 + self.below(60)),
            _ => self.of(&TEXTS).to_owned(),
        }
    }

    /// An object with fields that routes know, their values right, wrong and broken.
    fn json(&mut self) -> Vec<u8> {
        let members: Vec<String> = (0..self.below(6))
            .map(|_| {
                let value = match self.below(3) {
                    0 => self.of(&VALUES).to_owned(),
                    1 => serde_json::to_string(&self.text()).unwrap(),
                    _ => format!("\"{}\"", self.of(&TEXTS)),
                };
                format!("\"{}\":{value}", self.of(&NAMES))
            })
            .collect();
        let mut body = format!("{{{}}}", members.join(",")).into_bytes();
        if self.below(4) == 0 {
            let at = self.below(body.len());
            body[at] = self.next().to_le_bytes()[0];
        }
        if self.below(8) == 0 {
            body.truncate(self.below(body.len()));
        }
        body
    }

    fn pairs(&mut self) -> String {
        let pairs: Vec<String> = (0..self.below(5))
            .map(|_| format!("{}={}", self.of(&NAMES), self.text()))
            .collect();
        pairs.join("&")
    }

    /// Path and query as they may stand in a request line.
    fn target(&mut self, path: &str) -> String {
        let mut target = path.to_owned();
        if self.below(4) == 0 {
            target = format!("{}/{}", target.trim_end_matches('/'), escaped(&self.text()));
        }
        if self.below(3) > 0 {
            target = format!("{target}?{}", escaped(&self.pairs()));
        }
        target
    }

    fn request(&mut self, token: &str) -> Request {
        let (method, path) = self.of(&ROUTES);
        let method = if self.below(8) == 0 {
            self.of(&METHODS)
        } else {
            method
        };
        let target = self.target(path);
        let body = match self.below(4) {
            0 => self.bytes(200),
            1 => self.pairs().into_bytes(),
            _ => self.json(),
        };
        let mut request = Request::new(method, &target).body(body);
        let kind = [
            "application/json",
            "application/x-www-form-urlencoded",
            "text/plain",
            ";;",
            "application/x+json",
        ];
        if self.below(4) > 0 {
            let usual = usize::from(path == "/auth/login");
            let at = if self.below(4) == 0 {
                self.below(kind.len())
            } else {
                usual
            };
            request = request.header("content-type", kind[at]);
        }
        match self.below(4) {
            0 => request,
            1 => {
                let noise: String = self.text().chars().filter(|c| !c.is_control()).collect();
                request.header("authorization", &format!("Bearer {noise}"))
            }
            _ => request.bearer(token),
        }
        .header(
            self.of(&[
                "x-forwarded-for",
                "host2",
                "user-agent",
                "cookie",
                "range",
                "accept",
            ]),
            &{
                let noise = self.text();
                noise
                    .chars()
                    .filter(|c| !c.is_control())
                    .collect::<String>()
            },
        )
    }
}

/// A text with every byte escaped that a URI cannot hold; escapes in it stay what they are.
fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Asserts that it was answered, by no fault of ours.
#[track_caller]
fn assert_answered(asked: &str, answer: &Answer) {
    let said = || format!("{asked}\n{}: {}", answer.status, answer.text());
    let status = answer.status.as_u16();
    assert!(
        (200..300).contains(&status) || (400..500).contains(&status),
        "{}",
        said()
    );
    answer.assert_common();
    if answer.body.is_empty() {
        assert!(status == 204 || asked.starts_with("HEAD "), "{}", said());
        return;
    }
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{}",
        said()
    );
    if status >= 400 {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let detail = &body["detail"];
        assert!(
            if status == 422 {
                detail.is_array()
            } else {
                detail.is_string()
            },
            "{}",
            said()
        );
    }
}

at_both_doors! {
    async fn noise_at_every_route_is_answered(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let mut noise = Noise(2);
        for _ in 0..600 {
            let request = noise.request(&ann.access_token);
            let asked = format!("{} {request:?}", request.method);
            assert_answered(&asked, &world.send(request).await);
        }
        assert_eq!(world.get("/health").await.status, 200);
    }
}

/// What no client can write in a request line, a gateway may write in an event: it decodes paths.
#[tokio::test]
async fn noise_in_events_is_answered() {
    let world = World::new(Door::Event).await;
    let (ann, _) = ann_and_a_post(&world).await;
    let mut noise = Noise(3);
    for round in 0..600 {
        let (_, path) = noise.of(&ROUTES);
        let mut request = noise.request(&ann.access_token);
        path.clone_into(&mut request.target);
        let is_http = round % 2 == 0;
        let mut event = if is_http {
            http_event(request, noise.below(2) == 0)
        } else {
            rest_event(request)
        };
        let stage = noise.of(&["$default", "live", "posts", "a b", ""]);
        event["requestContext"]["stage"] = stage.into();
        let prefix = if is_http && stage != "$default" {
            format!("/{stage}")
        } else {
            String::new()
        };
        let tail = if noise.below(2) == 0 {
            noise.text()
        } else {
            String::new()
        };
        let event_path = format!("{prefix}{path}{tail}");
        if is_http {
            event["rawPath"] = event_path.into();
            event["rawQueryString"] = format!("{}{}", noise.pairs(), noise.text()).into();
        } else {
            event["path"] = event_path.into();
            let (name, value) = (noise.text(), noise.text());
            event["queryStringParameters"] = serde_json::json!({ &name: value });
            event["multiValueQueryStringParameters"] =
                serde_json::json!({ &name: [value, noise.text()] });
        }
        let method = &event["requestContext"]["http"]["method"];
        let method = method.as_str().or(event["httpMethod"].as_str()).unwrap();
        let asked = format!("{method} {event}");
        assert_answered(&asked, &world.send_event(path, event).await);
    }
}
