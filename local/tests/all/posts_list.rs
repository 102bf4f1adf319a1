//! `GET /posts/` and `GET /posts/{id}`: who sees which posts, and which posts a list has.

use serde_json::{Value, json};

use crate::world::{Answer, Person, Request, World};

at_both_doors! {
    async fn a_post_is_shown_to_anyone_and_its_owners_address_to_the_owner_alone(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        assert_eq!(world.send(bob.ballot(post, 1)).await.status, 201);
        let shown = |owner: Value, created_at: &Value| {
            json!({
                "Post": {
                    "title": "title", "content": "content", "is_published": true,
                    "id": post, "created_at": created_at, "owner": owner,
                },
                "votes": 1,
            })
        };
        let by_id = Request::get(&format!("/posts/{post}"));
        let list = Request::get("/posts/");
        let created_at = world.send(by_id.clone()).await.json()["Post"]["created_at"].clone();

        for (token, owner) in [
            (None, ann.masked()),
            (Some(&bob), ann.masked()),
            (Some(&ann), ann.whole()),
        ] {
            let asked = |request: &Request| {
                token.map_or(request.clone(), |person| {
                    request.clone().bearer(&person.access_token)
                })
            };
            world
                .send(asked(&by_id))
                .await
                .assert(200, &shown(owner.clone(), &created_at));
            world
                .send(asked(&list))
                .await
                .assert(200, &json!([shown(owner, &created_at)]));
        }
    }

    async fn a_draft_is_shown_to_its_owner_alone(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let (post, draft) = (
            ann.publishes(&world, "post").await,
            ann.drafts(&world, "draft").await,
        );
        let theirs = bob.drafts(&world, "theirs").await;
        for (person, seen) in [
            (None, vec![post]),
            (Some(&bob), vec![theirs, post]),
            (Some(&ann), vec![draft, post]),
        ] {
            assert_eq!(list(&world, person, "").await, seen);
            assert_eq!(
                list(&world, person, "?search=draft").await,
                if seen.contains(&draft) {
                    vec![draft]
                } else {
                    vec![]
                }
            );
        }
        let answer = world
            .send(Request::get(&format!("/posts/{draft}")).bearer(&ann.access_token))
            .await;
        assert_eq!(
            (
                answer.status.as_u16(),
                &answer.json()["Post"]["is_published"]
            ),
            (200, &json!(false))
        );
        for request in [
            Request::get(&format!("/posts/{draft}")),
            Request::get(&format!("/posts/{draft}")).bearer(&bob.access_token),
        ] {
            world
                .send(request)
                .await
                .assert_detail(404, &format!("Post with id: {draft} not found"));
        }
    }

    async fn newer_posts_come_first_and_larger_ids_where_times_are_equal(world: World) {
        let ann = world.join("ann").await;
        let ids = insert(
            &world,
            &ann,
            &[
                ("2026-01-02T00:00:00Z", true),
                ("2026-01-03T00:00:00Z", true),
                ("2026-01-01T00:00:00Z", true),
                ("2026-01-02T00:00:00Z", true),
                ("2026-01-02T00:00:00Z", false),
                ("2026-01-02T00:00:00.000001Z", false),
            ],
        )
        .await;
        let in_order =
            |places: &[usize]| places.iter().map(|place| ids[*place]).collect::<Vec<_>>();
        assert_eq!(list(&world, None, "").await, in_order(&[1, 3, 0, 2]));
        assert_eq!(
            list(&world, Some(&ann), "").await,
            in_order(&[1, 5, 4, 3, 0, 2])
        );
    }

    async fn a_page_has_10_posts_or_as_many_as_asked_for(world: World) {
        let ann = world.join("ann").await;
        let mut ids = insert(&world, &ann, &[("2026-01-01T00:00:00Z", true); 105]).await;
        ids.reverse();
        for (query, seen) in [
            ("", &ids[..10]),
            ("?limit=0", &[]),
            ("?limit=1", &ids[..1]),
            ("?limit=100", &ids[..100]),
            ("?skip=0", &ids[..10]),
            ("?skip=100", &ids[100..]),
            ("?limit=3&skip=7", &ids[7..10]),
            ("?skip=105", &[]),
            ("?skip=9223372036854775807&limit=100", &[]),
            ("?limit=0&skip=3", &[]),
            // Of several the last counts, and a name that is not known says nothing.
            ("?limit=1&limit=2", &ids[..2]),
            ("?limit=none&limit=2", &ids[..2]),
            ("?skip=1&limit=1&skip=2&page=3", &ids[2..3]),
        ] {
            assert_eq!(list(&world, None, query).await, seen, "{query}");
            assert_eq!(list(&world, Some(&ann), query).await, seen, "{query}");
        }
    }

    async fn a_search_finds_its_text_anywhere_in_the_title_in_any_case(world: World) {
        let ann = world.join("ann").await;
        let titles = [
            "Rust and SQL",
            "trust nobody",
            "Привет, Мир",
            "100% sure",
            "100 per cent sure",
            "snake_case",
            "snake-case",
            r"back\slash",
            r"\%",
            "a",
            "Ünïcode",
        ];
        let mut ids = Vec::new();
        for title in titles {
            ids.push(ann.publishes(&world, title).await);
        }
        for (search, found) in [
            ("rust", &[1, 0][..]),
            ("RUST", &[1, 0]),
            ("d S", &[0]),
            ("rust and sql", &[0]),
            ("rust  and", &[]),
            ("МИР", &[2]),
            ("привет", &[2]),
            ("ИВЕ", &[2]),
            ("ÜNÏ", &[10]),
            ("ünï", &[10]),
            ("%", &[8, 3]),
            ("0%", &[3]),
            ("100%s", &[]),
            ("_", &[5]),
            ("e_c", &[5]),
            ("ke_ca", &[5]),
            (r"\", &[8, 7]),
            (r"k\s", &[7]),
            (r"\%", &[8]),
            (r"\\", &[]),
            ("%%", &[]),
            ("content", &[]),
            ("ab", &[]),
        ] {
            let query = format!(
                "?search={}",
                percent_encoding::utf8_percent_encode(search, percent_encoding::NON_ALPHANUMERIC)
            );
            let found: Vec<_> = found.iter().map(|place| ids[*place]).collect();
            assert_eq!(list(&world, None, &query).await, found, "{search}");
        }
        assert_eq!(list(&world, None, "?search=d+s").await, [ids[0]]);
        assert_eq!(
            list(&world, None, "?search=rust&limit=1&skip=1").await,
            [ids[0]]
        );
        assert_eq!(
            list(&world, None, "?search=rust&search=snake_").await,
            [ids[5]]
        );
        ids.reverse();
        assert_eq!(list(&world, None, "?limit=100&search=").await, ids);
    }

    async fn a_search_has_100_code_points_at_most(world: World) {
        let ann = world.join("ann").await;
        let title = "ж".repeat(300);
        let post = ann.publishes(&world, &title).await;
        let encoded = "%D0%96";
        assert_eq!(
            list(&world, None, &format!("?search={}", encoded.repeat(100))).await,
            [post]
        );
        let answer = world
            .get(&format!("/posts/?search={}", encoded.repeat(101)))
            .await;
        answer.assert(
            422,
            &json!({ "detail": [{
            "type": "string_too_long",
            "loc": ["query", "search"],
            "msg": "String should have at most 100 characters",
            "input": "Ж".repeat(101),
            "ctx": { "max_length": 100 },
        }] }),
        );
    }

    async fn all_that_is_wrong_with_a_query_is_told_at_once(world: World) {
        let (limit, skip) = (json!(["query", "limit"]), json!(["query", "skip"]));
        let (search, cursor) = (json!(["query", "search"]), json!(["query", "cursor"]));
        for (query, problems) in [
            ("limit=101", vec![("less_than_equal", &limit)]),
            (
                "limit=99999999999999999999",
                vec![("less_than_equal", &limit)],
            ),
            ("limit=-1", vec![("greater_than_equal", &limit)]),
            ("skip=-1", vec![("greater_than_equal", &skip)]),
            (
                "skip=-99999999999999999999",
                vec![("greater_than_equal", &skip)],
            ),
            ("limit=", vec![("int_parsing", &limit)]),
            ("limit", vec![("int_parsing", &limit)]),
            (
                "limit=ten&skip=1.5",
                vec![("int_parsing", &limit), ("int_parsing", &skip)],
            ),
            ("limit=2&limit=none", vec![("int_parsing", &limit)]),
            ("search=%00", vec![("value_error", &search)]),
            ("cursor=", vec![("value_error", &cursor)]),
            (
                "cursor=x&skip=x&limit=x&search=%00",
                vec![
                    ("int_parsing", &limit),
                    ("int_parsing", &skip),
                    ("value_error", &search),
                    ("value_error", &cursor),
                ],
            ),
        ] {
            let problems: Vec<_> = problems
                .into_iter()
                .map(|(kind, loc)| (kind, loc.clone()))
                .collect();
            world
                .get(&format!("/posts/?{query}"))
                .await
                .assert_problems(&problems);
        }
        for query in ["search=%FF", "%FF=1", "other=%C3%28", "%00=1", "other=%00"] {
            world
                .get(&format!("/posts/?{query}"))
                .await
                .assert_problems(&[("value_error", json!(["query"]))]);
        }
        let answer = world.get("/posts/?limit=101").await;
        answer.assert(
            422,
            &json!({ "detail": [{
            "type": "less_than_equal",
            "loc": ["query", "limit"],
            "msg": "Input should be less than or equal to 100",
            "input": "101",
            "ctx": { "le": 100 },
        }] }),
        );
    }

    async fn a_list_of_nothing_is_an_empty_list(world: World) {
        let ann = world.join("ann").await;
        let answer = world.get("/posts/").await;
        answer.assert(200, &json!([]));
        assert_eq!(answer.header("link"), None);
        assert_eq!(list(&world, Some(&ann), "?search=x").await, [] as [i64; 0]);
    }

    async fn a_head_of_posts_is_their_answer_without_a_body(world: World) {
        let ann = world.join("ann").await;
        let post = ann.publishes(&world, "title").await;
        for (target, status) in [
            ("/posts/".to_owned(), 200),
            (format!("/posts/{post}"), 200),
            (format!("/posts/{}", post + 1), 404),
        ] {
            let answer = world.send(Request::new("HEAD", &target)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (status, String::new())
            );
            assert_eq!(answer.header("content-type"), Some("application/json"));
            answer.assert_common();
        }
    }
}

/// The ids that a list has.
async fn list(world: &World, person: Option<&Person>, query: &str) -> Vec<i64> {
    let request = Request::get(&format!("/posts/{query}"));
    let answer = match person {
        Some(person) => world.send(request.bearer(&person.access_token)).await,
        None => world.send(request).await,
    };
    ids(&answer)
}

fn ids(answer: &Answer) -> Vec<i64> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let posts = answer.json();
    let ids = posts
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["Post"]["id"].as_i64().unwrap());
    ids.collect()
}

/// Stores posts made at these times, published or not, and returns their ids in the same order.
async fn insert(world: &World, owner: &Person, posts: &[(&str, bool)]) -> Vec<i64> {
    let (times, published): (Vec<_>, Vec<_>) = posts.iter().copied().unzip();
    let insert = "
        insert into posts (title, content, owner_id, created_at, is_published)
        select 'title', '', $1, time::timestamptz, is_published
        from unnest($2::text[], $3::bool[]) with ordinality as post (time, is_published, place)
        order by place returning id";
    let rows = world.rows(insert, &[&owner.id, &times, &published]).await;
    rows.iter().map(|row| row.get(0)).collect()
}
