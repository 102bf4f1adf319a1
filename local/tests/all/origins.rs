//! `CORS_ORIGINS`: what a browser can send is taken, and what it never sends is refused.

use local::settings::Origins;

fn refusal(setting: &str) -> String {
    Origins::parse(setting).expect_err(setting).to_string()
}

#[test]
fn origins_are_taken_as_a_browser_sends_them() {
    assert_eq!(Origins::parse("*").unwrap(), Origins::Any);
    assert_eq!(Origins::parse(" * ").unwrap(), Origins::Any);
    for origin in [
        "https://example.com",
        "http://localhost:3000",
        "http://localhost",
        "https://a.example:8443",
        "http://a.example:443",
        "https://a.example:80",
        "http://127.0.0.1:5173",
        "http://[::1]:3000",
        "https://xn--mnchen-3ya.example",
        "https://under_score.example",
        "capacitor://localhost",
        "moz-extension://5b2d8c4e-0c2d-4c4f-9a9e-0d8a5c0e1f2a",
        "tauri://localhost:1430",
    ] {
        let one = Origins::Listed(vec![origin.parse().unwrap()]);
        assert_eq!(Origins::parse(origin).unwrap(), one, "{origin}");
    }
    let two = Origins::Listed(vec![
        "https://a.example".parse().unwrap(),
        "https://b.example".parse().unwrap(),
    ]);
    assert_eq!(
        Origins::parse("https://a.example , https://b.example").unwrap(),
        two
    );
}

#[test]
fn what_no_browser_sends_is_refused_with_what_it_would_send() {
    for (origin, sent) in [
        ("https://a.example/", "https://a.example"),
        ("https://a.example/app", "https://a.example"),
        ("https://a.example?x=1", "https://a.example"),
        ("https://a.example#top", "https://a.example"),
        ("HTTPS://a.example", "https://a.example"),
        ("https://A.example", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("https://a.example:", "https://a.example"),
        ("https://a.example:08443", "https://a.example:8443"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("http://127.1", "http://127.0.0.1"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("https:///a.example", "https://a.example"),
        ("capacitor://localhost/", "capacitor://localhost"),
        ("Capacitor://localhost", "capacitor://localhost"),
    ] {
        let expected = format!(
            "CORS_ORIGINS holds {origin:?}, which no browser sends; it would send {sent:?}."
        );
        assert_eq!(refusal(origin), expected);
        assert_eq!(refusal(&format!("https://b.example,{origin}")), expected);
    }
}

#[test]
fn what_is_no_origin_is_refused() {
    for setting in ["", ",", "https://a.example,", ",https://a.example"] {
        assert_eq!(
            refusal(setting),
            "CORS_ORIGINS must be origins with commas between them, or *."
        );
    }
    for setting in ["*,https://a.example", "https://a.example, *", "*,*"] {
        assert_eq!(
            refusal(setting),
            "CORS_ORIGINS allows every origin with *, which must then stand alone."
        );
    }
    for setting in [
        "https://*.example.com",
        "*.example.com",
        "https://a.example:*",
        "http*://a.example",
    ] {
        assert_eq!(
            refusal(setting),
            format!(
                "CORS_ORIGINS holds {setting:?}, and * cannot stand for a part of an origin: list each one."
            )
        );
    }
    for setting in [
        "example.com",
        "localhost:3000",
        "//example.com",
        "https:/example.com",
        "https//a.example",
        "\u{1}",
    ] {
        assert_eq!(
            refusal(setting),
            format!(
                "CORS_ORIGINS holds {setting:?}, which is not an origin: an origin begins with http:// or https://."
            )
        );
    }
    assert_eq!(
        refusal("null"),
        "CORS_ORIGINS must not hold null: any page can have that origin, by a sandboxed frame."
    );
    for setting in [
        "https://",
        "https://a b.example",
        "https://a.example:99999",
        "https://[::1",
        "https://a<b",
    ] {
        assert_eq!(
            refusal(setting),
            format!("CORS_ORIGINS holds {setting:?}, which is not an origin.")
        );
    }
    for scheme in ["file", "ws", "wss"] {
        assert_eq!(
            refusal(&format!("{scheme}://a.example")),
            format!(
                "CORS_ORIGINS holds an origin that begins with {scheme}://, which no page has."
            )
        );
    }
    let sentence = refusal("https://ann:hunter2@a.example");
    assert_eq!(
        sentence,
        "CORS_ORIGINS holds an origin with a user in it, which no browser sends; it would send \"https://a.example\"."
    );
}
