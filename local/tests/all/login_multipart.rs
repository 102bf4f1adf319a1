//! The form of a login as `multipart/form-data`, which `new FormData()` and many tools send.

use serde_json::{Value, json};

use crate::{
    login::assert_refused,
    world::{Answer, Door, PASSWORD, Request, World, pair},
};

const TYPE: &str = "multipart/form-data; boundary=b0undary";

fn login(content_type: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::post("/auth/login")
        .header("content-type", content_type)
        .body(body)
}

/// A part with these headers, from its delimiter to its last byte.
fn part(headers: &str, content: &str) -> String {
    format!("--b0undary\r\n{headers}\r\n\r\n{content}\r\n")
}

fn field(name: &str, content: &str) -> String {
    part(
        &format!("Content-Disposition: form-data; name=\"{name}\""),
        content,
    )
}

fn form(parts: &[String]) -> String {
    format!("{}--b0undary--\r\n", parts.concat())
}

fn anns() -> [String; 2] {
    [
        field("username", "ann@example.com"),
        field("password", PASSWORD),
    ]
}

/// Asserts that the form was no form, and that the answer says why.
#[track_caller]
fn assert_malformed(answer: &Answer, reason: &str) {
    let reason = format!("The form is not multipart/form-data: {reason}");
    answer.assert(
        422,
        &json!({ "detail": [{
            "type": "value_error",
            "loc": ["body"],
            "msg": format!("Value error, {reason}"),
            "input": null,
            "ctx": { "reason": reason },
        }] }),
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

fn place(name: &str) -> Value {
    json!(["body", name])
}

at_both_doors! {
    async fn a_form_in_parts_opens_a_session(world: World) {
        world.join("ann").await;
        let quoted = "multipart/form-data; boundary=\"b0undary\"";
        for content_type in [
            TYPE,
            quoted,
            "Multipart/Form-Data; charset=utf-8; BOUNDARY=b0undary",
            "multipart/form-data;boundary=b0undary;charset=UTF-8",
            "multipart/form-data; boundary = \"b0\\undary\" ; x=\"a;b\"",
        ] {
            let answer = world.send(login(content_type, form(&anns()))).await;
            assert_eq!(answer.status, 200, "{content_type} {}", answer.text());
            assert!(world.accepts(&pair(&answer).0).await);
        }
        let [username, password] = anns();
        for parts in [
            vec![password.clone(), username.clone()],
            vec![field("grant_type", "password"), username.clone(), password.clone()],
            vec![field("grant_type", ""), username.clone(), password.clone()],
            vec![username.clone(), field("client_id", ""), field("client_id", "x"), password.clone()],
        ] {
            assert_eq!(world.send(login(TYPE, form(&parts))).await.status, 200, "{parts:?}");
        }
        let wrong = [username, field("password", "wrong")];
        assert_refused(&world.send(login(TYPE, form(&wrong))).await);
    }

    async fn a_part_is_text_exactly_as_it_stands(world: World) {
        let password = " plus+%20&=é😀\r\n--b0undar\r\n\r\n\"--";
        assert_eq!(world.sign_up("ann@example.com", password).await.status, 201);
        let disposition = "Content-Disposition: form-data; name=password";
        for headers in [
            disposition.to_owned(),
            disposition.to_ascii_lowercase(),
            "content-disposition:form-data;name=\"pass\\word\"".to_owned(),
            format!("X-Other: 1\r\n{disposition}"),
            format!("{disposition}\r\nContent-Type: text/plain"),
            format!("{disposition}\r\nContent-Type: text/plain; charset=utf-8"),
            format!("{disposition}\r\nContent-Type: text/plain;charset=\"UTF-8\"\r\nContent-Transfer-Encoding: 8bit"),
        ] {
            let parts = [field("username", "ann@example.com"), part(&headers, password)];
            let answer = world.send(login(TYPE, form(&parts))).await;
            assert_eq!(answer.status, 200, "{headers} {}", answer.text());
        }
        // What some Java clients say of every text is no harm where it is ASCII.
        let latin = part(
            "Content-Disposition: form-data; name=\"username\"\r\nContent-Type: text/plain; charset=ISO-8859-1",
            "ann@example.com",
        );
        let parts = [latin, field("password", password)];
        assert_eq!(world.send(login(TYPE, form(&parts))).await.status, 200);
    }

    async fn preamble_epilogue_and_padding_are_for_nobody(world: World) {
        world.join("ann").await;
        let body = form(&anns());
        let padded = body.replace("--b0undary\r\n", "--b0undary \t\r\n");
        for body in [
            format!("This is a form.\r\n{body}"),
            format!("\r\n{body}"),
            format!("--other\r\n{body}"),
            format!("{body}The form ends above.\r\n--b0undary\r\n"),
            body.trim_end().to_owned(),
            padded,
        ] {
            let answer = world.send(login(TYPE, body.clone())).await;
            assert_eq!(answer.status, 200, "{body:?} {}", answer.text());
        }
    }

    async fn files_are_no_text(world: World) {
        world.join("ann").await;
        let [username, password] = anns();
        let file = |rest: &str| part(&format!("Content-Disposition: form-data; {rest}"), PASSWORD);
        for (parts, problems) in [
            (vec![username.clone(), file("name=\"password\"; filename=\"p.txt\"")], vec!["password"]),
            (vec![username.clone(), file("filename=p.txt; name=password")], vec!["password"]),
            (vec![username.clone(), file("name=\"password\"; filename=\"\"")], vec!["password"]),
            (vec![username.clone(), file("name=\"password\"; filename*=UTF-8''p.txt")], vec!["password"]),
            (vec![username.clone(), file("name=\"password\"\r\nContent-Type: application/octet-stream")], vec!["password"]),
            (vec![username.clone(), file("name=\"password\"\r\nContent-Type: application/json")], vec!["password"]),
            (vec![username.clone(), file("name=\"password\"\r\nContent-Type: multipart/mixed; boundary=y")], vec!["password"]),
            (vec![file("name=\"username\"; filename=\"u\""), file("name=\"password\"; filename=\"p\"")], vec!["username", "password"]),
            (vec![username.clone(), password.clone(), file("name=\"avatar\"; filename=\"a.png\"")], vec!["avatar"]),
            (vec![username.clone(), password.clone(), file("name=\"grant_type\"; filename=\"g\"")], vec!["grant_type"]),
            (vec![username.clone(), password.clone(), file("name=\"password\"; filename=\"p\"")], vec!["password"]),
        ] {
            let answer = world.send(login(TYPE, form(&parts))).await;
            let problems: Vec<_> = problems.into_iter().map(|name| ("value_error", place(name))).collect();
            answer.assert_problems(&problems);
            let problem = &answer.json()["detail"][0];
            assert_eq!(problem["ctx"], json!({ "reason": "The form takes text and no files" }));
            assert_eq!(problem["input"], Value::Null);
            assert!(!answer.text().contains(PASSWORD));
        }
        assert_eq!(world.sessions().await, 1);
    }

    async fn a_part_stands_once_and_is_unicode(world: World) {
        world.join("ann").await;
        let [username, password] = anns();
        let body = ("value_error", json!(["body"]));
        let missing = |name: &'static str| ("missing", place(name));
        let both = vec![missing("username"), missing("password")];
        let encoded = |header: &str| {
            part(&format!("Content-Disposition: form-data; name=\"password\"\r\n{header}"), "b3BhbA==")
        };
        for (parts, problems) in [
            (vec![username.clone(), password.clone(), username.clone()], vec![("value_error", place("username"))]),
            (vec![username.clone(), password.clone(), password.clone()], vec![("value_error", place("password"))]),
            (vec![username.clone(), password.clone(), field("password", "")], vec![("value_error", place("password"))]),
            (vec![username.clone(), field("password", "a\0b")], vec![("value_error", place("password"))]),
            (vec![username.clone(), password.clone(), field("x", "\0")], vec![body.clone()]),
            (vec![username.clone(), encoded("Content-Transfer-Encoding: base64")], vec![missing("password"), body.clone()]),
            (vec![username.clone(), encoded("Content-Transfer-Encoding: quoted-printable")], vec![missing("password"), body.clone()]),
            (vec![field("username", ""), field("password", "")], both.clone()),
            (vec![field("Username", "ann@example.com"), field("pass", "x")], both.clone()),
            (vec![], both.clone()),
        ] {
            let answer = world.send(login(TYPE, form(&parts))).await;
            assert_eq!(answer.status, 422, "{parts:?}");
            answer.assert_problems(&problems);
        }
        // Neither UTF-8 nor ASCII.
        for content_type in ["", "\r\nContent-Type: text/plain; charset=iso-8859-1"] {
            let headers = format!("Content-Disposition: form-data; name=\"password\"{content_type}");
            let mut latin = form(&[username.clone(), part(&headers, "caf~")]).into_bytes();
            let tilde = latin.iter().position(|byte| *byte == b'~').unwrap();
            latin[tilde] = 0xe9;
            let answer = world.send(login(TYPE, latin)).await;
            answer.assert_problems(&[missing("password"), body.clone()]);
        }
        // No body at all is no part.
        world.send(login(TYPE, "")).await.assert_problems(&both);
        assert_eq!(world.sessions().await, 1);
    }

    async fn the_limits_are_those_of_the_form(world: World) {
        world.join("ann").await;
        let too_long = [field("username", &"u".repeat(321)), field("password", &"p".repeat(129))];
        world.send(login(TYPE, form(&too_long))).await.assert_problems(&[
            ("string_too_long", place("username")),
            ("string_too_long", place("password")),
        ]);
        let grant = [&anns()[..], &[field("grant_type", "client_credentials")]].concat();
        let answer = world.send(login(TYPE, form(&grant))).await;
        answer.assert_problems(&[("string_pattern_mismatch", place("grant_type"))]);
        let longest = [field("username", &"😀".repeat(320)), field("password", &"😀".repeat(128))];
        assert_refused(&world.send(login(TYPE, form(&longest))).await);

        let filled = |bytes: usize| {
            let short = form(&[&anns()[..], &[field("x", "")]].concat()).len();
            form(&[&anns()[..], &[field("x", &"x".repeat(bytes - short))]].concat())
        };
        assert_eq!(world.send(login(TYPE, filled(8 * 1024))).await.status, 200);
        let answer = world.send(login(TYPE, filled(8 * 1024 + 1))).await;
        answer.assert_detail(413, "Payload Too Large");
    }

    async fn what_is_no_form_is_refused_with_a_reason(world: World) {
        world.join("ann").await;
        let good = form(&anns());
        let named = "Content-Disposition: form-data; name=\"username\"";
        let with = |headers: &str| form(&[part(headers, "ann@example.com")]);
        let no_boundary = "its content type has no boundary";
        let long = "b".repeat(71);
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=\"b0undary",
            "multipart/form-data; boundary=b0undary; boundary=b0undary",
            &format!("multipart/form-data; boundary={long}"),
        ] {
            assert_malformed(&world.send(login(content_type, good.clone())).await, no_boundary);
        }
        let unended = "its last delimiter is missing";
        for (body, reason) in [
            ("username=ann%40example.com".to_owned(), "it has no part"),
            (good.replace("b0undary", "other"), "it has no part"),
            // A delimiter begins a line.
            (format!("x{good}").replace("\r\n--", "\r\nx--"), "it has no part"),
            (good.replace("--b0undary--\r\n", ""), unended),
            (good[..good.len() - 20].to_owned(), unended),
            ("--b0undary\r\n".to_owned(), unended),
            (good.replace("\r\n", "\n"), "a delimiter does not end its line"),
            (good.replace('\n', ""), "a delimiter does not end its line"),
            (good.replace("--b0undary\r\n", "--b0undary-\r\n"), "a delimiter does not end its line"),
            (good.replacen("\r\n\r\n", "\r\n", 2), "a part has no headers"),
            (with("no header"), "a header has no colon"),
            (with(&format!("{named}\r\n{named}")), "a header stands twice in a part"),
            (with("Content-Disposition: attachment; name=\"username\""), "a part is not form-data"),
            (with("Content-Type: text/plain"), "a part is not form-data"),
            (with("Content-Disposition: form-data"), "a part has no name"),
            (with("Content-Disposition: form-data; name"), "a part has no name"),
            (with("Content-Disposition: form-data; name=\"username"), "a part has no name"),
            (with("Content-Disposition: form-data; name=a; name=b"), "a part has no name"),
            (with("Content-Disposition: form-data; name=\"a\"b"), "a part has no name"),
        ] {
            let answer = world.send(login(TYPE, body.clone())).await;
            assert_eq!(answer.status, 422, "{body:?} {}", answer.text());
            assert_malformed(&answer, reason);
        }
        assert_eq!(world.sessions().await, 1);
    }
}

// A gateway passes what it takes for binary in base64, and forms in parts are among that.
#[tokio::test]
async fn a_form_in_base64_is_the_same_form() {
    let world = World::new(Door::Base64Event).await;
    world.join("ann").await;
    pair(&world.send(login(TYPE, form(&anns()))).await);
    assert_malformed(
        &world.send(login(TYPE, "--b0undary\r\n")).await,
        "its last delimiter is missing",
    );
}
