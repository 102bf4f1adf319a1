//! The form of a login: strict about its fields, as lenient as browsers are about how they are written.

use serde_json::{Value, json};

use crate::{
    login::assert_refused,
    world::{PASSWORD, Request},
};

at_both_doors! {
    async fn the_form_takes_a_field_once_and_as_text(world: World) {
        world.join("ann").await;
        let good = "username=ann%40example.com&password=opal-lantern-42";
        let field = |name: &'static str| ("value_error", json!(["body", name]));
        let body = ("value_error", json!(["body"]));
        let missing = ("missing", json!(["body", "password"]));
        for (form, problems) in [
            (
                format!("{good}&username=ann%40example.com"),
                vec![field("username")],
            ),
            (
                format!("{good}&password=opal-lantern-42"),
                vec![field("password")],
            ),
            (format!("password=&{good}"), vec![field("password")]),
            (
                format!("{good}&grant_type=password&grant_type=password"),
                vec![field("grant_type")],
            ),
            (
                format!("{good}&username=&password="),
                vec![field("username"), field("password")],
            ),
            (format!("{good}%00"), vec![field("password")]),
            (
                format!("username=a%00&{}", &good[27..]),
                vec![field("username")],
            ),
            (
                format!("username=a&password=%FF{PASSWORD}"),
                vec![missing.clone(), body.clone()],
            ),
            (
                format!("username=a&password=%ED%A0%80{PASSWORD}"),
                vec![missing, body.clone()],
            ),
            (format!("{good}&else=%FF"), vec![body.clone()]),
            (format!("{good}&%C3=else"), vec![body.clone()]),
            (format!("{good}&else=%00"), vec![body.clone()]),
            (format!("{good}&%00"), vec![body]),
        ] {
            let answer = world.send(Request::post("/auth/login").form(&form)).await;
            assert_eq!(answer.status, 422, "{form} {}", answer.text());
            answer.assert_problems(&problems);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        let mut raw = Request::post("/auth/login").form("");
        raw.body = b"username=ann@example.com&password=opal-lantern-42\xff".to_vec();
        assert_eq!(world.send(raw).await.status, 422);
        assert_eq!(world.sessions().await, 1);
    }

    async fn the_form_is_read_as_browsers_write_it(world: World) {
        assert_eq!(
            world
                .sign_up("a+b@example.com", "plus + & = % é")
                .await
                .status,
            201
        );
        for form in [
            "username=a%2Bb%40example.com&password=plus+%2B+%26+%3D+%25+%C3%A9",
            "username=a%2bb@example.com&password=plus%20%2B%20%26%20=%20%+%c3%a9",
            "&&password=plus+%2B+%26+%3D+%25+%C3%A9&user%6Eame=a%2Bb%40example.com&",
            "username=a%2Bb%40example.com&password=plus+%2B+%26+%3D+%25+%C3%A9&scope=&client_id=x&client_id=y",
        ] {
            let answer = world.send(Request::post("/auth/login").form(form)).await;
            assert_eq!(answer.status, 200, "{form} {}", answer.text());
        }
        let unescaped = "username=a+b@example.com&password=plus+%2B+%26+%3D+%25+%C3%A9";
        assert_refused(
            &world
                .send(Request::post("/auth/login").form(unescaped))
                .await,
        );
    }

    async fn a_grant_type_is_password_or_nothing(world: World) {
        world.join("ann").await;
        let good = "username=ann%40example.com&password=opal-lantern-42";
        for fine in ["grant_type=password", "grant_type=", "grant_type"] {
            let form = format!("{fine}&{good}");
            assert_eq!(
                world
                    .send(Request::post("/auth/login").form(&form))
                    .await
                    .status,
                200,
                "{fine}"
            );
        }
        for other in [
            "refresh_token",
            "Password",
            "password ",
            "client_credentials",
        ] {
            let form = format!("grant_type={other}&{good}");
            world
                .send(Request::post("/auth/login").form(&form))
                .await
                .assert(
                    422,
                    &json!({ "detail": [{
                "type": "string_pattern_mismatch",
                "loc": ["body", "grant_type"],
                "msg": "String should match pattern '^password$'",
                "input": other,
                "ctx": { "pattern": "^password$" },
            }] }),
                );
        }
        let all = world
            .send(Request::post("/auth/login").form("grant_type=other"))
            .await;
        all.assert_problems(&[
            ("string_pattern_mismatch", json!(["body", "grant_type"])),
            ("missing", json!(["body", "username"])),
            ("missing", json!(["body", "password"])),
        ]);
        assert_eq!(world.sessions().await, 4);
    }

    async fn a_login_is_a_form_and_nothing_else(world: World) {
        world.join("ann").await;
        let form = "username=ann%40example.com&password=opal-lantern-42";
        let login = json!({ "username": "ann@example.com", "password": PASSWORD });
        let plain = |content_type: &str| {
            Request::post("/auth/login")
                .header("content-type", content_type)
                .body(form)
        };
        for request in [
            Request::post("/auth/login").json(&login),
            plain("application/json"),
            plain("text/plain"),
            plain("multipart/mixed; boundary=x"),
            plain("application/x-www-form-urlencoded2"),
            plain(""),
            Request::post("/auth/login").body(form),
        ] {
            let answer = world.send(request).await;
            answer.assert_detail(415, "Unsupported Media Type: send application/x-www-form-urlencoded or multipart/form-data");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        for content_type in [
            "application/x-www-form-urlencoded; charset=utf-8",
            "Application/X-WWW-Form-URLEncoded",
        ] {
            assert_eq!(
                world.send(plain(content_type)).await.status,
                200,
                "{content_type}"
            );
        }
    }

    async fn what_is_too_long_for_a_login_is_not_tried(world: World) {
        world.join("ann").await;
        let long_name = "n".repeat(321);
        let answer = world.log_in(&long_name, &"p".repeat(129)).await;
        answer.assert(
            422,
            &json!({ "detail": [
            {
                "type": "string_too_long",
                "loc": ["body", "username"],
                "msg": "String should have at most 320 characters",
                "input": null,
                "ctx": { "max_length": 320 },
            },
            {
                "type": "string_too_long",
                "loc": ["body", "password"],
                "msg": "String should have at most 128 characters",
                "input": null,
                "ctx": { "max_length": 128 },
            },
        ] }),
        );
        assert_refused(&world.log_in(&long_name[1..], &"😀".repeat(128)).await);
        let filler = "f".repeat(8 * 1024);
        let large = Request::post("/auth/login").form(&format!("username=a&password=b&c={filler}"));
        world
            .send(large)
            .await
            .assert_detail(413, "Payload Too Large");
    }

    async fn a_login_without_a_field_says_which(world: World) {
        let missing = |name: &'static str| ("missing", json!(["body", name]));
        let both: Vec<(&str, Value)> = vec![missing("username"), missing("password")];
        for (form, problems) in [
            ("", &both[..]),
            ("username=&password=", &both),
            ("username&password", &both),
            ("email=ann%40example.com&secret=x", &both),
            ("username=ann", &both[1..]),
            ("password=x", &both[..1]),
        ] {
            world
                .send(Request::post("/auth/login").form(form))
                .await
                .assert_problems(problems);
        }
    }
}
