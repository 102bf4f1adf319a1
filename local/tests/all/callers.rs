//! Who is calling, on every route that asks: which problem of a request is told first, and what a caller who
//! is gone is told.

use serde_json::{Value, json};

use crate::world::{Answer, Person, Request, World};

/// A route that knows its callers, and requests to it that are right and wrong in every way there is.
struct Route {
    method: &'static str,
    /// The path for an id that exists.
    path: fn(&Ids) -> String,
    /// The path where there is nothing, and the path that is none.
    wrong_paths: [&'static str; 2],
    body: Option<Bodies>,
    /// Whether nobody may call, too.
    is_public: bool,
}

struct Bodies {
    good: fn(&Ids) -> Value,
    /// JSON with fields that are wrong.
    bad: &'static str,
}

/// Of what there is to ask for.
struct Ids {
    user: i64,
    post: i64,
}

const POST: Bodies = Bodies {
    good: |_| json!({ "title": "title", "content": "content" }),
    bad: r#"{"title": "", "content": 1}"#,
};

const ROUTES: [Route; 8] = [
    Route::open(
        "GET",
        |_| "/posts/".to_owned(),
        ["/posts/?skip=999", "/posts/?limit=x"],
    ),
    Route::open(
        "GET",
        |ids| format!("/posts/{}", ids.post),
        ["/posts/999", "/posts/x"],
    ),
    Route::open(
        "GET",
        |ids| format!("/users/{}", ids.user),
        ["/users/999", "/users/x"],
    ),
    Route::closed(
        "POST",
        |_| "/auth/logout-all".to_owned(),
        ["/auth/logout-all"; 2],
        None,
    ),
    Route::closed("POST", |_| "/posts/".to_owned(), ["/posts/"; 2], Some(POST)),
    Route::closed(
        "PUT",
        |ids| format!("/posts/{}", ids.post),
        ["/posts/999", "/posts/x"],
        Some(POST),
    ),
    Route::closed(
        "DELETE",
        |ids| format!("/posts/{}", ids.post),
        ["/posts/999", "/posts/x"],
        None,
    ),
    Route::closed(
        "POST",
        |_| "/vote/".to_owned(),
        ["/vote/"; 2],
        Some(Bodies {
            good: |ids| json!({ "post_id": ids.post, "dir": 1 }),
            bad: r#"{"post_id": "x", "dir": 2}"#,
        }),
    ),
];

at_both_doors! {
    async fn bad_credentials_are_told_before_anything_about_fields_or_posts(world: World) {
        let (_, ids) = people_and_posts(&world).await;
        let gone = vanished(&world).await;
        let mut bad: Vec<String> = gone
            .iter()
            .map(|person| format!("Bearer {}", person.access_token))
            .collect();
        bad.extend(["Bearer", "Bearer ", "Bearer none"].map(str::to_owned));
        for route in &ROUTES {
            for (what, request) in route.requests(&ids) {
                for authorization in &bad {
                    let answer = world
                        .send(request.clone().header("authorization", authorization))
                        .await;
                    assert_unauthorized(
                        &answer,
                        "Could not validate credentials",
                        r#"Bearer error="invalid_token""#,
                        &format!("{} {what} {authorization}", route.name()),
                    );
                }
            }
        }
        unchanged(&world).await;
    }

    async fn no_credentials_are_told_before_anything_about_fields_or_posts(world: World) {
        let (ann, ids) = people_and_posts(&world).await;
        let of_another_scheme = format!("Token {}", ann.access_token);
        let none = [
            None,
            Some(""),
            Some("Basic YTpi"),
            Some("none"),
            Some(of_another_scheme.as_str()),
        ];
        for route in ROUTES.iter().filter(|route| !route.is_public) {
            for (what, request) in route.requests(&ids) {
                for authorization in none {
                    let request = match authorization {
                        Some(value) => request.clone().header("authorization", value),
                        None => request.clone(),
                    };
                    assert_unauthorized(
                        &world.send(request).await,
                        "Not authenticated",
                        "Bearer",
                        &format!("{} {what} {authorization:?}", route.name()),
                    );
                }
            }
        }
        unchanged(&world).await;
    }

    async fn nobody_may_read_what_is_public(world: World) {
        let (ann, ids) = people_and_posts(&world).await;
        for route in ROUTES.iter().filter(|route| route.is_public) {
            let request = route.request(&(route.path)(&ids));
            assert_eq!(
                world.send(request.clone()).await.status,
                200,
                "{}",
                route.name()
            );
            assert_eq!(
                world.send(request.bearer(&ann.access_token)).await.status,
                200,
                "{}",
                route.name()
            );
        }
    }

    async fn size_type_and_syntax_of_a_body_come_before_its_caller(world: World) {
        let (ann, ids) = people_and_posts(&world).await;
        let gone = vanished(&world).await;
        for route in &ROUTES {
            let Some(bodies) = &route.body else { continue };
            let path = (route.path)(&ids);
            let good = (bodies.good)(&ids).to_string();
            let large = format!("{}{good}", " ".repeat(640 * 1024 + 1 - good.len()));
            let fits = format!(
                "{}{}",
                " ".repeat(640 * 1024 - bodies.bad.len()),
                bodies.bad
            );
            let plain = |body: &str| {
                Request::new(route.method, &path)
                    .header("content-type", "text/plain")
                    .body(body)
            };
            let json = |body: &str| Request::new(route.method, &path).json_text(body);
            for authorization in [
                None,
                Some("Bearer none".to_owned()),
                Some(format!("Bearer {}", gone[0].access_token)),
            ] {
                let send = |request: Request| {
                    let request = match &authorization {
                        Some(value) => request.header("authorization", value),
                        None => request,
                    };
                    world.send(request)
                };
                let name = format!("{} {authorization:?}", route.name());
                send(json(&large))
                    .await
                    .assert_detail(413, "Payload Too Large");
                send(plain(&good))
                    .await
                    .assert_detail(415, "Unsupported Media Type: send application/json");
                send(plain("{"))
                    .await
                    .assert_detail(415, "Unsupported Media Type: send application/json");
                for broken in [
                    "{",
                    "{\"title\": \"a\", \"title\": \"b\"}",
                    "{} {}",
                    "\u{0}",
                ] {
                    let answer = send(json(broken)).await;
                    assert_eq!(
                        (answer.status.as_u16(), &answer.json()["detail"][0]["type"]),
                        (422, &json!("json_invalid")),
                        "{name}"
                    );
                }
                assert_eq!(send(json(&fits)).await.status, 401, "{name}");
            }
            let answer = world.send(json(&fits).bearer(&ann.access_token)).await;
            assert_eq!(answer.status, 422, "{}: {}", route.name(), answer.text());
        }
        unchanged(&world).await;
    }

    async fn the_route_comes_before_the_caller(world: World) {
        let (_, ids) = people_and_posts(&world).await;
        for route in &ROUTES {
            let path = (route.path)(&ids);
            let none = format!("{}/none/none", path.trim_end_matches('/'));
            let answer = world
                .send(Request::new(route.method, &none).bearer("none"))
                .await;
            answer.assert_detail(404, "Not Found");
            let answer = world
                .send(
                    Request::new("PATCH", &path)
                        .bearer("none")
                        .header("content-type", "text/plain")
                        .body("{"),
                )
                .await;
            answer.assert_detail(405, "Method Not Allowed");
            assert!(
                answer
                    .header("allow")
                    .unwrap()
                    .split(',')
                    .any(|method| method.trim() == route.method),
                "{}",
                route.name()
            );
        }
    }

    async fn a_caller_is_told_what_is_wrong_with_the_fields(world: World) {
        let (ann, ids) = people_and_posts(&world).await;
        for route in &ROUTES {
            let [nothing, wrong] = route.wrong_paths;
            if wrong != nothing {
                let answer = world
                    .send(route.request(wrong).bearer(&ann.access_token))
                    .await;
                assert_eq!(answer.status, 422, "{}: {}", route.name(), answer.text());
            }
            if let Some(bodies) = &route.body {
                let request = Request::new(route.method, &(route.path)(&ids)).json_text(bodies.bad);
                let answer = world.send(request.bearer(&ann.access_token)).await;
                assert_eq!(answer.status, 422, "{}: {}", route.name(), answer.text());
            }
        }
        unchanged(&world).await;
    }

    async fn the_scheme_is_read_in_any_case(world: World) {
        let (ann, ids) = people_and_posts(&world).await;
        for scheme in ["bearer", "BEARER", "bEaReR"] {
            for route in ROUTES.iter().filter(|route| route.is_public) {
                let request = route.request(&(route.path)(&ids));
                let answer = world
                    .send(
                        request.header("authorization", &format!("{scheme} {}", ann.access_token)),
                    )
                    .await;
                assert_eq!(answer.status, 200, "{scheme} {}", route.name());
                assert!(
                    answer.text().contains(&ann.email),
                    "{scheme} {}",
                    route.name()
                );
            }
        }
    }
}

impl Route {
    const fn open(
        method: &'static str,
        path: fn(&Ids) -> String,
        wrong_paths: [&'static str; 2],
    ) -> Self {
        Self {
            is_public: true,
            ..Self::closed(method, path, wrong_paths, None)
        }
    }

    const fn closed(
        method: &'static str,
        path: fn(&Ids) -> String,
        wrong_paths: [&'static str; 2],
        body: Option<Bodies>,
    ) -> Self {
        Self {
            method,
            path,
            wrong_paths,
            body,
            is_public: false,
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.wrong_paths[0])
    }

    /// A request with the method of this route and no body.
    fn request(&self, path: &str) -> Request {
        Request::new(self.method, path)
    }

    /// All that a caller could have sent: well-formed, but perhaps wrong, each with what it is.
    fn requests(&self, ids: &Ids) -> Vec<(String, Request)> {
        let [nothing, wrong] = self.wrong_paths.map(str::to_owned);
        let mut requests = Vec::new();
        for path in [(self.path)(ids), nothing, wrong] {
            let request = self.request(&path);
            let Some(bodies) = &self.body else {
                requests.push((path, request));
                continue;
            };
            for body in [
                &(bodies.good)(ids).to_string(),
                bodies.bad,
                "[]",
                "null",
                "",
            ] {
                requests.push((format!("{path} {body}"), request.clone().json_text(body)));
            }
        }
        requests
    }
}

async fn people_and_posts(world: &World) -> (Person, Ids) {
    let ann = world.join("ann").await;
    let post = ann.publishes(world, "title").await;
    let ids = Ids { user: ann.id, post };
    (ann, ids)
}

/// Callers whose access tokens were good: a user is deleted, a session logged out, a session expired.
async fn vanished(world: &World) -> [Person; 3] {
    let gone = [
        world.join("dan").await,
        world.join("eve").await,
        world.join("fay").await,
    ];
    let [deleted, logged_out, expired] = &gone;
    world
        .rows("delete from users where id = $1", &[&deleted.id])
        .await;
    assert_eq!(world.log_out(&logged_out.refresh_token).await.status, 200);
    world
        .rows(
            "update sessions set expires_at = now() where user_id = $1",
            &[&expired.id],
        )
        .await;
    gone
}

/// Asserts that there is what `people_and_posts` made, and nothing else.
async fn unchanged(world: &World) {
    assert_eq!(world.number("select count(*) from votes").await, 0);
    let titles = world.rows("select title from posts", &[]).await;
    let titles: Vec<&str> = titles.iter().map(|row| row.get(0)).collect();
    assert_eq!(titles, ["title"]);
}

#[track_caller]
fn assert_unauthorized(answer: &Answer, detail: &str, challenge: &str, what: &str) {
    let found = (
        answer.status.as_u16(),
        answer.json(),
        answer.header("www-authenticate"),
    );
    assert_eq!(
        found,
        (401, json!({ "detail": detail }), Some(challenge)),
        "{what}"
    );
    answer.assert_common();
}
