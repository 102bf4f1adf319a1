//! E-mail addresses: which ones are taken for one, and what becomes of them.

use serde_json::json;

use crate::world::{Answer, PASSWORD, World};

/// An address of exactly so many bytes; `local` is all before the @-sign.
fn of_length(local: &str, bytes: usize) -> String {
    let mut address = format!("{local}@");
    while bytes - address.len() > 4 + 64 {
        address += &"d".repeat(63);
        address.push('.');
    }
    address += &"e".repeat(bytes - address.len() - 4);
    address += ".com";
    assert_eq!(address.len(), bytes);
    address
}

/// Asserts the whole answer to something that is no address.
#[track_caller]
fn assert_is_none(typed: &str, answer: &Answer) {
    assert_eq!(answer.status, 422, "{typed:?} {}", answer.text());
    answer.assert_problems(&[("value_error", json!(["body", "email"]))]);
    let body = answer.json();
    let problem = &body["detail"][0];
    let reason = problem["ctx"]["reason"].as_str().unwrap();
    assert_eq!(problem["msg"], format!("Value error, {reason}"));
    // What is too long to repeat is not repeated.
    if typed.len() > 256 {
        assert_eq!(problem["input"], json!(null));
    } else {
        assert_eq!(problem["input"], typed);
    }
}

impl World {
    async fn refuses_addresses(&self, addresses: &[&str]) {
        for typed in addresses {
            assert_is_none(typed, &self.sign_up(typed, PASSWORD).await);
        }
        assert_eq!(self.number("select count(*) from users").await, 0);
    }

    async fn takes_addresses(&self, addresses: &[(&str, &str)]) {
        for (typed, shown) in addresses {
            let answer = self.sign_up(typed, PASSWORD).await;
            assert_eq!(answer.status, 201, "{typed:?} {}", answer.text());
            assert_eq!(answer.json()["email"], *shown, "{typed:?}");
            let stored = "select count(*) from users where email = $1";
            assert_eq!(self.rows(stored, &[shown]).await[0].get::<_, i64>(0), 1);
        }
    }
}

at_both_doors! {
    async fn white_space_around_an_address_is_dropped_and_its_domain_lower_cased(world: World) {
        let addresses = [
            ("  ann@example.com", "ann@example.com"),
            ("\t\r\nbob@example.com \n", "bob@example.com"),
            ("\u{a0}\u{3000}cat@example.com\u{2003}", "cat@example.com"),
            ("Dan.LEE+Tag@EXAMPLE.Com", "Dan.LEE+Tag@example.com"),
        ];
        world.takes_addresses(&addresses).await;
    }

    async fn a_local_part_is_any_dot_atom_and_kept_as_typed(world: World) {
        let longest = format!("{}@example.com", "l".repeat(64));
        let letters = format!("{}@example.com", "ö".repeat(64));
        let addresses = [
            "1@example.com",
            "o'brien@example.com",
            "a-_b@example.com",
            "!#$%&'*+-/=?^_`{|}~@example.com",
            "null@example.com",
            "a@e.c",
            &longest,
            &letters,
        ];
        world
            .takes_addresses(&addresses.map(|address| (address, address)))
            .await;
    }

    async fn letters_of_every_script_make_an_address(world: World) {
        let addresses = [
            ("用户@例子.广告", "用户@例子.广告"),
            ("δοκιμή@παράδειγμα.ελ", "δοκιμή@παράδειγμα.ελ"),
            ("उपयोगकर्ता@उदाहरण.भारत", "उपयोगकर्ता@उदाहरण.भारत"),
            ("квіточка@пошта.укр", "квіточка@пошта.укр"),
            ("مستخدم@مثال.مصر", "مستخدم@مثال.مصر"),
            ("ผู้ใช้@ตัวอย่าง.ไทย", "ผู้ใช้@ตัวอย่าง.ไทย"),
            ("ñandú@example.com", "ñandú@example.com"),
            ("😀@example.com", "😀@example.com"),
        ];
        world.takes_addresses(&addresses).await;
    }

    async fn a_domain_has_one_form_however_it_is_written(world: World) {
        let addresses = [
            ("a@bücher.example", "a@bücher.example"),
            ("b@xn--bcher-kva.example", "b@bücher.example"),
            ("c@XN--BCHER-KVA.EXAMPLE", "c@bücher.example"),
            ("d@BÜCHER.Example", "d@bücher.example"),
            ("e@bu\u{308}cher.example", "e@bücher.example"),
            ("f@faß.example", "f@faß.example"),
            ("g@例え\u{3002}テスト.jp", "g@例え.テスト.jp"),
            ("h@\u{ff45}\u{ff58}ample.com", "h@example.com"),
            // A joiner stands where a script needs it.
            ("i@نامه\u{200c}ای.com", "i@نامه\u{200c}ای.com"),
        ];
        world.takes_addresses(&addresses).await;
        // It is the same domain, so it is the same account.
        for typed in ["a@xn--bcher-kva.example", "A@BU\u{308}CHER.example"] {
            let answer = world.sign_up(typed, PASSWORD).await;
            assert_eq!(answer.status, 409, "{typed:?}");
            assert_eq!(world.log_in(typed, PASSWORD).await.status, 200, "{typed:?}");
        }
    }

    async fn one_visible_address_is_one_account_however_it_is_composed(world: World) {
        let addresses = [
            // Typed, and as it is stored: é, two marks in either order, Hangul, and three that compose to nothing.
            ("re\u{301}sume\u{301}@example.com", "r\u{e9}sum\u{e9}@example.com"),
            ("r\u{e9}sume@example.com", "r\u{e9}sume@example.com"),
            ("q\u{307}\u{323}@example.com", "q\u{323}\u{307}@example.com"),
            ("\u{1112}\u{1161}\u{11ab}@example.com", "\u{d55c}@example.com"),
            ("\u{212b}ngstr\u{f6}m@example.com", "\u{c5}ngstr\u{f6}m@example.com"),
            ("\u{2126}@example.com", "\u{3a9}@example.com"),
            ("\u{958}@example.com", "\u{915}\u{93c}@example.com"),
            // Equal to ASCII by Unicode: the grave accent, and the sign of the kelvin.
            ("o\u{1fef}brien@example.com", "o`brien@example.com"),
            ("\u{212a}elvin@example.com", "Kelvin@example.com"),
        ];
        world.takes_addresses(&addresses).await;
        for (typed, stored) in addresses {
            for again in [typed, stored] {
                let answer = world.sign_up(again, PASSWORD).await;
                answer.assert_detail(409, &format!("An account with email '{stored}' already exists"));
                assert_eq!(world.log_in(again, PASSWORD).await.status, 200, "{again:?}");
            }
        }
        let nfd = "\u{e9}@example.com".replace('\u{e9}', "e\u{301}");
        let nfc = "\u{e9}@example.com";
        for (first, second) in [(nfd.as_str(), nfc), (nfc, nfd.as_str())] {
            assert_eq!(world.sign_up(first, PASSWORD).await.status, 201, "{first:?}");
            assert_eq!(world.sign_up(second, PASSWORD).await.status, 409, "{second:?}");
            world.rows("delete from users where email = $1", &[&nfc]).await;
        }
        // A failed login is counted for the account, however the address is composed.
        for number in 0..10 {
            let typed = [addresses[0].0, addresses[0].1][number % 2];
            world.log_in(typed, "wrong").await.assert_detail(401, "Invalid credentials");
        }
        for typed in [addresses[0].0, addresses[0].1] {
            assert_eq!(world.log_in(typed, PASSWORD).await.status, 429, "{typed:?}");
        }
    }

    async fn an_address_is_checked_as_it_is_stored(world: World) {
        // The Greek question mark is a semicolon, the ideographic and the en quad are spaces.
        world
            .refuses_addresses(&[
                "ann\u{37e}lee@example.com",
                "\u{37e}@example.com",
                "ann\u{2000}lee@example.com",
                "ann\u{2001}lee@example.com",
                "e\u{301}\u{200b}@example.com",
            ])
            .await;
        // Sixty-four letters are sixty-four, though each was typed as two characters; one more is too long.
        let letters = |count: usize| format!("{}@example.com", "e\u{301}".repeat(count));
        let stored = format!("{}@example.com", "\u{e9}".repeat(64));
        world.takes_addresses(&[(&letters(64), &stored)]).await;
        assert_is_none(&letters(65), &world.sign_up(&letters(65), PASSWORD).await);
        // What composes to nothing counts as it is stored.
        let longer = format!("{}@example.com", "\u{958}".repeat(33));
        assert_is_none(&longer, &world.sign_up(&longer, PASSWORD).await);
    }

    async fn an_address_from_before_is_found_as_it_was_typed(world: World) {
        world.join("ann").await;
        // Neither is what sign-up would store: not in NFC, and in a domain that is nobody's.
        let from_before = ["e\u{301}@example.com", "\u{e9}@old.test"];
        let insert = "insert into users (email, password_hash)
                      select $1, password_hash from users where email = 'ann@example.com'";
        for email in from_before {
            world.rows(insert, &[&email]).await;
        }
        for typed in [
            from_before[0],
            "E\u{301}@EXAMPLE.com",
            from_before[1],
            "e\u{301}@old.test",
            "\u{e9}@OLD.test",
        ] {
            assert_eq!(world.log_in(typed, PASSWORD).await.status, 200, "{typed:?}");
        }
    }

    async fn an_address_has_at_most_254_bytes(world: World) {
        for local in ["l".repeat(64), "ö".repeat(64), "l".to_owned()] {
            let longest = of_length(&local, 254);
            world.takes_addresses(&[(&longest, &longest)]).await;
            for bytes in [255, 256, 300] {
                let typed = of_length(&local, bytes);
                assert_is_none(&typed, &world.sign_up(&typed, PASSWORD).await);
            }
        }
    }

    async fn what_has_no_local_part_and_domain_is_no_address(world: World) {
        world
            .refuses_addresses(&[
                "",
                " ",
                "@",
                "ann",
                "ann@",
                "@example.com",
                " @example.com",
                "example.com",
                "ann@ ",
                "ann@@example.com",
                "ann@lee@example.com",
                "ann.example.com",
                "ann\u{ff20}example.com",
            ])
            .await;
    }

    async fn display_names_comments_lists_and_links_are_no_addresses(world: World) {
        world
            .refuses_addresses(&[
                "Ann <ann@example.com>",
                "<ann@example.com>",
                "\"Ann\" <ann@example.com>",
                "ann@example.com (Ann)",
                "ann(comment)@example.com",
                "ann@(comment)example.com",
                "ann@example.com, bob@example.com",
                "ann@example.com;bob@example.com",
                "mailto:ann@example.com",
                "ann@example.com?subject=hi",
                "ann@example.com/home",
                "ann@example.com:25",
                "ann@example.com\r\nBcc: bob@example.com",
                "a,b@example.com",
                "a;b@example.com",
                "a:b@example.com",
                "a<b@example.com",
                "a[b@example.com",
            ])
            .await;
    }

    async fn a_quoted_or_escaped_local_part_is_no_address(world: World) {
        world
            .refuses_addresses(&[
                "\"ann\"@example.com",
                "\"ann lee\"@example.com",
                "\"ann@home\"@example.com",
                "\"\"@example.com",
                "\"ann@example.com",
                "ann\"@example.com",
                "ann\\@home@example.com",
                "ann\\ lee@example.com",
                "ann lee@example.com",
                "ann @example.com",
                "ann\tlee@example.com",
            ])
            .await;
    }

    async fn dots_stand_between_characters(world: World) {
        world
            .refuses_addresses(&[
                ".ann@example.com",
                "ann.@example.com",
                "ann..lee@example.com",
                ".@example.com",
                "...@example.com",
                "ann@.example.com",
                "ann@example.com.",
                "ann@example..com",
                "ann@.",
                "ann@..",
                "ann@example.com\u{3002}",
            ])
            .await;
    }

    async fn a_domain_is_a_host_name_with_a_dot(world: World) {
        let long_label = format!("ann@{}.com", "d".repeat(64));
        world
            .refuses_addresses(&[
                "ann@example",
                "ann@com",
                "ann@-example.com",
                "ann@example-.com",
                "ann@example.-com",
                "ann@exa_mple.com",
                "ann@exa mple.com",
                "ann@ example.com",
                "ann@exam!ple.com",
                "ann@exam%70le.com",
                "ann@xn--.com",
                "ann@xn--a.com",
                "ann@xn--bcher-kva",
                "ann@ab--cd.com",
                &long_label,
                "ann@☃.example",
                "ann@💩.example",
                "ann@exam\u{301}\u{2010}ple.com",
                "ann@\u{301}example.com",
                "ann@example.123",
                "ann@192.0.2.1",
                "ann@[192.0.2.1]",
                "ann@[IPv6:2001:db8::1]",
                "ann@[IPv6:::1]",
                "ann@[]",
                "ann@[example.com]",
                "ann@2001:db8::1",
            ])
            .await;
    }

    async fn a_domain_with_a_special_use_ending_is_nobodys(world: World) {
        for ending in ["test", "local", "localhost", "invalid", "onion", "arpa"] {
            let capital = ending.to_ascii_uppercase();
            let wide = ending
                .replace('o', "\u{ff4f}")
                .replace('i', "\u{ff49}")
                .replace('t', "\u{ff54}");
            let addresses = [
                format!("ann@{ending}"),
                format!("ann@example.{ending}"),
                format!("ann@mail.example.{ending}"),
                format!("ann@example.{capital}"),
                format!("ann@example.{wide}"),
                format!("ann@example\u{3002}{ending}"),
            ];
            world
                .refuses_addresses(&addresses.each_ref().map(String::as_str))
                .await;
        }
        let harmless = [
            "a@test.com",
            "b@local.example.com",
            "c@mylocal.example",
            "d@arpa.net",
        ];
        world
            .takes_addresses(&harmless.map(|address| (address, address)))
            .await;
    }

    async fn a_local_part_has_nothing_that_cannot_be_seen(world: World) {
        let invisible = [
            '\0',
            '\u{1}',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9f}',
            '\u{a0}',
            '\u{1680}',
            '\u{2003}',
            '\u{2028}',
            '\u{2029}',
            '\u{202f}',
            '\u{3000}',
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{206f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{34f}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{17b5}',
            '\u{180b}',
            '\u{180f}',
            '\u{3164}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{ffa0}',
            '\u{e0100}',
            '\u{e01ef}',
            '\u{2800}',
            '\u{e000}',
            '\u{fdd0}',
            '\u{ffff}',
            '\u{10fffd}',
            '\u{378}',
        ];
        for character in invisible {
            let typed = format!("an{character}n@example.com");
            world.refuses_addresses(&[&typed]).await;
        }
        // A mark with nothing before it would join what stands before the address.
        world
            .refuses_addresses(&["\u{301}ann@example.com", "\u{20dd}@example.com"])
            .await;
    }

    async fn a_domain_has_nothing_that_cannot_be_seen(world: World) {
        for character in [
            '\0', '\u{7f}', '\u{a0}', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2060}', '\u{feff}',
            '\u{fe0f}', '\u{3164}',
        ] {
            let typed = format!("ann@exa{character}mple.com");
            world.refuses_addresses(&[&typed]).await;
        }
    }
}
