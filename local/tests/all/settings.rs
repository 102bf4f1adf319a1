//! The settings: what they are without any, and what is said about bad ones.

use std::{collections::HashMap, time::Duration};

use jsonwebtoken::Algorithm;
use shared::config::{Config, Database, Defaults, Settings};

/// A signing key of the least length, and a password; no sentence may show either.
const KEY: &str = "0123456789-signing-key-123456789";
const PASSWORD: &str = "the database's password";

fn read(changes: &[(&str, &str)]) -> Result<Config, String> {
    let mut settings = HashMap::from([
        ("SECRET_KEY", KEY),
        ("DATABASE_HOSTNAME", "db.example.com"),
        ("DATABASE_NAME", "social"),
        ("DATABASE_USERNAME", "api"),
        ("DATABASE_PASSWORD", PASSWORD),
    ]);
    settings.extend(changes.iter().copied());
    let lookup = Settings::from_lookup(|name| settings.get(name).map(ToString::to_string));
    Config::read(&lookup, Defaults::LAMBDA).map_err(|error| error.to_string())
}

fn refusal(changes: &[(&str, &str)]) -> String {
    let sentence = read(changes).map(|_| ()).unwrap_err();
    assert!(
        !sentence.contains(KEY) && !sentence.contains(PASSWORD),
        "{sentence}"
    );
    sentence
}

fn database(changes: &[(&str, &str)]) -> Database {
    read(changes).unwrap().database.unwrap()
}

#[test]
fn a_signing_key_is_all_that_must_be_set() {
    let names = [
        "DATABASE_HOSTNAME",
        "DATABASE_NAME",
        "DATABASE_USERNAME",
        "DATABASE_PASSWORD",
    ];
    let config = read(&names.map(|name| (name, ""))).unwrap();
    assert!(config.database.is_none());
    assert_eq!(config.signing.algorithm, Algorithm::HS256);
    assert_eq!(config.signing.key.reveal(), KEY);
    assert!(config.signing.previous_key.is_none());
    assert_eq!(config.access_token_life, Duration::from_mins(30));
    assert_eq!(config.session_life, Duration::from_hours(30 * 24));
    assert_eq!(config.reuse_grace, Duration::from_secs(10));
}

#[test]
fn every_setting_is_read_under_its_name() {
    let previous = "the key of last month, long enough";
    let changes = [
        ("ALGORITHM", "HS512"),
        ("SECRET_KEY_PREVIOUS", previous),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "5"),
        ("REFRESH_TOKEN_EXPIRE_DAYS", "7"),
        ("REFRESH_TOKEN_REUSE_GRACE_SECONDS", "20"),
        ("DATABASE_PORT", "6432"),
        ("DATABASE_POOL_SIZE", "3"),
        ("DATABASE_STATEMENT_TIMEOUT_SECONDS", "9"),
        ("DATABASE_PREPARED_STATEMENTS", "true"),
    ];
    let config = read(&changes).unwrap();
    assert_eq!(config.signing.algorithm, Algorithm::HS512);
    assert_eq!(config.signing.previous_key.unwrap().reveal(), previous);
    assert_eq!(config.access_token_life, Duration::from_mins(5));
    assert_eq!(config.session_life, Duration::from_hours(7 * 24));
    assert_eq!(config.reuse_grace, Duration::from_secs(20));
    let database = config.database.unwrap();
    assert_eq!(database.hostname, "db.example.com");
    assert_eq!(database.port, 6432);
    assert_eq!(database.name, "social");
    assert_eq!(database.username, "api");
    assert_eq!(database.password.reveal(), PASSWORD);
    assert_eq!(database.pool_size, 3);
    assert_eq!(database.statement_timeout, Duration::from_secs(9));
    assert!(database.prepared_statements);
}

#[test]
fn a_database_has_a_name_and_a_user_and_defaults_for_the_rest() {
    let database = database(&[("DATABASE_PASSWORD", "")]);
    assert_eq!(database.port, 5432);
    assert_eq!(database.password.reveal(), "");
    assert_eq!(database.pool_size, 1);
    assert_eq!(database.statement_timeout, Duration::from_secs(5));
    assert!(!database.prepared_statements);
    for name in ["DATABASE_NAME", "DATABASE_USERNAME"] {
        assert_eq!(refusal(&[(name, "")]), format!("{name} is not set."));
    }
}

#[test]
fn a_signing_key_has_at_least_32_bytes() {
    assert_eq!(refusal(&[("SECRET_KEY", "")]), "SECRET_KEY is not set.");
    for name in ["SECRET_KEY", "SECRET_KEY_PREVIOUS"] {
        let short = &KEY[..31];
        let sentence = refusal(&[(name, short)]);
        assert_eq!(
            sentence,
            format!("{name} must be at least 32 bytes long, not 31.")
        );
        let sentence = refusal(&[(name, "s")]);
        assert_eq!(
            sentence,
            format!("{name} must be at least 32 bytes long, not 1.")
        );
        // Bytes, not characters.
        assert!(read(&[(name, &"ö".repeat(16))]).is_ok());
        assert!(read(&[(name, KEY)]).is_ok());
    }
}

#[test]
fn the_algorithm_is_one_of_three() {
    for (name, algorithm) in [
        ("HS256", Algorithm::HS256),
        ("HS384", Algorithm::HS384),
        ("HS512", Algorithm::HS512),
    ] {
        assert_eq!(
            read(&[("ALGORITHM", name)]).unwrap().signing.algorithm,
            algorithm
        );
    }
    for name in ["none", "hs256", "HS256 ", "RS256", "ES256", "HS1"] {
        let expected = format!("ALGORITHM must be HS256, HS384 or HS512, not \"{name}\".");
        assert_eq!(refusal(&[("ALGORITHM", name)]), expected);
    }
}

#[test]
fn a_number_out_of_range_is_refused_by_its_name() {
    for (name, least, most) in [
        ("ACCESS_TOKEN_EXPIRE_MINUTES", 1, 1440),
        ("REFRESH_TOKEN_EXPIRE_DAYS", 1, 365),
        ("REFRESH_TOKEN_REUSE_GRACE_SECONDS", 0, 60),
        ("DATABASE_PORT", 1, 65535),
        ("DATABASE_POOL_SIZE", 1, 200),
        ("DATABASE_STATEMENT_TIMEOUT_SECONDS", 1, 15),
    ] {
        for good in [least, most] {
            assert!(read(&[(name, &good.to_string())]).is_ok(), "{name}={good}");
        }
        let beyond = [(least - 1).to_string(), (most + 1).to_string()];
        let others = [
            "-5",
            "1.5",
            "1e1",
            "many",
            " 5",
            "5s",
            "99999999999999999999",
        ];
        for bad in beyond.iter().map(String::as_str).chain(others) {
            let expected =
                format!("{name} must be a whole number from {least} to {most}, not \"{bad}\".");
            assert_eq!(refusal(&[(name, bad)]), expected);
        }
    }
}

#[test]
fn a_printed_config_shows_no_secret() {
    let config = read(&[("SECRET_KEY_PREVIOUS", "another-signing-key-of-32-bytes!")]).unwrap();
    let printed = format!("{config:?} {config:#?}");
    assert!(printed.contains("db.example.com"));
    for secret in [KEY, PASSWORD, "another-signing-key"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn a_host_may_have_a_port() {
    for (hostname, host, port) in [
        ("db.example.com", "db.example.com", 5432),
        ("db.example.com:6432", "db.example.com", 6432),
        ("localhost:5432", "localhost", 5432),
        ("192.0.2.1:6432", "192.0.2.1", 6432),
        ("::1", "::1", 5432),
        ("2001:db8::1:6432", "2001:db8::1:6432", 5432),
        ("[::1]", "::1", 5432),
        ("[2001:db8::1]:6432", "2001:db8::1", 6432),
        ("fe80::1%eth0", "fe80::1%eth0", 5432),
        ("/run/postgresql", "/run/postgresql", 5432),
    ] {
        let database = database(&[("DATABASE_HOSTNAME", hostname)]);
        assert_eq!(
            (database.hostname.as_str(), database.port),
            (host, port),
            "{hostname}"
        );
    }
    // Both may say it, where they say the same.
    let both = [("DATABASE_HOSTNAME", "db:6432"), ("DATABASE_PORT", "6432")];
    assert_eq!(database(&both).port, 6432);
    assert_eq!(
        database(&[("DATABASE_HOSTNAME", "db"), ("DATABASE_PORT", "6432")]).port,
        6432
    );
    for hostname in ["db:6432", "[::1]:6432"] {
        assert_eq!(
            refusal(&[("DATABASE_HOSTNAME", hostname), ("DATABASE_PORT", "5432")]),
            "DATABASE_HOSTNAME says port 6432 and DATABASE_PORT says 5432; leave one of them."
        );
    }
}

#[test]
fn a_hostname_that_is_none_is_refused_and_not_repeated() {
    for hostname in [
        "db:",
        "db:x",
        "db:0",
        "db:65536",
        "db:5432:5432",
        ":5432",
        "db:5432,db2:5432",
        "db:-1",
    ] {
        assert_eq!(
            refusal(&[("DATABASE_HOSTNAME", hostname)]),
            "DATABASE_HOSTNAME must be a host, perhaps with a colon and a port from 1 to 65535."
        );
    }
    for hostname in ["[::1", "[db]:5432", "[::1]5432", "[]", "[192.0.2.1]:5432"] {
        assert_eq!(
            refusal(&[("DATABASE_HOSTNAME", hostname)]),
            "DATABASE_HOSTNAME must be an address of IPv6 where it begins with a bracket."
        );
    }
    for hostname in ["postgresql://ann:secret@db/social", "ann@db", "https://db"] {
        assert_eq!(
            refusal(&[("DATABASE_HOSTNAME", hostname)]),
            "DATABASE_HOSTNAME must be a host, perhaps with a port, and not a URL; the user, the \
             password and the name have settings of their own."
        );
    }
}
