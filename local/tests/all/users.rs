//! Accounts: sign up once, be looked up by anyone.

use serde_json::{Value, json};

use crate::world::{Answer, PASSWORD, Request, token};

fn new_user(email: &str) -> Value {
    json!({ "email": email, "password": PASSWORD })
}

fn taken(email: &str) -> String {
    format!("An account with email '{email}' already exists")
}

/// Asserts what every answer about accounts has.
#[track_caller]
fn assert_private(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

at_both_doors! {
    async fn whoever_signs_up_gets_an_account_and_sees_it(world: World) {
        let answer = world.sign_up("Ann@Example.com", PASSWORD).await;
        let row = "select id, email, to_char(created_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                          created_at between now() - interval '1 minute' and now()
                   from users";
        let rows = world.rows(row, &[]).await;
        let [row] = &rows[..] else {
            panic!("{} users", rows.len())
        };
        let (id, created_at): (i64, String) = (row.get(0), row.get(2));
        let shown_at = created_at.replace(".000000Z", "Z");
        let account = json!({ "id": id, "email": "Ann@example.com", "created_at": shown_at });
        answer.assert(201, &account);
        assert_private(&answer);
        assert_eq!(row.get::<_, &str>(1), "Ann@example.com");
        assert!(row.get::<_, bool>(3));

        let location = answer.location("/users/");
        assert_eq!(location, format!("/users/{id}"));
        let seen = json!({ "id": id, "email": "A***@example.com", "created_at": shown_at });
        world.get(&location).await.assert(200, &seen);
        assert_eq!(world.log_in("Ann@Example.com", PASSWORD).await.status, 200);
    }

    async fn an_address_has_one_account_whatever_case_it_is_typed_in(world: World) {
        assert_eq!(
            world.sign_up("Ann.Lee@example.com", PASSWORD).await.status,
            201
        );
        let before = world.rows("select users::text from users", &[]).await;
        for (typed, shown) in [
            ("Ann.Lee@example.com", "Ann.Lee@example.com"),
            ("ann.lee@example.com", "ann.lee@example.com"),
            ("ANN.LEE@EXAMPLE.COM", "ANN.LEE@example.com"),
            (" ann.lee@Example.Com ", "ann.lee@example.com"),
        ] {
            let answer = world.sign_up(typed, "another-lantern-43").await;
            answer.assert_detail(409, &taken(shown));
            assert_private(&answer);
        }
        let after = world.rows("select users::text from users", &[]).await;
        assert_eq!(after.len(), 1);
        assert_eq!(after[0].get::<_, String>(0), before[0].get::<_, String>(0));
    }

    // Rust, PostgreSQL and its locales disagree on the case of all other letters.
    async fn only_ascii_letters_are_the_same_in_both_cases(world: World) {
        for email in [
            "öde@example.com",
            "Öde@example.com",
            "ıkı@example.com",
            "iki@example.com",
        ] {
            assert_eq!(world.sign_up(email, PASSWORD).await.status, 201, "{email}");
        }
        world
            .sign_up("IKI@example.com", PASSWORD)
            .await
            .assert_detail(409, &taken("IKI@example.com"));
        assert_eq!(world.number("select count(*) from users").await, 4);
    }

    async fn of_many_who_take_an_address_at_once_one_gets_it(world: World) {
        let addresses = [
            "ann@example.com",
            "Ann@example.com",
            "ANN@EXAMPLE.COM",
            "aNN@example.com",
        ];
        let sign_ups =
            (0..20).map(|number| Request::post("/users/").json(&new_user(addresses[number % 4])));
        let answers = world.send_at_once(sign_ups).await;
        let (good, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 201);
        assert_eq!((good.len(), refused.len()), (1, 19));
        for answer in refused {
            assert_eq!(answer.status, 409, "{}", answer.text());
            let detail = answer.json()["detail"]
                .as_str()
                .unwrap()
                .to_ascii_lowercase();
            assert_eq!(detail, taken("ann@example.com").to_ascii_lowercase());
        }
        let rows = world.rows("select id, email from users", &[]).await;
        assert_eq!(rows.len(), 1);
        let account = good[0].json();
        assert_eq!(account["id"], rows[0].get::<_, i64>(0));
        assert_eq!(account["email"], rows[0].get::<_, &str>(1));
    }

    async fn nothing_but_address_and_password_is_taken_from_a_sign_up(world: World) {
        let mut sign_up = new_user("ann@example.com");
        for (name, value) in [
            ("id", json!(4711)),
            ("created_at", json!("2000-01-01T00:00:00Z")),
            (
                "password_hash",
                json!("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAA"),
            ),
            ("role", json!("admin")),
            ("is_admin", json!(true)),
            ("owner_id", json!([{ "deep": null }])),
            ("Email", json!("eve@example.com")),
        ] {
            sign_up[name] = value;
        }
        let answer = world.post("/users/", sign_up).await;
        assert_eq!(answer.status, 201);
        let account = answer.json();
        let mut names: Vec<_> = account.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["created_at", "email", "id"]);
        let row = &world.rows("select users::text from users", &[]).await[0];
        let row: String = row.get(0);
        for foreign in ["4711", "2000-01-01", "m=8,t=1", "admin", "eve"] {
            assert!(!row.contains(foreign), "{row}");
        }
        assert_eq!(world.log_in("ann@example.com", PASSWORD).await.status, 200);
    }

    async fn every_problem_of_a_sign_up_is_told_at_once(world: World) {
        let email = |kind: &'static str| (kind, json!(["body", "email"]));
        let password = |kind: &'static str| (kind, json!(["body", "password"]));
        for (body, problems) in [
            (json!({}), [email("missing"), password("missing")]),
            (
                json!({ "EMAIL": "a@example.com" }),
                [email("missing"), password("missing")],
            ),
            (
                json!({ "email": null, "password": null }),
                [email("string_type"), password("string_type")],
            ),
            (
                json!({ "email": 1, "password": 12_345_678 }),
                [email("string_type"), password("string_type")],
            ),
            (
                json!({ "email": ["a@example.com"], "password": true }),
                [email("string_type"), password("string_type")],
            ),
            (
                json!({ "email": "ann", "password": "short" }),
                [email("value_error"), password("string_too_short")],
            ),
            (
                json!({ "email": "a\0@example.com", "password": "lantern\0lantern" }),
                [email("value_error"), password("value_error")],
            ),
        ] {
            let answer = world.post("/users/", body).await;
            answer.assert_problems(&problems);
            assert_private(&answer);
        }
        assert_eq!(world.number("select count(*) from users").await, 0);
    }

    async fn an_address_is_whole_for_its_owner_and_masked_for_everyone_else(world: World) {
        let ann = world.join("ann").await;
        let bob = world.join("bob").await;
        let target = format!("/users/{}", ann.id);
        let old_token = token::sign(token::HEADER, &token::claims(ann.id, &json!({})));
        let answers = [
            (world.get(&target).await, ann.masked()),
            (
                world
                    .send(Request::get(&target).bearer(&bob.access_token))
                    .await,
                ann.masked(),
            ),
            (
                world
                    .send(Request::get(&target).bearer(&ann.access_token))
                    .await,
                ann.whole(),
            ),
            (
                world.send(Request::get(&target).bearer(&old_token)).await,
                ann.whole(),
            ),
        ];
        for (answer, expected) in &answers {
            answer.assert(200, expected);
            assert_private(answer);
        }
        assert_eq!(ann.masked()["email"], "a***@example.com");
    }

    async fn a_masked_address_shows_its_first_character_of_any_script_and_its_domain(world: World) {
        for (email, masked) in [
            ("a@example.com", "a***@example.com"),
            ("用户@例子.广告", "用***@例子.广告"),
            ("😀smile@bücher.example", "😀***@bücher.example"),
            ("Über.Öde@mail.example.com", "Ü***@mail.example.com"),
        ] {
            let answer = world.sign_up(email, PASSWORD).await;
            let mut account = answer.json();
            assert_eq!(
                (answer.status.as_u16(), &account["email"]),
                (201, &json!(email))
            );
            account["email"] = json!(masked);
            world
                .get(&answer.location("/users/"))
                .await
                .assert(200, &account);
        }
    }

    async fn an_id_that_nobody_has_is_a_404_however_large(world: World) {
        world.join("ann").await;
        for id in [
            "0",
            "-1",
            "2",
            "2147483648",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775809",
            "100000000000000000000000000000000000000000000000000001",
        ] {
            let answer = world.get(&format!("/users/{id}")).await;
            answer.assert_detail(404, &format!("User with id: {id} not found"));
            assert_private(&answer);
        }
    }

    async fn an_id_that_is_no_integer_is_a_422(world: World) {
        world.join("ann").await;
        for id in [
            "one",
            "1.5",
            "1e0",
            "0x1",
            "1-",
            "--1",
            "1%202",
            "%00",
            "1%00",
            "%FF",
            "%C2%BD",
            "true",
            "null",
            "%EF%BC%91",
        ] {
            let answer = world.get(&format!("/users/{id}")).await;
            assert_eq!(answer.status, 422, "{id}");
            answer.assert_problems(&[("int_parsing", json!(["path", "id"]))]);
            assert_private(&answer);
        }
    }
}
