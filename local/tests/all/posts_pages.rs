//! `Link: <…>; rel="next"` of `GET /posts/`: from page to page by key.

use serde_json::{Value, json};
use shared::config::Secret;

use crate::world::{Answer, Door, Person, Request, World};

at_both_doors! {
    async fn the_pages_have_every_post_once_and_in_order(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        fill(&world, &ann, &bob).await;
        for limit in [1, 2, 5, 7, 22, 23, 24, 100] {
            for (person, visible) in [
                (None, "is_published".to_owned()),
                (Some(&ann), format!("is_published or owner_id = {}", ann.id)),
                (Some(&bob), format!("is_published or owner_id = {}", bob.id)),
            ] {
                let expected = stored(&world, &visible).await;
                let pages = walk(&world, person, &format!("/posts/?limit={limit}")).await;
                let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
                let (last, full) = sizes.split_last().unwrap();
                assert!(
                    full.iter().all(|size| *size == limit) && (1..=limit).contains(last),
                    "{sizes:?}"
                );
                assert_eq!(pages.concat(), expected, "limit {limit}");
            }
        }
    }

    async fn posts_that_are_written_between_two_pages_move_none(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        fill(&world, &ann, &bob).await;
        let expected = stored(&world, "is_published").await;
        let (mut seen, mut next) = (Vec::new(), Some("/posts/?limit=4".to_owned()));
        while let Some(target) = next {
            let answer = world.get(&target).await;
            seen.extend(ids(&answer));
            next = next_of(&answer);
            ann.publishes(&world, "newer").await;
            // One that was seen already goes, and shifts nothing either.
            world
                .rows("delete from posts where id = $1", &[&seen[0]])
                .await;
        }
        assert_eq!(seen, expected);
    }

    async fn a_search_goes_on_from_page_to_page(world: World) {
        let ann = world.join("ann").await;
        // All that could end the link or the parameter early.
        let search = "a&limit=1 \"<é>, +%41;#?\\\r\n";
        let mut expected = Vec::new();
        for number in 0..5 {
            expected.insert(
                0,
                ann.publishes(&world, &format!("{number}: {} !", search.to_uppercase()))
                    .await,
            );
            ann.publishes(&world, "a").await;
        }
        expected.insert(0, ann.drafts(&world, &format!("draft: {search}")).await);
        let escaped =
            percent_encoding::utf8_percent_encode(search, percent_encoding::NON_ALPHANUMERIC);
        let target = format!("/posts/?search={escaped}&limit=2");
        let link = world.get(&target).await.header("link").unwrap().to_owned();
        let (head, cursor) = link.split_once("&cursor=").unwrap();
        assert_eq!(head, format!("</posts/?limit=2&search={escaped}"));
        let cursor = cursor.strip_suffix(">; rel=\"next\"").unwrap();
        assert!(
            cursor
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{cursor}"
        );

        let pages = walk(&world, Some(&ann), &target).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(pages.concat(), expected);
    }

    async fn there_is_no_next_page_where_there_is_no_more(world: World) {
        let ann = world.join("ann").await;
        for title in ["one", "two", "three"] {
            ann.publishes(&world, title).await;
        }
        for (query, has_next) in [
            ("?limit=2", true),
            ("?limit=3", false),
            ("?limit=4", false),
            ("", false),
            ("?limit=0", false),
            ("?limit=1&skip=1", true),
            ("?limit=1&skip=2", false),
            ("?skip=3", false),
            ("?limit=1&search=two", false),
            ("?limit=1&search=t", true),
        ] {
            let answer = world.get(&format!("/posts{query}")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("link").is_some()),
                (200, has_next),
                "{query}"
            );
        }
        // The link goes on from the key, so that it has nothing left to skip.
        let answer = world.get("/posts?limit=1&skip=1").await;
        let next = next_of(&answer).unwrap();
        assert!(next.starts_with("/posts?limit=1&cursor="), "{next}");
        assert_eq!(
            ids(&world.get(&next).await),
            stored(&world, "title = 'one'").await
        );
        assert_eq!(
            ids(&world.get(&format!("{next}&skip=1")).await),
            [] as [i64; 0]
        );
        assert_eq!(
            ids(&world.get(&format!("{next}&limit=0")).await),
            [] as [i64; 0]
        );
    }

    async fn a_cursor_that_was_not_made_here_leads_nowhere(world: World) {
        let ann = world.join("ann").await;
        for title in ["one", "two", "three"] {
            ann.publishes(&world, title).await;
        }
        let next = next_of(&world.get("/posts/?limit=1").await).unwrap();
        let (start, cursor) = next.split_once("cursor=").unwrap();
        assert_eq!(world.get(&next).await.status, 200);

        let mut false_ones: Vec<String> = [
            "",
            "0",
            "next",
            "AAAA",
            "null",
            "==",
            "%2B%2F",
            &ann.access_token,
            &ann.refresh_token,
            &cursor.repeat(2),
        ]
        .map(str::to_owned)
        .into();
        // No place in it may change, not even the bits that base64 leaves over.
        for place in 0..cursor.len() {
            let other = if cursor.as_bytes()[place] == b'A' {
                "B"
            } else {
                "A"
            };
            false_ones.push(format!(
                "{}{other}{}",
                &cursor[..place],
                &cursor[place + 1..]
            ));
        }
        for length in [1, 42, 43, 44, cursor.len() - 1] {
            false_ones.push(cursor[..length].to_owned());
        }
        for tail in ["A", "AAAA", "=", "%00", "%20", "."] {
            false_ones.push(format!("{cursor}{tail}"));
        }
        for cursor in false_ones {
            let answer = world.get(&format!("{start}cursor={cursor}")).await;
            answer.assert_problems(&[("value_error", json!(["query", "cursor"]))]);
        }
        let answer = world.get("/posts/?cursor=made-up").await;
        answer.assert(
            422,
            &json!({ "detail": [{
            "type": "value_error",
            "loc": ["query", "cursor"],
            "msg": "Value error, It was not made by this API",
            "input": "made-up",
            "ctx": { "reason": "It was not made by this API" },
        }] }),
        );
        // Of several the last counts.
        assert_eq!(
            world
                .get(&format!("{start}cursor=made-up&cursor={cursor}"))
                .await
                .status,
            200
        );
        world
            .get(&format!("{next}&cursor=made-up"))
            .await
            .assert_problems(&[("value_error", json!(["query", "cursor"]))]);
    }
}

#[tokio::test]
async fn a_cursor_of_another_key_leads_nowhere_until_that_key_is_ours() {
    let mut world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    for title in ["one", "two", "three"] {
        ann.publishes(&world, title).await;
    }
    let next = next_of(&world.get("/posts/?limit=1").await).unwrap();
    let old_key = world.config.signing.key.clone();

    world.config.signing.key = Secret::new("another signing key, as long as it must be");
    world.reopen(Door::Event).await;
    let answer = world.get(&next).await;
    answer.assert_problems(&[("value_error", json!(["query", "cursor"]))]);

    // A key that was rotated still opens what it sealed.
    world.config.signing.previous_key = Some(old_key);
    world.reopen(Door::Event).await;
    assert_eq!(
        ids(&world.get(&next).await),
        stored(&world, "title = 'two'").await
    );
}

/// 23 published posts of two people at few different times, and drafts of both among them.
async fn fill(world: &World, ann: &Person, bob: &Person) {
    let insert = "
        insert into posts (title, content, owner_id, is_published, created_at)
        select 'title', '', case when number % 2 = 0 then $1::bigint else $2 end, number % 4 < 2,
               '2026-01-01T00:00:00.999999Z'::timestamptz + (number * 7 % 5) * interval '1 microsecond'
        from generate_series(0, 44) as number";
    world.rows(insert, &[&ann.id, &bob.id]).await;
}

/// The ids of stored posts in the order of a list.
async fn stored(world: &World, condition: &str) -> Vec<i64> {
    let select =
        format!("select id from posts where {condition} order by created_at desc, id desc");
    let rows = world.rows(&select, &[]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// The ids of all pages, from one to the next.
async fn walk(world: &World, person: Option<&Person>, first: &str) -> Vec<Vec<i64>> {
    let (mut pages, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(target) = next {
        let request = Request::get(&target);
        let request = match person {
            Some(person) => request.bearer(&person.access_token),
            None => request,
        };
        let answer = world.send(request).await;
        pages.push(ids(&answer));
        next = next_of(&answer);
    }
    pages
}

fn ids(answer: &Answer) -> Vec<i64> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list: Vec<Value> = serde_json::from_value(answer.json()).unwrap();
    list.iter()
        .map(|entry| entry["Post"]["id"].as_i64().unwrap())
        .collect()
}

/// Where the link of an answer leads.
fn next_of(answer: &Answer) -> Option<String> {
    let target = answer.header("link")?.strip_prefix('<').unwrap();
    Some(target.strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}
