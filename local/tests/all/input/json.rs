//! JSON bodies: an object, every key once, nothing too deep, numbers of every size.

use serde_json::json;

use super::{ann_and_a_post, assert_no_json, json_routes, rows};
use crate::world::{PASSWORD, Request};

at_both_doors! {
    async fn only_an_object_is_an_object(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let before = rows(&world).await;
        for (request, body) in json_routes(&ann, post_id) {
            let values: Vec<_> = body.as_object().unwrap().values().collect();
            let array = serde_json::to_string(&values).unwrap();
            for text in [&array, "[]", "[{}]", "\"{}\"", "1", "-1.5", "true", "false"] {
                let answer = world.send(request.clone().json_text(text)).await;
                answer.assert_problems(&[("model_attributes_type", json!(["body"]))]);
            }
            for text in ["null", "", "\u{feff}", " null "] {
                let answer = world.send(request.clone().json_text(text)).await;
                answer.assert_problems(&[("missing", json!(["body"]))]);
            }
        }
        assert_eq!(rows(&world).await, before);
    }

    async fn a_key_given_twice_is_refused_at_any_depth(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let before = rows(&world).await;
        for (request, body) in json_routes(&ann, post_id) {
            let text = body.to_string();
            let inside = text.trim_start_matches('{').trim_end_matches('}');
            let (first, _) = inside.split_once(':').unwrap();
            let twice = [
                format!("{{{inside},{first}:1}}"),
                format!("{{{first}:null,{inside}}}"),
                format!("{{{inside},\"unknown\":1,\"unknown\":1}}"),
                format!("{{{inside},\"unknown\":{{\"a\":1,\"a\":1}}}}"),
                format!("{{{inside},\"unknown\":[[{{\"a\":{{\"b\":1,\"\\u0062\":1}}}}]]}}"),
                format!("[{{{inside},{first}:1}}]"),
            ];
            for text in twice {
                assert_no_json(&world.send(request.clone().json_text(&text)).await);
            }
        }
        assert_eq!(rows(&world).await, before);
        let apart = r#"{"title": "a", "content": "b", "x": {"title": 1, "y": {"title": 1}}, "Title": 1}"#;
        let answer = world.send(Request::post("/posts/").bearer(&ann.access_token).json_text(apart)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    async fn nesting_without_end_is_no_json(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        for (request, body) in json_routes(&ann, post_id) {
            let text = body.to_string();
            let inside = text.trim_start_matches('{').trim_end_matches('}');
            let (first, _) = inside.split_once(':').unwrap();
            // 100,000 brackets are too much for the small bodies, which are refused for their size.
            let is_small = request.target.starts_with("/users") || request.target.starts_with("/auth");
            let depth = if is_small { 4_000 } else { 100_000 };
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let objects = "{\"a\":".repeat(depth / 5);
            let deep = [
                open.clone(),
                format!("{open}{close}"),
                format!("{{{first}:{open}{close}}}"),
                format!("{{{inside},\"unknown\":{open}{close}}}"),
                format!("{{{inside},\"unknown\":{objects}1{}}}", "}".repeat(depth / 5)),
                objects,
            ];
            for text in deep {
                assert_no_json(&world.send(request.clone().json_text(&text)).await);
            }
            if is_small {
                let answer = world.send(request.json_text(&"[".repeat(100_000))).await;
                answer.assert_detail(413, "Payload Too Large");
            }
        }
    }

    async fn some_nesting_in_an_unknown_field_is_nobodys_business(world: World) {
        let text = format!(
            r#"{{"email": "ann@example.com", "password": "{PASSWORD}", "x": {}{}}}"#,
            "[".repeat(100), "]".repeat(100)
        );
        let answer = world.send(Request::post("/users/").json_text(&text)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    async fn numbers_that_are_no_json_integers_are_told(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let vote = |post_id: &str, dir: &str| {
            let text = format!(r#"{{"post_id": {post_id}, "dir": {dir}}}"#);
            world.send(Request::post("/vote/").bearer(&ann.access_token).json_text(&text))
        };
        let id = post_id.to_string();
        let (post_id_at, dir_at) = (json!(["body", "post_id"]), json!(["body", "dir"]));
        for number in ["1.0", "1e0", "1E2", "0.5", "1e300", "\"1\"", "true", "1.0000000000000000001"] {
            let answer = vote(number, "1").await;
            answer.assert_problems(&[("int_type", post_id_at.clone())]);
        }
        for number in ["1.0", "1e0", "\"1\"", "true", "false", "null", "[1]", "{\"a\":1}"] {
            vote(&id, number).await.assert_problems(&[("int_type", dir_at.clone())]);
        }
        for text in ["\"one\"", "\"\"", "\"0x1\"", "\"١\""] {
            vote(&id, text).await.assert_problems(&[("int_parsing", dir_at.clone())]);
        }
        vote(&id, "2").await.assert_problems(&[("less_than_equal", dir_at.clone())]);
        vote(&id, "-1").await.assert_problems(&[("greater_than_equal", dir_at.clone())]);
        vote(&id, "99999999999999999999").await.assert_problems(&[("less_than_equal", dir_at.clone())]);
        for text in ["1e400", "-1e400", "01", "+1", "1.", ".5", "NaN", "Infinity", "-Infinity", "0x1", "1_000"] {
            assert_no_json(&vote(&id, text).await);
            assert_no_json(&vote(text, "1").await);
        }
        let unknown = format!(r#"{{"post_id": {id}, "dir": 1, "x": [1e400]}}"#);
        let answer = world.send(Request::post("/vote/").bearer(&ann.access_token).json_text(&unknown)).await;
        assert_no_json(&answer);
        assert_eq!(world.number("select count(*) from votes").await, 0);
    }

    async fn an_id_beyond_the_columns_range_matches_nothing(world: World) {
        let (ann, _) = ann_and_a_post(&world).await;
        let large = "9".repeat(300);
        let ids = [
            "0", "-1", "7", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
            "-9223372036854775809", "18446744073709551617", &large,
        ];
        for id in ids {
            let target = format!("/posts/{id}");
            let post = json!({ "title": "title", "content": "content" });
            let not_found = format!("Post with id: {id} not found");
            let signed = |request: Request| request.bearer(&ann.access_token);
            world.get(&target).await.assert_detail(404, &not_found);
            world.send(signed(Request::put(&target)).json(&post)).await.assert_detail(404, &not_found);
            world.send(signed(Request::delete(&target))).await.assert_detail(404, &not_found);
            let user = world.get(&format!("/users/{id}")).await;
            user.assert_detail(404, &format!("User with id: {id} not found"));
            let ballot = format!(r#"{{"post_id": {id}, "dir": 1}}"#);
            let vote = world.send(signed(Request::post("/vote/")).json_text(&ballot)).await;
            vote.assert_detail(404, &format!("Post with id: {id} does not exist"));
        }
    }

    async fn a_byte_order_mark_is_skipped(world: World) {
        let account = json!({ "email": "ann@example.com", "password": PASSWORD });
        let answer = world.send(Request::post("/users/").json_text(&format!("\u{feff}{account}"))).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let answer = world.send(Request::post("/users/").json_text(&format!("\u{feff}\u{feff}{account}"))).await;
        assert_no_json(&answer);
    }

    async fn what_breaks_off_or_goes_on_is_no_json(world: World) {
        let (ann, post_id) = ann_and_a_post(&world).await;
        let before = rows(&world).await;
        for (request, body) in json_routes(&ann, post_id) {
            let text = body.to_string();
            let broken = [
                text[..text.len() - 1].to_owned(),
                format!("{text}{text}"),
                format!("{text},"),
                format!("{text}\0"),
                text.replace('"', "'"),
                text.replace('}', ",}"),
                format!("/* */{text}"),
                " ".to_owned(),
                "{".to_owned(),
                "nul".to_owned(),
                "undefined".to_owned(),
                text.replacen(':', ":\u{1}", 1),
                text.replacen("\":\"", "\":\"\n", 1).replacen("\":1", "\":\n1x", 1),
            ];
            for text in broken {
                assert_no_json(&world.send(request.clone().json_text(&text)).await);
            }
        }
        assert_eq!(rows(&world).await, before);
    }
}
