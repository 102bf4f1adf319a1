//! `GET /posts/?search=`: any text finds what `ilike` finds, and costs about what it shows.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::world::{Door, Person, Request, World};

/// Letters whose case folds oddly, marks that combine, what stands for something in a pattern, what is no letter.
const TITLES: [&str; 24] = [
    "Rust and SQL: the the the end",
    "C++ or C# ?!?! !!! --- - -",
    "100%% sure_of \\ \\\\ %_\\%",
    "日本語の本、猫と犬",
    "猫猫猫猫",
    "Привет, Мир! Жж",
    "İstanbul ISPARTA ırmak ıIiİ",
    "ΟΔΟΣ Σίσυφος ΣΑΣ ςσΣ Σ",
    "STRASSE straße STRAẞE ﬁne ŒUVRE Ǆ ǅ ǆ",
    "e\u{301}té É été E\u{301}",
    "👍🏽 🇩🇪 👨‍👩‍👧 🔥🔥",
    "  two  spaces  ",
    "\ttab\nline\r\nend\u{a0}\u{200b}.",
    "a",
    "%",
    "_",
    "\\",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "가나다 한국어 ㄱ",
    "العربية שלום हिन्दी ไทย",
    "K (Kelvin) Å (Ångström) Ω (Ohm) ſs",
    "\u{1}\u{7f}\u{80}\u{ffff}\u{10ffff}",
    "x'; drop table posts; --",
    "Ⅷ ⅷ Ⓐ ⓐ Ꭰ ꭰ Ა ა",
];

#[tokio::test]
async fn any_part_of_a_title_finds_what_ilike_finds() {
    let world = World::new(Door::Event).await;
    let (ann, bob) = (world.join("ann").await, world.join("bob").await);
    fill(&world, &ann, &bob).await;
    // Every text of up to five characters, and every end, of every title, in three cases, and ones that no title has.
    let wrong = "
        with texts as (
                 select distinct substr(cased, first, length) as text
                 from posts, unnest(array[title, upper(title), lower(title)]) as cased,
                      generate_series(1, char_length(cased)) as first, unnest(array[1, 2, 3, 4, 5, 18, 100]) as length
                 union select text from unnest(array['zq', '犬日', '!-!', 'q', 'ж!', 'the the end', '\\%\\', 'ß%']) as text),
             patterns as (
                 select '%' || replace(replace(replace(text, '\\', '\\\\'), '%', '\\%'), '_', '\\_') || '%' as pattern
                 from texts)
        select pattern, viewer, at_most
        from patterns, unnest($1::bigint[]) as viewer, unnest(array[1, 4, 1000]) as at_most,
             (values (null, null), ('2026-01-01T00:00:00Z'::timestamptz, 600)) as key (before, before_id)
        where array(
                  select id from find_posts(pattern, viewer, before, before_id, at_most)
                  order by created_at desc, id desc limit at_most)
              <> array(
                  select id from posts
                  where (is_published or owner_id = viewer) and title ilike pattern
                    and (before is null or (created_at, id) < (before, before_id))
                  order by created_at desc, id desc limit at_most)";
    let wrong = world.rows(wrong, &[&vec![None, Some(ann.id)]]).await;
    let wrong: Vec<(String, Option<i64>, i32)> = wrong
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert_eq!(wrong, []);
}

#[tokio::test]
async fn a_search_goes_on_from_page_to_page_through_all_of_time() {
    let world = World::new(Door::Event).await;
    let (ann, bob) = (world.join("ann").await, world.join("bob").await);
    fill(&world, &ann, &bob).await;
    for search in [
        "猫", "++", "!!!", "%%", "the", "İ", "σ", " ", "a", "aaaa", "👍🏽", "zq",
    ] {
        let pattern = search.replace('%', "\\%");
        for (person, viewer) in [(None, 0), (Some(&ann), ann.id), (Some(&bob), bob.id)] {
            let expected = "
                select id from posts
                where title ilike '%' || $1 || '%' and (is_published or owner_id = $2)
                order by created_at desc, id desc";
            let expected = world.rows(expected, &[&pattern, &viewer]).await;
            let expected: Vec<i64> = expected.iter().map(|row| row.get(0)).collect();
            for limit in [3, 100] {
                let search = utf8_percent_encode(search, NON_ALPHANUMERIC);
                let found = walk(
                    &world,
                    person,
                    &format!("/posts/?search={search}&limit={limit}"),
                )
                .await;
                assert_eq!(found, expected, "{search} {limit}");
            }
            let skipped = format!(
                "/posts/?search={}&skip=2&limit=5",
                utf8_percent_encode(search, NON_ALPHANUMERIC)
            );
            let (found, _) = page(&world, person, &skipped).await;
            let expected: Vec<_> = expected.into_iter().skip(2).take(5).collect();
            assert_eq!(found, expected, "{search}");
        }
    }
}

/// Also beyond the newest posts that a search looks through, and for the empty text, which every title holds.
#[tokio::test]
async fn a_search_skips_as_many_as_asked() {
    let world = World::new(Door::Event).await;
    let (ann, bob) = (world.join("ann").await, world.join("bob").await);
    fill(&world, &ann, &bob).await;
    for search in ["", "·", "a", "猫"] {
        for (person, viewer) in [(None, 0_i64), (Some(&ann), ann.id)] {
            for skip in [0_i64, 7, 199, 200, 250, 10_000] {
                let expected = "
                    select id from posts
                    where title ilike '%' || $1 || '%' and (is_published or owner_id = $2)
                    order by created_at desc, id desc limit 5 offset $3";
                let expected = world.rows(expected, &[&search, &viewer, &skip]).await;
                let expected: Vec<i64> = expected.iter().map(|row| row.get(0)).collect();
                let text = utf8_percent_encode(search, NON_ALPHANUMERIC);
                let target = format!("/posts/?search={text}&skip={skip}&limit=5");
                let (found, _) = page(&world, person, &target).await;
                assert_eq!(found, expected, "{target}");
            }
        }
    }
}

/// However many posts there are: rows are counted, which are what a search takes its time for.
#[tokio::test]
async fn a_search_reads_about_what_it_shows() {
    let mut world = World::new(Door::Event).await;
    let (ann, bob) = (world.join("ann").await, world.join("bob").await);
    // One post a minute, every tenth a draft of bob's; the words of the oldest and of the newer half differ.
    let insert = "
        insert into posts (title, content, is_published, created_at, owner_id)
        select format('post %s %s %s', md5(number::text), case when number > 4000 then 'recent' else 'ancient' end,
                      case when number = 1 then '日本 C++ !!! %% ж qzx' when number % 10 = 0 then '犬? zw' end),
               '', number % 10 <> 0, '2026-01-01T00:00:00Z'::timestamptz + number * interval '1 minute', $1
        from generate_series(1, 8000) as number";
    world.rows(insert, &[&bob.id]).await;
    for analyzed in [false, true] {
        if analyzed {
            world.rows("analyze", &[]).await;
        }
        for (search, found) in [
            // The oldest has these.
            ("日", 1),
            ("日本", 1),
            ("C++", 1),
            ("!!!", 1),
            ("%%", 1),
            ("ж", 1),
            ("qz", 1),
            ("qzx", 1),
            ("本 C", 1),
            ("日本 C++ !!! %% ж qzx", 1),
            // None has these.
            ("zq", 0),
            ("猫", 0),
            ("&&", 0),
            ("¿", 0),
            ("🔥", 0),
            ("\\", 0),
            ("_", 0),
            ("  ", 0),
            ("ancient recent", 0),
            // Only drafts of somebody else's.
            ("犬", 0),
            ("? z", 0),
            ("zw", 0),
            // Many, and most.
            ("7", 11),
            ("7a", 11),
            ("7a1", 11),
            ("e", 11),
            ("t ", 11),
            ("recent", 11),
            ("post", 11),
            (" ", 11),
        ] {
            let pattern = search
                .replace('\\', "\\\\")
                .replace('%', "\\%")
                .replace('_', "\\_");
            let transaction = world.sql.transaction().await.unwrap();
            let read = "
                select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'posts'";
            let before: i64 = transaction.query_one(read, &[]).await.unwrap().get(0);
            let find = "
                select count(*) from (
                    select from find_posts('%' || $1 || '%', $2, null, null, 11)
                    order by created_at desc, id desc limit 11) as page";
            let counted = transaction.query_one(find, &[&pattern, &ann.id]).await;
            let counted: i64 = counted.unwrap().get(0);
            let after: i64 = transaction.query_one(read, &[]).await.unwrap().get(0);
            let read = after - before;
            assert_eq!(counted, found, "{search}");
            assert!(read <= 500, "{search} reads {read} posts");
        }
    }
}

/// Each title several times, at times from seconds to centuries ago, some as drafts, and before all of them more
/// posts without any than a search looks through.
async fn fill(world: &World, ann: &Person, bob: &Person) {
    let insert = "
        insert into posts (title, content, is_published, created_at, owner_id)
        select title, '', (place + copy) % 5 <> 0,
               case copy when 1 then '2025-12-31T23:00:00Z'::timestamptz
                         when 2 then '0001-01-01T00:00:00Z BC'
                         else '2026-01-01T00:00:00Z'::timestamptz
                              - (place * 7 % 5 + 1) * interval '1 second' * pow(16, copy - 3) end,
               case (place + copy) % 2 when 0 then $2::bigint else $3 end
        from unnest($1::text[]) with ordinality as titles (title, place), generate_series(1, 11) as copy
        union all
        select '·', '', number % 3 <> 0, '2026-02-01T00:00:00Z'::timestamptz + number % 7 * interval '1 second', $2
        from generate_series(1, 400) as number";
    world
        .rows(insert, &[&TITLES.as_slice(), &ann.id, &bob.id])
        .await;
}

/// The ids of all pages.
async fn walk(world: &World, person: Option<&Person>, first: &str) -> Vec<i64> {
    let (mut ids, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(target) = next {
        let (found, more) = page(world, person, &target).await;
        ids.extend(found);
        next = more;
    }
    ids
}

/// The ids of one page, and where the next one is.
async fn page(world: &World, person: Option<&Person>, target: &str) -> (Vec<i64>, Option<String>) {
    let request = Request::get(target);
    let request = match person {
        Some(person) => request.bearer(&person.access_token),
        None => request,
    };
    let answer = world.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list: Vec<Value> = serde_json::from_value(answer.json()).unwrap();
    let ids = list
        .iter()
        .map(|entry| entry["Post"]["id"].as_i64().unwrap());
    (ids.collect(), answer.next_page(target))
}
