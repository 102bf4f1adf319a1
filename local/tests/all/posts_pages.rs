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
            next = answer.next_page(&target);
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
        assert_eq!(head, format!("<?limit=2&search={escaped}"));
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
        let next = answer.next_page("/posts?limit=1&skip=1").unwrap();
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
        let first = "/posts/?limit=1";
        let next = world.get(first).await.next_page(first).unwrap();
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

/// What API Gateway takes from a function, of which the answer is a string.
const EVENT_LIMIT: usize = 6_291_556;
const PAGE_LIMIT: usize = 4 * 1024 * 1024;

at_both_doors! {
    async fn a_page_ends_before_its_answer_exceeds_4_mib(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        // Four bytes a character.
        let content = "😀".repeat(50_000);
        write(&world, &ann, "a title", &content, 32).await;
        world
            .rows("update posts set is_published = false where id % 4 = 0", &[])
            .await;
        for (person, visible, target, sizes) in [
            (None, "is_published", "/posts/?limit=100", vec![20, 4]),
            (Some(&bob), "is_published", "/posts/?limit=100", vec![20, 4]),
            (Some(&ann), "true", "/posts/?limit=100", vec![20, 12]),
            (Some(&ann), "true", "/posts/?limit=100&search=tit", vec![20, 12]),
            (Some(&ann), "true", "/posts/?limit=100&search=t", vec![20, 12]),
            (Some(&ann), "true", "/posts/?limit=20", vec![20, 12]),
            (Some(&ann), "true", "/posts/?limit=19", vec![19, 13]),
        ] {
            let expected = stored(&world, visible).await;
            let pages = walk(&world, person, target).await;
            assert_eq!(pages.concat(), expected, "{target}");
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{target}");
        }
        let skipped = Request::get("/posts/?limit=100&skip=9").bearer(&ann.access_token);
        let answer = world.send(skipped).await;
        let expected = stored(&world, "true").await;
        assert_eq!(ids(&answer), expected[9..29]);
        let next = answer.next_page("/posts/").unwrap();
        let next = Request::get(&next).bearer(&ann.access_token);
        let answer = world.send(next).await;
        assert_eq!(ids(&answer), expected[29..]);
        assert_eq!(answer.header("link"), None);
    }

    async fn a_page_is_as_long_as_its_json_whatever_the_posts_say(world: World) {
        let ann = world.join("ann").await;
        for (character, fit) in [
            ("a", 83), ("é", 41), ("\u{1}", 13),
            // These take two bytes of an answer, and three or four of an event.
            ("\n", 39), ("\"", 29),
        ] {
            world.rows("delete from posts", &[]).await;
            write(&world, &ann, character, &character.repeat(50_000), 90).await;
            let expected = stored(&world, "true").await;
            // Posts that were not measured when they were written are measured when they are read.
            for measured in [true, false] {
                if !measured {
                    world.rows("update posts set answer_bytes = null", &[]).await;
                }
                let answer = world.get("/posts/?limit=100").await;
                assert_eq!(ids(&answer), expected[..fit], "{character:?}");
                assert!(answer.text().len() <= PAGE_LIMIT, "{character:?}");
                let event = serde_json::to_string(&answer.text()).unwrap();
                assert!(event.len() <= EVENT_LIMIT - 100_000, "{character:?}");
            }
            let pages = walk(&world, None, "/posts/?limit=100").await;
            assert_eq!(pages.concat(), expected, "{character:?}");
        }
    }
}

#[tokio::test]
async fn a_post_that_is_longer_than_a_page_has_one_to_itself() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    // As another service may have stored it.
    write(&world, &ann, "older", "", 2).await;
    write(&world, &ann, "long", &"a".repeat(PAGE_LIMIT + 1), 1).await;
    write(&world, &ann, "newer", "", 2).await;
    let pages = walk(&world, None, "/posts/?limit=100").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2]);
    assert_eq!(pages.concat(), stored(&world, "true").await);
    assert_eq!(
        walk(&world, None, "/posts/?limit=100&search=long")
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn a_post_is_measured_whenever_its_text_changes() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    let measured = async |post: i64| {
        let measured = world
            .rows("select answer_bytes from posts where id = $1", &[&post])
            .await;
        measured[0].get::<_, i64>(0)
    };
    let post = ann.publishes(&world, "title").await;
    assert_eq!(measured(post).await, 14);
    // The quotes around a text take four bytes of an event, of which 0.7 count.
    for (title, content, bytes) in [("t", "\u{1}", 10), ("é", "😀", 9), ("\"", "\\\\\"", 16)] {
        let written = json!({ "title": title, "content": content });
        let put = Request::put(&format!("/posts/{post}"))
            .bearer(&ann.access_token)
            .json(&written);
        assert_eq!(world.send(put).await.status, 200);
        assert_eq!(measured(post).await, bytes, "{title} {content}");
    }
}

#[tokio::test]
async fn a_post_is_measured_also_where_no_schema_is_searched() {
    let world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    let insert = format!(
        "set search_path = '';
         insert into public.posts (title, content, owner_id) values ('title', 'content', {});
         reset search_path",
        ann.id
    );
    world.sql.batch_execute(&insert).await.unwrap();
    let measured = "select count(*) from posts where answer_bytes = 14";
    assert_eq!(world.number(measured).await, 1);
}

#[tokio::test]
async fn a_cursor_of_another_key_leads_nowhere_until_that_key_is_ours() {
    let mut world = World::new(Door::Event).await;
    let ann = world.join("ann").await;
    for title in ["one", "two", "three"] {
        ann.publishes(&world, title).await;
    }
    let first = "/posts/?limit=1";
    let next = world.get(first).await.next_page(first).unwrap();
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

/// Published posts, each newer than the one before, all with this text.
async fn write(world: &World, owner: &Person, title: &str, content: &str, posts: i64) {
    let insert = "
        insert into posts (title, content, owner_id, created_at)
        select $1, $2, $3, clock_timestamp() from generate_series(1, $4::bigint)";
    world
        .rows(insert, &[&title, &content, &owner.id, &posts])
        .await;
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
        next = answer.next_page(&target);
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
