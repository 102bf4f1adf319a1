//! Sizes and content types, and what is judged before what.

use serde_json::{Value, json};

use super::{ann_and_a_post, assert_no_json, json_routes, rows};
use crate::world::{Door, PASSWORD, Request, World, pair};

const LARGE: usize = 640 * 1024;
const SMALL: usize = 8 * 1024;

const NO_JSON: &str = "Unsupported Media Type: send application/json";
const NO_FORM: &str =
    "Unsupported Media Type: send application/x-www-form-urlencoded or multipart/form-data";

/// A JSON body of exactly so many bytes: one that the route takes, and blanks.
fn padded(body: &Value, length: usize) -> String {
    let text = body.to_string();
    let blanks = " ".repeat(length - text.len());
    format!("{text}{blanks}")
}

fn limit_of(request: &Request) -> usize {
    let is_large = request.target.starts_with("/posts") || request.target.starts_with("/vote");
    if is_large { LARGE } else { SMALL }
}

at_both_doors! {
    async fn a_body_may_be_as_long_as_its_limit_and_not_a_byte_longer(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        for (request, body) in json_routes(&ann, post_id) {
            let limit = limit_of(&request);
            // With a Content-Length where there is a connection, and without one.
            for transfer in [None, Some("chunked")] {
                let request = match transfer {
                    Some(coding) => request.clone().header("transfer-encoding", coding),
                    None => request.clone(),
                };
                let fits = world.send(request.clone().json_text(&padded(&body, limit))).await;
                assert!([200, 201, 401, 404, 409].contains(&fits.status.as_u16()), "{}", fits.text());
                let before = rows(&world).await;
                for length in [limit + 1, 2 * limit, 2_000_000] {
                    let answer = world.send(request.clone().json_text(&padded(&body, length))).await;
                    answer.assert_detail(413, "Payload Too Large");
                }
                assert_eq!(rows(&world).await, before);
            }
        }
    }

    async fn a_form_may_be_as_long_as_its_limit_and_not_a_byte_longer(world: World) {
        world.join("ann").await;
        let form = |length: usize| {
            let good = format!("username=ann%40example.com&password={PASSWORD}&x=");
            format!("{good}{}", "x".repeat(length - good.len()))
        };
        for transfer in ["identity", "chunked"] {
            let login = || {
                let login = Request::post("/auth/login");
                if transfer == "chunked" { login.header("transfer-encoding", transfer) } else { login }
            };
            assert_eq!(world.send(login().form(&form(SMALL))).await.status, 200);
            let answer = world.send(login().form(&form(SMALL + 1))).await;
            answer.assert_detail(413, "Payload Too Large");
        }
    }

    async fn whatever_the_limits_of_the_fields_allow_fits_however_it_is_escaped(world: World) {
        let ann = world.join("ann").await;
        // As every character may be escaped, and as Python escapes by default.
        let escaped = |text: &str| -> String {
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
            units.collect::<Vec<_>>().concat()
        };
        let object = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| format!("\"{}\":\"{}\"", escaped(name), escaped(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        };
        for character in ["😀", "ж", "猫", "a", "\u{1}"] {
            let (title, content) = (character.repeat(300), character.repeat(50_000));
            let body = object(&[("title", &title), ("content", &content)]);
            let post = Request::post("/posts/").bearer(&ann.access_token).json_text(&body);
            let answer = world.send(post).await;
            assert_eq!(answer.status, 201, "{character} {}", body.len());
            let id = answer.json()["id"].as_i64().unwrap();
            let put = Request::put(&format!("/posts/{id}")).bearer(&ann.access_token).json_text(&body);
            let put = world.send(put).await;
            assert_eq!(put.status, 200, "{character}");
            assert_eq!((&put.json()["title"], &put.json()["content"]), (&json!(title), &json!(content)));
            let stored = world.number(&format!("select char_length(content)::bigint from posts where id = {id}")).await;
            assert_eq!(stored, 50_000);
        }
        // One more than the limit is a problem of the field, not of the body.
        let body = object(&[("title", "t"), ("content", &"😀".repeat(50_001))]);
        let post = Request::post("/posts/").bearer(&ann.access_token).json_text(&body);
        world.send(post).await.assert_problems(&[("string_too_long", json!(["body", "content"]))]);

        // The longest address there is, and the longest passwords.
        let email = format!("{}@{}.example.com", "l".repeat(64), ["d".repeat(59), "e".repeat(59), "f".repeat(57)].join("."));
        assert_eq!(email.len(), 254);
        let (first, second) = ("😀".repeat(128), "😎".repeat(128));
        let sign_up = object(&[("email", &email), ("password", &first)]);
        let answer = world.send(Request::post("/users/").json_text(&sign_up)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let (token, _) = pair(&world.log_in(&email, &first).await);
        let change = object(&[("old_password", &first), ("new_password", &second)]);
        let change = Request::put("/users/me/password").bearer(&token).json_text(&change);
        assert_eq!(world.send(change).await.status, 200);
        // Each byte of a form as three.
        let percent = |text: &str| {
            let bytes = text.bytes().map(|byte| format!("%{byte:02X}"));
            bytes.collect::<Vec<_>>().concat()
        };
        let form = format!(
            "{}={}&{}={}&{}={}",
            percent("username"), percent(&email), percent("password"), percent(&second),
            percent("grant_type"), percent("password"),
        );
        let (token, refresh_token) = pair(&world.send(Request::post("/auth/login").form(&form)).await);
        let longest = format!("username={}&password={}", percent(&"😀".repeat(320)), percent(&"😀".repeat(128)));
        world.send(Request::post("/auth/login").form(&longest)).await.assert_detail(401, "Invalid credentials");
        let refresh = object(&[("refresh_token", &refresh_token)]);
        assert_eq!(world.send(Request::post("/auth/refresh").json_text(&refresh)).await.status, 200);
        // The longest token that the document allows.
        let unknown = object(&[("refresh_token", &"😀".repeat(640))]);
        let unknown = world.send(Request::post("/auth/refresh").json_text(&unknown)).await;
        unknown.assert_detail(401, "Invalid or expired refresh token");
        let delete = object(&[("password", &second)]);
        let delete = Request::delete("/users/me").bearer(&token).json_text(&delete);
        assert_eq!(world.send(delete).await.status, 204);

        let search = format!("/posts/?search={}&limit=1", percent(&"😀".repeat(100)));
        let answer = world.get(&search).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json().as_array().unwrap().len(), 1);
    }

    async fn a_json_route_takes_json_by_any_of_its_names(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let types = [
            Some("application/json"),
            Some("APPLICATION/JSON"),
            Some("application/json; charset=utf-8"),
            Some("Application/Json;charset=ISO-8859-1"),
            Some("application/json ; x=\"y;z\""),
            Some("application/merge-patch+json"),
            Some("application/vnd.api+JSON; charset=utf-8"),
            Some("application/json; profile=\"é\""),
            None,
        ];
        for (request, body) in json_routes(&ann, post_id) {
            for kind in types {
                let sent = request.clone().body(body.to_string());
                let answer = match kind {
                    Some(kind) => world.send(sent.header("content-type", kind)).await,
                    None => world.send(sent).await,
                };
                let taken = [200, 201, 401, 404, 409].contains(&answer.status.as_u16());
                assert!(taken, "{kind:?}: {}", answer.text());
            }
        }
    }

    async fn a_json_route_takes_nothing_else(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let before = rows(&world).await;
        let types = [
            "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
            "application/jsonp", "application/json5", "json", "application", "*/*", "text/vnd.api+json",
            "application/xml; a=application/json", "",
        ];
        for (request, body) in json_routes(&ann, post_id) {
            for kind in types {
                let sent = request.clone().header("content-type", kind);
                world.send(sent.clone().body(body.to_string())).await
                    .assert_detail(415, NO_JSON);
                world.send(sent).await.assert_detail(415, NO_JSON);
            }
        }
        assert_eq!(rows(&world).await, before);
    }

    async fn a_login_takes_a_form_and_nothing_else(world: World) {
        world.join("ann").await;
        let form = format!("username=ann%40example.com&password={PASSWORD}");
        for kind in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded; charset=utf-8",
        ] {
            let sent = Request::post("/auth/login").header("content-type", kind).body(form.clone());
            assert_eq!(world.send(sent).await.status, 200, "{kind}");
        }
        let json = json!({ "username": "ann@example.com", "password": PASSWORD }).to_string();
        for (kind, body) in [
            (Some("application/json"), &json),
            (Some("text/plain"), &form),
            (Some("multipart/mixed; boundary=x"), &form),
            (Some("multipart/form-data2; boundary=x"), &form),
            (Some("application/x-www-form-urlencoded+json"), &form),
            (None, &form),
        ] {
            let sent = Request::post("/auth/login").body(body.clone());
            let sent = match kind {
                Some(kind) => sent.header("content-type", kind),
                None => sent,
            };
            world.send(sent).await.assert_detail(415, NO_FORM);
        }
        // No type is no wrong type where there is nothing that it could describe.
        let nothing = world.send(Request::post("/auth/login")).await;
        nothing.assert_problems(&[
            ("missing", json!(["body", "username"])),
            ("missing", json!(["body", "password"])),
        ]);
    }

    async fn routes_without_a_body_do_not_look_at_one(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let spoiled = |method: &str, target: &str| {
            Request::new(method, target)
                .bearer(&ann.access_token)
                .header("content-type", "text/plain")
                .body(b"{\"\xff\0".to_vec())
        };
        for target in ["/", "/health", "/posts/", "/users/1"] {
            assert_eq!(world.send(spoiled("GET", target)).await.status, 200, "{target}");
        }
        assert_eq!(world.send(spoiled("DELETE", &format!("/posts/{post_id}"))).await.status, 204);
        assert_eq!(world.send(spoiled("POST", "/auth/logout-all")).await.status, 200);
    }

    async fn each_judgement_waits_for_those_before_it(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let ben = world.join("ben").await;
        let too_long = " ".repeat(LARGE + 1);
        let other_type = |request: Request| request.header("content-type", "text/plain");
        let put = |target: &str| Request::put(target).bearer("bad");

        // The route goes before size and type,
        world.send(other_type(put("/nothing")).body(too_long.clone())).await.assert_detail(404, "Not Found");
        world.send(other_type(put("/posts")).body(too_long.clone())).await.assert_detail(405, "Method Not Allowed");
        // the size before the type,
        let answer = world.send(other_type(put("/posts/x")).body(too_long.clone())).await;
        answer.assert_detail(413, "Payload Too Large");
        // both before the syntax,
        let answer = world.send(other_type(put("/posts/x")).body("{")).await;
        answer.assert_detail(415, NO_JSON);
        world.send(put("/posts/x").json_text(&too_long)).await.assert_detail(413, "Payload Too Large");
        // the syntax before the caller,
        assert_no_json(&world.send(put("/posts/x").json_text("{")).await);
        assert_no_json(&world.send(Request::put("/posts/x").json_text("{")).await);
        // the caller before the fields,
        let nobody = world.send(put("/posts/x").json_text("[]")).await;
        nobody.assert_detail(401, "Could not validate credentials");
        let nobody = world.send(Request::put("/posts/x").json_text("{}")).await;
        nobody.assert_detail(401, "Not authenticated");
        let nobody = world.send(Request::get("/posts/x?limit=x").bearer("bad")).await;
        nobody.assert_detail(401, "Could not validate credentials");
        let nobody = world.send(Request::get("/posts/?limit=x").bearer("bad")).await;
        nobody.assert_detail(401, "Could not validate credentials");
        // the fields before the world: there is no post 7, and 1 is not Ben's.
        for target in ["/posts/7", "/posts/1"] {
            let answer = world.send(Request::put(target).bearer(&ben.access_token).json_text("{}")).await;
            answer.assert_problems(&[
                ("missing", json!(["body", "title"])),
                ("missing", json!(["body", "content"])),
            ]);
        }
        // Problems are told only to a caller who still exists.
        assert_eq!(world.log_out(&ann.refresh_token).await.status, 200);
        let gone = [
            Request::put("/posts/x").json_text("{}"),
            Request::delete("/posts/x"),
            Request::post("/posts/").json_text("{}"),
            Request::post("/vote/").json_text("[]"),
            Request::get("/posts/x"),
            Request::get("/posts/?limit=x"),
            Request::get("/users/x"),
        ];
        for request in gone {
            let answer = world.send(request.bearer(&ann.access_token)).await;
            answer.assert_detail(401, "Could not validate credentials");
        }
    }
}

#[tokio::test]
async fn a_length_that_is_announced_is_believed_before_a_byte_has_come() {
    let world = World::new(Door::Event).await;
    for (target, status) in [
        ("/users/", 413),
        ("/auth/login", 413),
        ("/auth/refresh", 413),
    ] {
        let answer = world
            .send(Request::post(target).header("content-length", "8193"))
            .await;
        assert_eq!(answer.status.as_u16(), status, "{target}");
    }
    // A length that is no number is nothing to go by.
    let answer = world
        .send(Request::post("/users/").header("content-length", "-1"))
        .await;
    answer.assert_problems(&[("missing", json!(["body"]))]);
}
