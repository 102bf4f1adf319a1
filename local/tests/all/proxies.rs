//! Behind reverse proxies the client is who the last trusted one says it is, and nobody who only claims to be.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use local::proxies::TrustedProxies;

const PROXY: &str = "10.0.0.1";
const CLIENT: &str = "198.51.100.7";

fn client_of(proxies: &str, peer: &str, lines: &[(&'static str, &str)]) -> String {
    let proxies: TrustedProxies = proxies.parse().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    let peer: IpAddr = peer.parse().unwrap();
    proxies.client(peer, &headers).to_string()
}

fn by_x_forwarded_for(lines: &[&str]) -> String {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| ("x-forwarded-for", *line))
        .collect();
    client_of("10.0.0.0/8, 2001:db8:1::/48", PROXY, &lines)
}

fn by_forwarded(lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
    client_of("10.0.0.0/8, 2001:db8:1::/48", PROXY, &lines)
}

#[test]
fn the_last_address_that_is_no_proxys_is_the_client() {
    for (lines, client) in [
        (&["198.51.100.7"][..], CLIENT),
        (&["203.0.113.9, 198.51.100.7"], CLIENT),
        (&["203.0.113.9,198.51.100.7,10.0.0.2 , 10.9.9.9"], CLIENT),
        (&["203.0.113.9", "198.51.100.7", "10.0.0.2"], CLIENT),
        (&["10.0.0.3", "198.51.100.7"], CLIENT),
        (&["198.51.100.7:4711"], CLIENT),
        (&["::ffff:198.51.100.7"], CLIENT),
        (&["[::ffff:198.51.100.7]:80, ::ffff:10.0.0.2"], CLIENT),
        (&["2001:db8::7"], "2001:db8::7"),
        (&["198.51.100.7:_hidden"], CLIENT),
        (&["198.51.100.7:_"], PROXY),
        (&["198.51.100.7:"], PROXY),
        (&["198.51.100.7:http"], PROXY),
        (&["[198.51.100.7]"], PROXY),
        (&["[2001:db8::7"], PROXY),
        (&["[2001:db8::7]x"], PROXY),
        (&["[2001:db8::7]"], "2001:db8::7"),
        (&["[2001:DB8::7]:443, [2001:db8:1::5]:80"], "2001:db8::7"),
        (&["", "198.51.100.7,, ,"], CLIENT),
        // All of them are proxies: the request began at the first.
        (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        // The search ends at what is no address, with the proxy that let it in.
        (&["198.51.100.7, unknown"], PROXY),
        (&["198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (&["198.51.100.7, garbage, 203.0.113.9"], "203.0.113.9"),
        (&["198.51.100.7, 300.1.1.1"], PROXY),
        (&["198.51.100.7, é"], PROXY),
        (&["198.51.100.7 203.0.113.9"], PROXY),
        (&["fe80::1%eth0"], PROXY),
        (&[""], PROXY),
        (&[], PROXY),
    ] {
        assert_eq!(by_x_forwarded_for(lines), client, "{lines:?}");
    }
}

#[test]
fn forwarded_says_the_same_in_its_own_grammar() {
    for (lines, client) in [
        (&["for=198.51.100.7"][..], CLIENT),
        (
            &["For=203.0.113.9;proto=https, FOR=198.51.100.7;by=10.0.0.1;host=\"a,b;c\""],
            CLIENT,
        ),
        (
            &[
                "for=203.0.113.9",
                "for=198.51.100.7",
                "proto=http;for=10.0.0.2",
            ],
            CLIENT,
        ),
        (&["for=\"198.51.100.7:4711\""], CLIENT),
        (&["for=\"[2001:db8::7]:_port-1.x\""], "2001:db8::7"),
        (&["for=198.51.100.7:4711"], CLIENT),
        (&["for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
        (&["for=\"[2001:db8::7]\""], "2001:db8::7"),
        (&["for=\"198.51.100\\.7\""], CLIENT),
        (
            &["for=198.51.100.7 ; proto=https , for=\"[::ffff:10.0.0.2]\""],
            CLIENT,
        ),
        (&["for=198.51.100.7, , "], CLIENT),
        (&["for=198.51.100.7, for=unknown"], PROXY),
        (&["for=198.51.100.7, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
        (&["for=198.51.100.7, proto=https"], PROXY),
        (
            &["for=198.51.100.7, for=203.0.113.9;for=203.0.113.10"],
            PROXY,
        ),
        (&["198.51.100.7"], PROXY),
        (&["for=198.51.100.7, for="], PROXY),
        (&["for=198.51.100.7, for=\"203.0.113.9"], PROXY),
        // A quote that a client leaves open must not swallow what the proxy adds.
        (&["for=203.0.113.9;x=\"", "for=198.51.100.7"], PROXY),
        (&["for=203.0.113.9;x=\", for=\"[2001:db8::7]:80\""], PROXY),
        (
            &["for=203.0.113.9;x=\"\\", "for=\"[2001:db8::7]:80\""],
            PROXY,
        ),
        (&["garbage \" ; , for=198.51.100.7"], PROXY),
        (&[""], PROXY),
    ] {
        assert_eq!(by_forwarded(lines), client, "{lines:?}");
    }
}

#[test]
fn where_both_are_there_they_have_to_agree() {
    let both = |one: &str, other: &str| {
        client_of(
            PROXY,
            PROXY,
            &[("x-forwarded-for", one), ("forwarded", other)],
        )
    };
    assert_eq!(
        both("203.0.113.9, 198.51.100.7", "for=198.51.100.7"),
        CLIENT
    );
    assert_eq!(both("198.51.100.7", "for=203.0.113.9"), PROXY);
    assert_eq!(both("198.51.100.7", ""), PROXY);
}

#[test]
fn nobody_but_a_trusted_peer_is_believed() {
    let lines = [("x-forwarded-for", "198.51.100.7")];
    for (proxies, peer, client) in [
        ("10.0.0.1", "10.0.0.1", CLIENT),
        ("10.0.0.1", "::ffff:10.0.0.1", CLIENT),
        ("::ffff:10.0.0.1", "10.0.0.1", CLIENT),
        ("::ffff:10.0.0.0/104", "10.9.9.9", CLIENT),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ("10.0.0.0/31", "10.0.0.1", CLIENT),
        ("10.0.0.0/31", "10.0.0.2", "10.0.0.2"),
        ("128.0.0.0/1", "127.255.255.255", "127.255.255.255"),
        ("2001:db8::/32", "2001:db8:ffff::1", CLIENT),
        ("2001:db8::/32", "2001:db9::1", "2001:db9::1"),
        ("192.0.2.1,2001:db8::1", "2001:db8::1", CLIENT),
        ("10.0.0.0/8", "::ffff:192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(client_of(proxies, peer, &lines), client, "{proxies} {peer}");
    }
    let none = TrustedProxies::default();
    let peer: IpAddr = "127.0.0.1".parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static(CLIENT));
    assert_eq!(none.client(peer, &headers), peer);
}

#[test]
fn what_is_no_list_of_proxies_is_refused() {
    let refusal = |text: &str| text.parse::<TrustedProxies>().expect_err(text).to_string();
    for text in [
        "",
        "localhost",
        "10.0.0.1,",
        "10.0.0",
        "10.0.0.0/33",
        "::1/129",
        "10.0.0.0/8/8",
        "10.0.0.0/",
        "[::1]",
        "*",
        "10.0.0.1:80",
        "::ffff:10.0.0.0/8",
    ] {
        let last = text.rsplit(',').next().unwrap();
        assert_eq!(
            refusal(text),
            format!("holds {last:?}, which is neither an address nor a network like 10.0.0.0/8.")
        );
    }
    for text in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
        assert_eq!(
            refusal(text),
            format!(
                "holds {text:?}, which is everybody: each client could name any address as its own."
            )
        );
    }
    for text in ["10.0.0.1/8", "2001:db8::1/32"] {
        assert_eq!(
            refusal(text),
            format!("holds {text:?}, whose address has bits beyond its prefix.")
        );
    }
}
