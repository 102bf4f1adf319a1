//! `POST /posts/`: what a post may hold, and what is refused.

use serde_json::{Value, json};

use crate::world::{Person, Request};

at_both_doors! {
    async fn a_post_is_stored_and_shown_whole_to_its_author(world: World) {
        let ann = world.join("ann").await;
        let written = json!({
            "title": " Заголовок % \u{1f600} ",
            "content": "line\nline\t\"\\\u{1}",
            "is_published": false,
        });
        let answer = world.send(post(&ann, &written)).await;
        let (id, created_at) = (
            answer.json()["id"].clone(),
            answer.json()["created_at"].clone(),
        );
        answer.assert(
            201,
            &json!({
                "title": " Заголовок % \u{1f600} ",
                "content": "line\nline\t\"\\\u{1}",
                "is_published": false,
                "id": id,
                "created_at": created_at,
                "owner": ann.whole(),
            }),
        );
        assert_eq!(answer.location("/posts/"), format!("/posts/{id}"));

        let rows = world
            .rows(
                "select title, content, is_published, owner_id, id from posts
                      where created_at between now() - interval '1 minute' and now()",
                &[],
            )
            .await;
        let stored: Vec<_> = rows
            .iter()
            .map(|row| {
                json!([
                    row.get::<_, &str>(0),
                    row.get::<_, &str>(1),
                    row.get::<_, bool>(2),
                    row.get::<_, i64>(3),
                    row.get::<_, i64>(4)
                ])
            })
            .collect();
        assert_eq!(
            stored,
            [json!([
                written["title"],
                written["content"],
                false,
                ann.id,
                id
            ])]
        );
        let read = world
            .send(Request::get(&answer.location("/posts/")).bearer(&ann.access_token))
            .await;
        read.assert(200, &json!({ "Post": answer.json(), "votes": 0 }));
    }

    async fn a_post_is_published_unless_it_says_otherwise(world: World) {
        let ann = world.join("ann").await;
        for (written, is_published) in [
            (json!({ "title": "t", "content": "c" }), true),
            (
                json!({ "title": "t", "content": "c", "is_published": true }),
                true,
            ),
            (
                json!({ "title": "t", "content": "c", "is_published": false }),
                false,
            ),
        ] {
            let answer = world.send(post(&ann, &written)).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["is_published"]),
                (201, &json!(is_published))
            );
        }
    }

    async fn a_title_has_1_to_300_code_points_and_a_text_up_to_50000(world: World) {
        let ann = world.join("ann").await;
        // Code points of one to four bytes: neither bytes nor UTF-16 units are counted.
        for letter in ["a", "ж", "語", "\u{1f600}"] {
            for (title, content) in [(1, 0), (300, 50_000)] {
                let written =
                    json!({ "title": letter.repeat(title), "content": letter.repeat(content) });
                let answer = world.send(post(&ann, &written)).await;
                assert_eq!(answer.status, 201, "{letter} {title} {content}");
                assert_eq!(
                    (&answer.json()["title"], &answer.json()["content"]),
                    (&written["title"], &written["content"])
                );
            }
            let answer = world
                .send(post(
                    &ann,
                    &json!({ "title": letter.repeat(301), "content": letter.repeat(50_001) }),
                ))
                .await;
            answer.assert_problems(&[
                ("string_too_long", json!(["body", "title"])),
                ("string_too_long", json!(["body", "content"])),
            ]);
            assert_eq!(
                (
                    &answer.json()["detail"][0]["ctx"],
                    &answer.json()["detail"][1]["ctx"]
                ),
                (
                    &json!({ "max_length": 300 }),
                    &json!({ "max_length": 50_000 })
                )
            );
        }
        let answer = world
            .send(post(&ann, &json!({ "title": "", "content": "" })))
            .await;
        answer.assert(
            422,
            &json!({ "detail": [{
            "type": "string_too_short",
            "loc": ["body", "title"],
            "msg": "String should have at least 1 character",
            "input": "",
            "ctx": { "min_length": 1 },
        }] }),
        );
        assert_eq!(world.number("select count(*) from posts").await, 8);
    }

    async fn types_are_strict(world: World) {
        let ann = world.join("ann").await;
        let whole = json!({ "title": "title", "content": "content", "is_published": true });
        let no_texts = ["null", "1", "1.5", "true", "[]", r#"["text"]"#, "{}"];
        let no_booleans = [
            "null",
            "0",
            "1",
            r#""yes""#,
            r#""true""#,
            r#""""#,
            "[]",
            "[true]",
            "{}",
        ];
        for (field, kind, values) in [
            ("title", "string_type", &no_texts[..]),
            ("content", "string_type", &no_texts[..]),
            ("is_published", "bool_type", &no_booleans[..]),
        ] {
            for value in values {
                let value: Value = serde_json::from_str(value).unwrap();
                let mut written = whole.clone();
                written[field] = value.clone();
                let answer = world.send(post(&ann, &written)).await;
                answer.assert_problems(&[(kind, json!(["body", field]))]);
                assert_eq!(answer.json()["detail"][0]["input"], value);
            }
        }
        assert_eq!(world.number("select count(*) from posts").await, 0);
    }

    async fn all_that_is_wrong_with_a_post_is_told_in_the_order_of_its_fields(world: World) {
        let ann = world.join("ann").await;
        let answer = world
            .send(post(
                &ann,
                &json!({ "is_published": "yes", "content": 1, "title": "" }),
            ))
            .await;
        answer.assert(
            422,
            &json!({ "detail": [
            {
                "type": "string_too_short",
                "loc": ["body", "title"],
                "msg": "String should have at least 1 character",
                "input": "",
                "ctx": { "min_length": 1 },
            },
            {
                "type": "string_type",
                "loc": ["body", "content"],
                "msg": "Input should be a valid string",
                "input": 1,
            },
            {
                "type": "bool_type",
                "loc": ["body", "is_published"],
                "msg": "Input should be a valid boolean",
                "input": "yes",
            },
        ] }),
        );
        let answer = world.send(post(&ann, &json!({ "titel": "title" }))).await;
        answer.assert_problems(&[
            ("missing", json!(["body", "title"])),
            ("missing", json!(["body", "content"])),
        ]);
        for body in ["[]", "1", r#""text""#, r#"["title", "content", true]"#] {
            let answer = world
                .send(
                    Request::post("/posts/")
                        .bearer(&ann.access_token)
                        .json_text(body),
                )
                .await;
            answer.assert_problems(&[("model_attributes_type", json!(["body"]))]);
        }
        for body in ["", "null"] {
            let answer = world
                .send(
                    Request::post("/posts/")
                        .bearer(&ann.access_token)
                        .json_text(body),
                )
                .await;
            answer.assert_problems(&[("missing", json!(["body"]))]);
        }
    }

    async fn u_0000_cannot_be_stored_wherever_it_stands(world: World) {
        let ann = world.join("ann").await;
        for (written, loc) in [
            (
                r#"{"title": "a\u0000b", "content": ""}"#,
                json!(["body", "title"]),
            ),
            (
                r#"{"title": "a", "content": "\u0000"}"#,
                json!(["body", "content"]),
            ),
            (
                r#"{"title": "a", "content": "", "more": ["\u0000"]}"#,
                json!(["body", "more"]),
            ),
        ] {
            let answer = world
                .send(
                    Request::post("/posts/")
                        .bearer(&ann.access_token)
                        .json_text(written),
                )
                .await;
            answer.assert_problems(&[("value_error", loc)]);
        }
        for half in [
            r#"{"title": "\ud800", "content": ""}"#,
            r#"{"title": "a", "content": "\udc00\ud800"}"#,
        ] {
            let answer = world
                .send(
                    Request::post("/posts/")
                        .bearer(&ann.access_token)
                        .json_text(half),
                )
                .await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["detail"][0]["type"]),
                (422, &json!("json_invalid"))
            );
        }
        assert_eq!(world.number("select count(*) from posts").await, 0);
    }

    async fn nobody_chooses_id_owner_or_time(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let chosen = json!({
            "title": "title", "content": "content", "id": 999_999,
            "owner_id": ann.id, "owner": { "id": ann.id },
            "created_at": "2001-01-01T00:00:00Z", "votes": 1000, "role": "admin",
        });
        let answer = world.send(post(&bob, &chosen)).await;
        let (id, created_at) = (
            answer.json()["id"].clone(),
            answer.json()["created_at"].clone(),
        );
        answer.assert(
            201,
            &json!({
                "title": "title", "content": "content", "is_published": true,
                "id": id, "created_at": created_at, "owner": bob.whole(),
            }),
        );
        assert!(
            id != json!(999_999) && created_at != json!("2001-01-01T00:00:00Z"),
            "{id} {created_at}"
        );
        let owned = "select count(*) from posts
                     where created_at > now() - interval '1 minute' and owner_id =";
        assert_eq!(world.number(&format!("{owned} {}", bob.id)).await, 1);
        assert_eq!(world.votes(id.as_i64().unwrap()).await, 0);
    }
}

fn post(person: &Person, written: &Value) -> Request {
    Request::post("/posts/")
        .bearer(&person.access_token)
        .json(written)
}
