//! Who is calling: credentials in the header, and what becomes of them on every route.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    tokens::assert_bad_credentials,
    world::{
        PASSWORD, Person, Request, World, credentials,
        token::{HEADER, claims, now, sign},
    },
};

/// A request to every route that is for callers alone.
fn signed_routes(post_id: i64) -> [Request; 5] {
    let post = json!({ "title": "title", "content": "content" });
    [
        Request::post("/posts/").json(&post),
        Request::put(&format!("/posts/{post_id}")).json(&post),
        Request::delete(&format!("/posts/{post_id}")),
        Request::post("/vote/").json(&json!({ "post_id": post_id, "dir": 1 })),
        Request::post("/auth/logout-all"),
    ]
}

/// A request to every route that shows more to some callers than to nobody.
fn public_routes(user_id: i64, post_id: i64) -> [Request; 3] {
    [
        Request::get("/posts/"),
        Request::get(&format!("/posts/{post_id}")),
        Request::get(&format!("/users/{user_id}")),
    ]
}

impl World {
    /// Asserts that every route that looks at a caller refuses the token, and does nothing.
    pub(crate) async fn refuses_everywhere(&self, token: &str, user_id: i64, post_id: i64) {
        let before = self.everything().await;
        let routes = signed_routes(post_id)
            .into_iter()
            .chain(public_routes(user_id, post_id));
        for request in routes {
            assert_bad_credentials(&self.send(request.bearer(token)).await);
        }
        assert_eq!(self.everything().await, before);
    }

    /// Every row that a caller could change.
    async fn everything(&self) -> Vec<String> {
        let rows = "select posts::text from posts union all select votes::text from votes
                    union all select sessions::text from sessions order by 1";
        let rows = self.rows(rows, &[]).await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn assert_shows_whole(&self, person: &Person, authorization: &str) {
        let request = Request::get(&format!("/users/{}", person.id));
        self.send(request.header("authorization", authorization))
            .await
            .assert(200, &person.whole());
    }
}

at_both_doors! {
    async fn nobody_gets_into_a_route_for_callers(world: World) {
        let ann = world.join("ann").await;
        let post_id = ann.publishes(&world, "title").await;
        let before = world.everything().await;
        for request in signed_routes(post_id) {
            let answer = world.send(request).await;
            answer.assert_detail(401, "Not authenticated");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        assert_eq!(world.everything().await, before);
        for request in public_routes(ann.id, post_id) {
            assert_eq!(world.send(request).await.status, 200);
        }
    }

    async fn a_bad_token_is_refused_even_where_none_is_needed(world: World) {
        let ann = world.join("ann").await;
        let post_id = ann.publishes(&world, "title").await;
        let expired = sign(HEADER, &claims(ann.id, &json!({ "exp": now() - 1 })));
        world.refuses_everywhere(&expired, ann.id, post_id).await;
        world.refuses_everywhere("garbage", ann.id, post_id).await;
        world
            .refuses_everywhere(&ann.refresh_token, ann.id, post_id)
            .await;
    }

    async fn a_token_outlives_neither_its_session_nor_its_user(world: World) {
        let ann = world.join("ann").await;
        let bob = world.join("bob").await;
        let post_id = bob.publishes(&world, "title").await;
        world
            .rows(
                "update sessions set expires_at = now() where user_id = $1",
                &[&ann.id],
            )
            .await;
        world
            .refuses_everywhere(&ann.access_token, bob.id, post_id)
            .await;
        world
            .rows("delete from sessions where user_id = $1", &[&ann.id])
            .await;
        world
            .refuses_everywhere(&ann.access_token, bob.id, post_id)
            .await;
        let old = sign(HEADER, &claims(ann.id, &json!({})));
        assert!(world.accepts(&old).await);
        world
            .rows("delete from users where id = $1", &[&ann.id])
            .await;
        world.refuses_everywhere(&old, bob.id, post_id).await;
        assert!(world.accepts(&bob.access_token).await);
    }

    async fn the_scheme_is_bearer_in_any_case(world: World) {
        let ann = world.join("ann").await;
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            world
                .assert_shows_whole(&ann, &format!("{scheme} {}", ann.access_token))
                .await;
        }
    }

    async fn bearer_credentials_of_any_other_form_are_bad(world: World) {
        let ann = world.join("ann").await;
        let token = &ann.access_token;
        let bad = [
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            "bEARER".to_owned(),
            format!("Bearer\t{token}"),
            format!("Bearer  {token}"),
            format!("Bearer \"{token}\""),
            format!("Bearer {token} {token}"),
            format!("Bearer {token},"),
            format!("Bearer ,{token}"),
            format!("Bearer token={token}"),
            "Bearer é".to_owned(),
            // What a gateway makes of two headers.
            format!("Basic eDp5,Bearer {token}"),
            format!("Bearer {token}, Basic eDp5"),
        ];
        for authorization in &bad {
            for request in [Request::get("/posts/"), Request::post("/auth/logout-all")] {
                let answer = world
                    .send(request.header("authorization", authorization))
                    .await;
                assert_eq!(answer.status, 401, "{authorization:?}");
                assert_bad_credentials(&answer);
            }
        }
        assert!(world.accepts(token).await);
    }

    // A proxy that asks for a password makes browsers send `Basic` with every request; clients send an empty
    // header where they have no token yet.
    async fn what_is_no_bearer_credentials_is_none(world: World) {
        let ann = world.join("ann").await;
        let draft_id = ann.drafts(&world, "draft").await;
        let post_id = ann.publishes(&world, "title").await;
        let token = &ann.access_token;
        let none = [
            String::new(),
            " ".to_owned(),
            ",".to_owned(),
            "Basic YW5uQGV4YW1wbGUuY29tOm9wYWwtbGFudGVybi00Mg==".to_owned(),
            "basic".to_owned(),
            "Digest username=\"ann\", realm=\"example\", nonce=\"1\", uri=\"/\", response=\"2\"".to_owned(),
            "Negotiate YII=".to_owned(),
            "AWS4-HMAC-SHA256 Credential=x/20260201/eu-central-1/execute-api/aws4_request, SignedHeaders=host, Signature=0".to_owned(),
            "null".to_owned(),
            "undefined".to_owned(),
            "é".to_owned(),
            // Not even with a good token behind it.
            token.clone(),
            format!("Token {token}"),
            format!("JWT {token}"),
            format!("Bearer{token}"),
            format!("Bearer: {token}"),
            format!("Basic {token}"),
        ];
        let before = world.everything().await;
        for authorization in &none {
            let with = |request: Request| request.header("authorization", authorization);
            for request in public_routes(ann.id, post_id) {
                let (as_nobody, given) = (
                    world.send(request.clone()).await,
                    world.send(with(request)).await,
                );
                assert_eq!(given.status, 200, "{authorization:?}");
                assert_eq!(given.json(), as_nobody.json(), "{authorization:?}");
            }
            let draft = world.send(with(Request::get(&format!("/posts/{draft_id}")))).await;
            draft.assert_detail(404, &format!("Post with id: {draft_id} not found"));
            for request in signed_routes(post_id) {
                let answer = world.send(with(request)).await;
                answer.assert_detail(401, "Not authenticated");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{authorization:?}");
            }
        }
        assert_eq!(world.everything().await, before);
    }

    async fn credentials_given_twice_are_bad_even_where_they_agree(world: World) {
        let ann = world.join("ann").await;
        let bob = world.join("bob").await;
        let bearer = format!("Bearer {}", ann.access_token);
        let others = [format!("Bearer {}", bob.access_token), "Basic eDp5".to_owned(), String::new()];
        for other in [&bearer].into_iter().chain(&others) {
            for [first, second] in [[&bearer, other], [other, &bearer]] {
                let request = Request::get("/posts/")
                    .header("authorization", first)
                    .header("authorization", second);
                assert_bad_credentials(&world.send(request).await);
            }
        }
        // Of two that are not ours none is ours.
        let request = Request::get("/posts/")
            .header("authorization", "Basic eDp5")
            .header("authorization", "Digest username=\"x\"");
        assert_eq!(world.send(request.clone()).await.status, 200);
        let request = Request { method: Method::POST, target: "/auth/logout-all".to_owned(), ..request };
        world.send(request).await.assert_detail(401, "Not authenticated");
    }

    async fn a_token_counts_in_the_header_and_nowhere_else(world: World) {
        let ann = world.join("ann").await;
        let token = &ann.access_token;
        let elsewhere = [
            Request::post(&format!("/auth/logout-all?access_token={token}")),
            Request::post("/auth/logout-all").form(&format!("access_token={token}")),
            Request::post("/auth/logout-all").header("cookie", &format!("access_token={token}")),
            Request::post("/auth/logout-all").header("x-authorization", &format!("Bearer {token}")),
        ];
        for request in elsewhere {
            world
                .send(request)
                .await
                .assert_detail(401, "Not authenticated");
        }
        assert!(world.accepts(token).await);
    }

    async fn the_caller_is_judged_before_the_fields_and_after_the_syntax(world: World) {
        let ann = world.join("ann").await;
        let token = &ann.access_token;
        let syntax = Request::post("/posts/").json_text("{");
        let fields = Request::post("/posts/").json(&json!({}));
        let missing = [
            ("missing", json!(["body", "title"])),
            ("missing", json!(["body", "content"])),
        ];
        world
            .send(fields.clone())
            .await
            .assert_detail(401, "Not authenticated");
        world
            .send(fields.clone().bearer(token))
            .await
            .assert_problems(&missing);
        world.rows("delete from sessions", &[]).await;
        for token in [token, "garbage"] {
            assert_bad_credentials(&world.send(fields.clone().bearer(token)).await);
            let public = Request::get("/posts/?limit=many").bearer(token);
            assert_bad_credentials(&world.send(public).await);
            world
                .send(syntax.clone().bearer(token))
                .await
                .assert_problems(&[("json_invalid", json!(["body", 0]))]);
        }
    }

    // A client whose access token has expired attaches it to every request, also to the one that gets the next.
    async fn whoever_signs_up_or_in_or_out_needs_no_good_token(world: World) {
        let ann = world.join("ann").await;
        let expired = sign(HEADER, &claims(ann.id, &json!({ "exp": now() - 1 })));
        let bearers = [
            format!("Bearer {expired}"),
            "Bearer garbage".to_owned(),
            "Basic eDp5".to_owned(),
        ];
        for (number, authorization) in bearers.iter().enumerate() {
            let send =
                |request: Request| world.send(request.header("authorization", authorization));
            let sign_up =
                json!({ "email": format!("bob{number}@example.com"), "password": PASSWORD });
            assert_eq!(
                send(Request::post("/users/").json(&sign_up)).await.status,
                201
            );
            let pair = send(credentials(&ann.email, PASSWORD)).await;
            assert_eq!(pair.status, 200);
            let refresh_token = |pair: &Value| json!({ "refresh_token": pair["refresh_token"] });
            let next =
                send(Request::post("/auth/refresh").json(&refresh_token(&pair.json()))).await;
            assert_eq!(next.status, 200);
            let out = send(Request::post("/auth/logout").json(&refresh_token(&next.json()))).await;
            out.assert(200, &json!({ "message": "Successfully logged out" }));
        }
    }
}
