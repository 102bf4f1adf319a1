//! Problems: all at once, in the order of the fields, in Pydantic's words, and never with a secret.

use serde_json::{Value, json};

use super::{ann_and_a_post, json_routes};
use crate::world::{Answer, PASSWORD, Request, credentials};

at_both_doors! {
    async fn what_is_missing_is_named_field_by_field(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        for (request, body) in json_routes(&ann, post_id) {
            let names: &[&str] = match request.target.as_str() {
                "/users/" => &["email", "password"],
                "/vote/" => &["post_id", "dir"],
                target if target.starts_with("/auth") => &["refresh_token"],
                _ => &["title", "content"],
            };
            let expected: Vec<_> = names.iter().map(|name| ("missing", json!(["body", name]))).collect();
            let answer = world.send(request.clone().json_text("{}")).await;
            answer.assert_problems(&expected);
            for problem in answer.json()["detail"].as_array().unwrap() {
                assert_eq!(problem["msg"], "Field required");
            }
            for name in names {
                let mut body = body.clone();
                body.as_object_mut().unwrap().remove(*name);
                let answer = world.send(request.clone().json(&body)).await;
                answer.assert_problems(&[("missing", json!(["body", name]))]);
            }
        }
        world.send(Request::post("/auth/login").form("x=1")).await.assert_problems(&[
            ("missing", json!(["body", "username"])),
            ("missing", json!(["body", "password"])),
        ]);
    }

    async fn all_problems_come_at_once_in_the_order_of_the_fields(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let signed = |request: Request| request.bearer(&ann.access_token);

        let body = r#"{"password": 1, "email": "nobody"}"#;
        world.send(Request::post("/users/").json_text(body)).await.assert_problems(&[
            ("value_error", json!(["body", "email"])),
            ("string_type", json!(["body", "password"])),
        ]);
        let body = r#"{"is_published": "yes", "content": 1, "title": ""}"#;
        world.send(signed(Request::post("/posts/")).json_text(body)).await.assert_problems(&[
            ("string_too_short", json!(["body", "title"])),
            ("string_type", json!(["body", "content"])),
            ("bool_type", json!(["body", "is_published"])),
        ]);
        let body = json!({ "title": "x".repeat(301), "content": "x".repeat(50_001), "is_published": null });
        world.send(signed(Request::put("/posts/x")).json(&body)).await.assert_problems(&[
            ("int_parsing", json!(["path", "id"])),
            ("string_too_long", json!(["body", "title"])),
            ("string_too_long", json!(["body", "content"])),
            ("bool_type", json!(["body", "is_published"])),
        ]);
        world.send(signed(Request::post("/vote/")).json_text(r#"{"dir": 2, "post_id": "x"}"#)).await.assert_problems(&[
            ("int_parsing", json!(["body", "post_id"])),
            ("less_than_equal", json!(["body", "dir"])),
        ]);
        let target = format!("/posts/?cursor=x&search={}&skip=-1&limit=101", "x".repeat(101));
        world.get(&target).await.assert_problems(&[
            ("less_than_equal", json!(["query", "limit"])),
            ("greater_than_equal", json!(["query", "skip"])),
            ("string_too_long", json!(["query", "search"])),
            ("value_error", json!(["query", "cursor"])),
        ]);
        let form = format!("password={}&username={}&grant_type=code", "x".repeat(129), "x".repeat(321));
        world.send(Request::post("/auth/login").form(&form)).await.assert_problems(&[
            ("string_pattern_mismatch", json!(["body", "grant_type"])),
            ("string_too_long", json!(["body", "username"])),
            ("string_too_long", json!(["body", "password"])),
        ]);
    }

    async fn a_problem_tells_what_is_wrong_with_what(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let vote = world.send(Request::post("/vote/").bearer(&ann.access_token).json_text(r#"{"post_id": "x", "dir": 2}"#)).await;
        vote.assert(422, &json!({ "detail": [
            {
                "type": "int_parsing",
                "loc": ["body", "post_id"],
                "msg": "Input should be a valid integer, unable to parse string as an integer",
                "input": "x",
            },
            {
                "type": "less_than_equal",
                "loc": ["body", "dir"],
                "msg": "Input should be less than or equal to 1",
                "input": 2,
                "ctx": { "le": 1 },
            },
        ] }));
        let post = world.send(Request::post("/posts/").bearer(&ann.access_token).json_text(r#"{"title": "", "is_published": 1}"#)).await;
        post.assert(422, &json!({ "detail": [
            {
                "type": "string_too_short",
                "loc": ["body", "title"],
                "msg": "String should have at least 1 character",
                "input": "",
                "ctx": { "min_length": 1 },
            },
            { "type": "missing", "loc": ["body", "content"], "msg": "Field required", "input": null },
            {
                "type": "bool_type",
                "loc": ["body", "is_published"],
                "msg": "Input should be a valid boolean",
                "input": 1,
            },
        ] }));
    }

    async fn no_problem_repeats_a_secret(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let secret = "hunter2-hunter2";
        let values = [
            json!(secret), json!([secret]), json!({ "a": secret }), json!(format!("{secret}\0")),
            json!(secret.repeat(20)), json!("hunter2"),
        ];
        let mut answers = Vec::new();
        for value in &values {
            for body in [
                json!({ "email": "x", "password": value }),
                json!({ "password": value }),
                json!({ "email": null, "password": value, "x": "\0" }),
                json!([{ "password": value }]),
            ] {
                answers.push(world.post("/users/", body).await);
            }
            answers.push(world.post("/auth/refresh", json!({ "refresh_token": value, "x": "\0" })).await);
            answers.push(world.post("/auth/logout", json!({ "refresh_token": value, "x": ["\0"] })).await);
            answers.push(world.post("/auth/logout", json!([value])).await);
        }
        for text in [
            r#"{"password": "hunter2-hunter2", "password": "hunter2-hunter2"}"#,
            r#"{"email": "x", "password": "hunter2-hunter2"#,
            r#"{"email": "x", "password": hunter2}"#,
            r#"{"email": "x", "password": "hunter2\ud800"}"#,
            "{\"email\": \"x\", \"password\": \"hunter2\n\"}",
        ] {
            answers.push(world.send(Request::post("/users/").json_text(text)).await);
        }
        for form in [
            format!("username=a&password={}", secret.repeat(20)),
            format!("username=a&password={secret}&password={secret}"),
            format!("username=a&password={secret}%00"),
            format!("username=a&password={secret}%FF"),
            format!("password={secret}"),
            format!("username=a&password={secret}&grant_type=x"),
        ] {
            answers.push(world.send(Request::post("/auth/login").form(&form)).await);
        }
        answers.push(world.send(Request::get("/posts/?limit=x").bearer(secret)).await);
        for Answer { status, headers, body } in answers {
            let text = String::from_utf8(body).unwrap();
            assert!([401, 422].contains(&status.as_u16()), "{text}");
            assert!(!format!("{headers:?}{text}").contains("hunter2"), "{text}");
        }
        let token = format!("{}x", ann.refresh_token);
        for target in ["/auth/refresh", "/auth/logout"] {
            let answer = world.post(target, json!({ "refresh_token": token })).await;
            assert!(!answer.text().contains(&token), "{}", answer.text());
        }
    }

    async fn a_long_value_is_not_repeated(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let body = json!({ "title": "x".repeat(60_000), "content": ["x".repeat(60_000)] });
        let answer = world.send(Request::post("/posts/").bearer(&ann.access_token).json(&body)).await;
        answer.assert_problems(&[
            ("string_too_long", json!(["body", "title"])),
            ("string_type", json!(["body", "content"])),
        ]);
        for problem in answer.json()["detail"].as_array().unwrap() {
            assert_eq!(problem["input"], Value::Null);
        }
    }

    async fn a_form_field_given_twice_is_told(world: World) {
        world.join("ann").await;
        let good = format!("username=ann%40example.com&password={PASSWORD}&grant_type=password");
        for (twice, name) in [
            ("username=ann%40example.com", "username"),
            ("password=", "password"),
            ("passwor%64=x", "password"),
            ("grant_type=password", "grant_type"),
        ] {
            for body in [format!("{good}&{twice}"), format!("{twice}&{good}")] {
                let answer = world.send(Request::post("/auth/login").form(&body)).await;
                answer.assert_problems(&[("value_error", json!(["body", name]))]);
            }
        }
        assert_eq!(world.send(Request::post("/auth/login").form(&good)).await.status, 200);
    }

    async fn an_empty_form_field_counts_as_none(world: World) {
        world.join("ann").await;
        let answer = world.send(Request::post("/auth/login").form("username=&password=&grant_type=")).await;
        answer.assert_problems(&[
            ("missing", json!(["body", "username"])),
            ("missing", json!(["body", "password"])),
        ]);
        let form = format!("grant_type=&username=ann%40example.com&password={PASSWORD}");
        assert_eq!(world.send(Request::post("/auth/login").form(&form)).await.status, 200);
        assert_eq!(world.send(credentials(" ANN@EXAMPLE.COM ", PASSWORD)).await.status, 200);
    }

    async fn what_only_the_service_decides_is_ignored_and_not_stored(world: World) {
        let account = json!({
            "email": "ann@example.com", "password": PASSWORD,
            "id": 77, "created_at": "2000-01-01T00:00:00Z", "role": "admin", "password_hash": "x",
        });
        let user = world.post("/users/", account).await.json();
        assert_eq!(user["id"], 1);
        assert!(user["created_at"].as_str().unwrap() > "2020");
        assert_eq!(user.as_object().unwrap().len(), 3);
        let pair = world.log_in("ann@example.com", PASSWORD).await.json();
        let post = json!({
            "title": "title", "content": "content",
            "id": 77, "owner_id": 7, "owner": { "id": 7 }, "created_at": "2000-01-01T00:00:00Z", "votes": 9,
        });
        let token = pair["access_token"].as_str().unwrap();
        let post = world.send(Request::post("/posts/").bearer(token).json(&post)).await.json();
        assert_eq!((&post["id"], &post["owner"]["id"]), (&json!(1), &json!(1)));
        assert!(post["created_at"].as_str().unwrap() > "2020");
        assert_eq!(post.as_object().unwrap().len(), 6);
        let edit = json!({ "title": "new", "content": "new", "id": 77, "owner_id": 7, "created_at": "2000-01-01T00:00:00Z" });
        let edited = world.send(Request::put("/posts/1").bearer(token).json(&edit)).await.json();
        assert_eq!((&edited["id"], &edited["created_at"]), (&post["id"], &post["created_at"]));
        assert_eq!(world.number("select count(*) from posts where id = 1 and owner_id = 1").await, 1);
    }
}
