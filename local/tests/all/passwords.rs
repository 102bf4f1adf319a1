//! Passwords at sign-up: how long, kept how, and repeated nowhere.

use serde_json::{Value, json};

use crate::world::{Answer, PASSWORD, Request, credentials};

const SECRET: &str = "Sesame-Öffne-Dich";

#[track_caller]
fn assert_unrepeated(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    let whole = format!("{:?} {}", answer.headers, answer.text());
    for part in ["Sesame", "ffne", "Dich", "12345678987"] {
        assert!(!whole.contains(part), "{whole}");
    }
}

at_both_doors! {
    async fn a_password_has_8_to_128_code_points(world: World) {
        // One byte, two bytes, four bytes, and a mark that no one would count as a character.
        for (number, letter) in ["p", "ö", "😀", "\u{301}"].iter().enumerate() {
            for (length, kind, context) in [
                (7, "string_too_short", json!({ "min_length": 8 })),
                (129, "string_too_long", json!({ "max_length": 128 })),
            ] {
                let answer = world
                    .sign_up("ann@example.com", &letter.repeat(length))
                    .await;
                let (least_or_most, limit) = if length < 8 {
                    ("least", 8)
                } else {
                    ("most", 128)
                };
                answer.assert(
                    422,
                    &json!({ "detail": [{
                    "type": kind,
                    "loc": ["body", "password"],
                    "msg": format!("String should have at {least_or_most} {limit} characters"),
                    "input": null,
                    "ctx": context,
                }] }),
                );
            }
            for length in [8, 128] {
                let email = format!("ann{number}.{length}@example.com");
                // A letter alone would be among the common ones.
                let password = format!("?!{}", letter.repeat(length - 2));
                assert_eq!(world.sign_up(&email, &password).await.status, 201);
                assert_eq!(world.log_in(&email, &password).await.status, 200);
            }
        }
        assert_eq!(world.number("select count(*) from users").await, 8);
    }

    async fn a_password_is_used_exactly_as_received(world: World) {
        let long = format!("{}!", "l".repeat(127));
        let others = [
            (
                "  spaces around \t",
                vec!["spaces around", "  spaces around", "spaces around \t"],
            ),
            ("Case Matters", vec!["case matters", "CASE MATTERS"]),
            (
                "caf\u{e9}-caf\u{e9}",
                vec!["cafe\u{301}-cafe\u{301}", "cafe-cafe"],
            ),
            ("\u{ff50}assword-wide", vec!["password-wide"]),
            ("zero\u{200b}width", vec!["zerowidth"]),
            ("        ", vec!["         "]),
            ("line\r\nbreaks", vec!["line\nbreaks"]),
            (
                "plus+and&equals=%41",
                vec!["plus and&equals=%41", "plus+and&equals=A"],
            ),
            (&long, vec![&long[..127], &long[..72]]),
        ];
        for (number, (password, wrong)) in others.iter().enumerate() {
            let email = format!("ann{number}@example.com");
            assert_eq!(world.sign_up(&email, password).await.status, 201);
            assert_eq!(
                world.log_in(&email, password).await.status,
                200,
                "{password:?}"
            );
            for wrong in wrong {
                let answer = world.log_in(&email, wrong).await;
                assert_eq!(answer.status, 401, "{wrong:?} for {password:?}");
            }
        }
    }

    async fn a_password_is_stored_as_argon2id_with_a_salt_of_its_own(world: World) {
        world.join("ann").await;
        world.join("bob").await;
        let rows = world
            .rows("select password_hash from users order by id", &[])
            .await;
        let hashes: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        for hash in &hashes {
            let parts: Vec<_> = hash.split('$').collect();
            assert_eq!(parts[..4], ["", "argon2id", "v=19", "m=19456,t=2,p=1"]);
            // 16 bytes of salt and 32 of hash, in base64.
            assert_eq!((parts.len(), parts[4].len(), parts[5].len()), (6, 22, 43));
        }
        assert_ne!(hashes[0].split('$').nth(4), hashes[1].split('$').nth(4));
        assert_ne!(hashes[0].split('$').nth(5), hashes[1].split('$').nth(5));
    }

    async fn no_answer_ever_repeats_a_password(world: World) {
        assert_unrepeated(&world.sign_up("ann@example.com", SECRET).await, 201);
        assert_unrepeated(&world.sign_up("ann@example.com", SECRET).await, 409);
        let long = SECRET.repeat(10);
        let in_vain: [(Value, &str); 9] = [
            (json!({ "password": SECRET }), "missing"),
            (json!({ "email": "ann", "password": SECRET }), "value_error"),
            (json!({ "email": 1, "password": SECRET }), "string_type"),
            (
                json!({ "email": "a@example.com", "password": "Sesame" }),
                "string_too_short",
            ),
            (
                json!({ "email": "a@example.com", "password": long }),
                "string_too_long",
            ),
            (
                json!({ "email": "a@example.com", "password": format!("{SECRET}\0") }),
                "value_error",
            ),
            (
                json!({ "email": "a@example.com", "password": [SECRET] }),
                "string_type",
            ),
            (
                json!({ "email": "a@example.com", "password": { "is": SECRET } }),
                "string_type",
            ),
            (
                json!({ "email": "a@example.com", "password": 12_345_678_987_i64 }),
                "string_type",
            ),
        ];
        for (body, kind) in in_vain {
            let answer = world.post("/users/", body).await;
            assert_unrepeated(&answer, 422);
            assert_eq!(answer.json()["detail"][0]["type"], kind);
        }
        for text in [
            format!(r#"{{"email":"a@example.com","password":"{SECRET}""#),
            format!(r#"{{"password":"{SECRET}","password":"{SECRET}"}}"#),
            format!(r#"["{SECRET}"]"#),
            format!(r#""{SECRET}""#),
            SECRET.to_owned(),
        ] {
            assert_unrepeated(
                &world.send(Request::post("/users/").json_text(&text)).await,
                422,
            );
        }
        assert_unrepeated(
            &world.send(credentials("ann@example.com", &long)).await,
            422,
        );
        assert_unrepeated(
            &world.send(credentials("bob@example.com", SECRET)).await,
            401,
        );
        for form in [
            "password=Sesame",
            "username=a&password=Sesame&password=Sesame",
            "username=a&password=Sesame%FF",
        ] {
            assert_unrepeated(
                &world.send(Request::post("/auth/login").form(form)).await,
                422,
            );
        }
        assert_ne!(SECRET, PASSWORD);
    }
}
