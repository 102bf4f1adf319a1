//! Texts that PostgreSQL cannot hold: U+0000, halves of surrogate pairs, bytes that are no UTF-8.

use serde_json::{Value, json};

use super::{ann_and_a_post, assert_no_json, json_routes, rows};
use crate::world::{Door, PASSWORD, Request, World};

/// Text fields of JSON bodies: route, field, and the body with `§` in the field's place.
const TEXTS: [(&str, &str, &str); 6] = [
    (
        "/users/",
        "email",
        r#"{"email": "§", "password": "opal-lantern-42"}"#,
    ),
    (
        "/users/",
        "password",
        r#"{"email": "new@example.com", "password": "§"}"#,
    ),
    (
        "/auth/refresh",
        "refresh_token",
        r#"{"refresh_token": "§"}"#,
    ),
    ("/auth/logout", "refresh_token", r#"{"refresh_token": "§"}"#),
    (
        "/posts/",
        "title",
        r#"{"title": "§", "content": "content"}"#,
    ),
    (
        "/posts/",
        "content",
        r#"{"title": "title", "content": "§"}"#,
    ),
];

at_both_doors! {
    async fn a_zero_in_a_field_is_told(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let before = rows(&world).await;
        for (target, field, body) in TEXTS {
            for text in ["\\u0000", "opal\\u0000lantern", "opal-lantern\\u0000"] {
                let body = body.replace('§', text);
                let sent = Request::post(target).bearer(&ann.access_token).json_text(&body);
                let answer = world.send(sent).await;
                answer.assert_problems(&[("value_error", json!(["body", field]))]);
            }
        }
        let target = format!("/posts/{post_id}");
        let body = r#"{"title": "\u0000", "content": "\u0000", "is_published": "\u0000"}"#;
        let answer = world.send(Request::put(&target).bearer(&ann.access_token).json_text(body)).await;
        answer.assert_problems(&[
            ("value_error", json!(["body", "title"])),
            ("value_error", json!(["body", "content"])),
            ("bool_type", json!(["body", "is_published"])),
        ]);
        let body = r#"{"post_id": "\u0000", "dir": "\u00001"}"#;
        let answer = world.send(Request::post("/vote/").bearer(&ann.access_token).json_text(body)).await;
        answer.assert_problems(&[
            ("int_parsing", json!(["body", "post_id"])),
            ("int_parsing", json!(["body", "dir"])),
        ]);
        assert_eq!(rows(&world).await, before);
    }

    async fn a_zero_in_a_field_that_nobody_reads_is_told_too(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let before = rows(&world).await;
        for (request, body) in json_routes(&ann, post_id) {
            let text = body.to_string();
            let inside = text.trim_start_matches('{').trim_end_matches('}');
            let spoiled = [
                (r#""x": "\u0000""#, "x"),
                (r#""x": "a\u0000b""#, "x"),
                (r#""x": ["\u0000"]"#, "x"),
                (r#""x": {"a": [1, {"b": "\u0000"}]}"#, "x"),
                (r#""x": {"\u0000": 1}"#, "x"),
                (r#""x": [[{"a": {"\u0000": 1}}]]"#, "x"),
                (r#""\u0000": 1"#, "\0"),
                (r#""ti\u0000tle": 1"#, "ti\0tle"),
            ];
            for (member, name) in spoiled {
                for text in [format!("{{{inside},{member}}}"), format!("{{{member},{inside}}}")] {
                    let answer = world.send(request.clone().json_text(&text)).await;
                    answer.assert_problems(&[("value_error", json!(["body", name]))]);
                }
            }
        }
        assert_eq!(rows(&world).await, before);
    }

    async fn spoiled_fields_that_nobody_reads_come_last_and_in_their_order(world: World) {
        let names = ["z", "m", "b", "y", "a", "k", "c", "x"];
        let members = names.map(|name| format!(r#""{name}": "\u0000""#)).join(", ");
        let answer = world.send(Request::post("/users/").json_text(&format!(r#"{{{members}, "password": "short"}}"#))).await;
        let mut expected = vec![
            ("missing", json!(["body", "email"])),
            ("string_too_short", json!(["body", "password"])),
        ];
        expected.extend(names.map(|name| ("value_error", json!(["body", name]))));
        answer.assert_problems(&expected);
    }

    async fn half_a_surrogate_pair_is_no_text(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let before = rows(&world).await;
        let halves = ["\\ud800", "\\udc00", "\\udc00\\ud800", "\\ud800\\ud800", "a\\udfffb", "\\ud83d \\ude00"];
        for (request, body) in json_routes(&ann, post_id) {
            let text = body.to_string();
            let inside = text.trim_start_matches('{').trim_end_matches('}');
            for half in halves {
                let spoiled = [
                    format!(r#"{{{inside},"x":"{half}"}}"#),
                    format!(r#"{{{inside},"x":[{{"a":"{half}"}}]}}"#),
                    format!(r#"{{{inside},"x":{{"{half}":1}}}}"#),
                    format!(r#"{{{inside},"{half}":1}}"#),
                    format!(r#""{half}""#),
                ];
                for text in spoiled {
                    assert_no_json(&world.send(request.clone().json_text(&text)).await);
                }
            }
        }
        for (target, _, body) in TEXTS {
            for half in halves {
                let sent = Request::post(target).bearer(&ann.access_token);
                assert_no_json(&world.send(sent.json_text(&body.replace('§', half))).await);
            }
        }
        assert_eq!(rows(&world).await, before);
        let pair = r#"{"title": "\ud83d\ude00", "content": "content"}"#;
        let answer = world.send(Request::post("/posts/").bearer(&ann.access_token).json_text(pair)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["title"]), (201, &json!("😀")));
    }

    async fn bytes_that_are_no_utf_8_are_no_json(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let before = rows(&world).await;
        // A stray byte, one that continues nothing, an overlong slash, half a surrogate pair, a break-off.
        let strays: [&[u8]; 5] = [b"\xff", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82"];
        for (request, body) in json_routes(&ann, post_id) {
            let text = body.to_string();
            let inside = text.trim_start_matches('{').trim_end_matches('}');
            for stray in strays {
                let within = [&b"{"[..], inside.as_bytes(), b",\"x\":\"", stray, b"\"}"].concat();
                let after = [text.as_bytes(), stray].concat();
                for body in [within, after, stray.to_vec()] {
                    let sent = request.clone().header("content-type", "application/json").body(body);
                    assert_no_json(&world.send(sent).await);
                }
            }
        }
        assert_eq!(rows(&world).await, before);
        // UTF-16 is no UTF-8 either.
        let utf_16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_no_json(&world.send(Request::post("/auth/logout").body(utf_16)).await);
    }

    async fn a_form_holds_text_without_zeros(world: World) {
        world.join("ann").await;
        let before = rows(&world).await;
        let form = |body: &str| world.send(Request::post("/auth/login").form(body));
        let (username, password) = (json!(["body", "username"]), json!(["body", "password"]));
        let good = format!("username=ann%40example.com&password={PASSWORD}");
        form("username=ann%00&password=x").await.assert_problems(&[("value_error", username.clone())]);
        form("username=ann&password=%00").await.assert_problems(&[("value_error", password.clone())]);
        form("username=\0&password=\0").await
            .assert_problems(&[("value_error", username.clone()), ("value_error", password.clone())]);
        for spoiled in ["x=%00", "%00=x", "x=%FF", "%FF=x", "x=%C0%AF", "x=%ED%A0%80", "x=a%80b"] {
            for body in [format!("{good}&{spoiled}"), format!("{spoiled}&{good}")] {
                form(&body).await.assert_problems(&[("value_error", json!(["body"]))]);
            }
        }
        form("username=ann%FF&password=x").await
            .assert_problems(&[("missing", username.clone()), ("value_error", json!(["body"]))]);
        form("username=ann&password=%FF").await
            .assert_problems(&[("missing", password.clone()), ("value_error", json!(["body"]))]);
        let raw = [good.as_bytes(), b"&x=\xff"].concat();
        let sent = Request::post("/auth/login").form("").body(raw);
        world.send(sent).await.assert_problems(&[("value_error", json!(["body"]))]);
        assert_eq!(rows(&world).await, before);
        // What is no escape stands for itself.
        let answer = form("username=ann&password=%").await;
        answer.assert_detail(401, "Invalid credentials");
    }

    async fn a_query_holds_text_without_zeros(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let query = |query: &str| {
            let target = format!("/posts/?{query}");
            world.send(Request::get(&target).bearer(&ann.access_token))
        };
        query("search=%00").await.assert_problems(&[("value_error", json!(["query", "search"]))]);
        query("search=a%00b&limit=x").await.assert_problems(&[
            ("int_parsing", json!(["query", "limit"])),
            ("value_error", json!(["query", "search"])),
        ]);
        query("limit=%00").await.assert_problems(&[("value_error", json!(["query", "limit"]))]);
        query("cursor=%00").await.assert_problems(&[("value_error", json!(["query", "cursor"]))]);
        for spoiled in ["search=%FF", "search=%C3", "limit=%FF", "x=%FF", "%FF", "x=%00", "%00=x", "search=%ED%B0%80"] {
            query(spoiled).await.assert_problems(&[("value_error", json!(["query"]))]);
        }
    }

    async fn every_route_judges_its_query_even_where_it_reads_none(world: World) {
        let (_, post_id) = ann_and_a_post(&world).await;
        for target in [format!("/posts/{post_id}?x=%00"), "/users/1?%FF=1".to_owned()] {
            world.get(&target).await.assert_problems(&[("value_error", json!(["query"]))]);
        }
        let token = json!({ "refresh_token": "x" });
        let answer = world.send(Request::post("/auth/logout?x=%00").json(&token)).await;
        answer.assert_problems(&[("value_error", json!(["query"]))]);
    }

    async fn a_path_holds_text_without_zeros(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let at = json!(["path", "id"]);
        for id in ["%00", "1%00", "%FF", "1%FF", "%ED%A0%80", "%C0%AF", "x", "1.5", "%20", "%F0%9F%98%80", "1%2F2"] {
            for target in [format!("/posts/{id}"), format!("/users/{id}/")] {
                world.get(&target).await.assert_problems(&[("int_parsing", at.clone())]);
            }
            let target = format!("/posts/{id}");
            let deleted = world.send(Request::delete(&target).bearer(&ann.access_token)).await;
            deleted.assert_problems(&[("int_parsing", at.clone())]);
            let body = json!({ "title": "title" });
            let changed = world.send(Request::put(&target).bearer(&ann.access_token).json(&body)).await;
            changed.assert_problems(&[("int_parsing", at.clone()), ("missing", json!(["body", "content"]))]);
        }
    }
}

#[tokio::test]
async fn a_gateways_event_may_hold_what_no_uri_does() {
    let world = World::new(Door::Event).await;
    let mut event = crate::world::http_event(Request::get("/posts/"), false);
    event["rawQueryString"] = Value::from("search=\0&limit=\u{7f}");
    let answer = world.send_event("/posts", event).await;
    answer.assert_problems(&[
        ("int_parsing", json!(["query", "limit"])),
        ("value_error", json!(["query", "search"])),
    ]);
    let mut event = crate::world::http_event(Request::get("/posts/"), false);
    event["rawPath"] = Value::from("/posts/\0");
    let answer = world.send_event("/posts", event).await;
    answer.assert_problems(&[("int_parsing", json!(["path", "id"]))]);
}
