//! The connection to PostgreSQL is encrypted, with the server whose certificate names the host.

use std::{fs, path::Path, time::Duration};

use local::settings::DEFAULTS;
use shared::{
    config::{Database, Defaults, Settings, Sslmode},
    db::Db,
};
use tokio::{io::AsyncReadExt, net::TcpListener, time};

use crate::world::{Authority, Door, Offer, TlsServer, World};

const TLS: Option<&str> = Some("TLSv1.3");
const OLD_TLS: Option<&str> = Some("TLSv1.2");

#[tokio::test]
async fn verify_full_takes_the_host_that_the_certificate_names() {
    let authority = Authority::new();
    let certificate = authority.certifies(&["localhost", "127.0.0.1"]);
    let server = TlsServer::with(Offer::Tls(&certificate)).await;
    for host in ["localhost", "127.0.0.1"] {
        let mut database = verify_full(&server, &authority.pem);
        host.clone_into(&mut database.hostname);
        is_served(&server, &database, TLS).await;
    }
}

#[tokio::test]
async fn verify_full_takes_tls_1_2_too() {
    let authority = Authority::new();
    let certificate = authority.certifies(&["127.0.0.1"]);
    let server = TlsServer::with(Offer::OldTls(&certificate)).await;
    is_served(&server, &verify_full(&server, &authority.pem), OLD_TLS).await;
}

#[tokio::test]
async fn verify_full_refuses_a_certificate_for_another_host() {
    let authority = Authority::new();
    for other in ["db.example.com", "localhost", "127.0.0.2"] {
        let certificate = authority.certifies(&[other]);
        let server = TlsServer::with(Offer::Tls(&certificate)).await;
        let database = verify_full(&server, &authority.pem);
        is_refused(&server, &database, "certificate not valid for name").await;
    }
}

#[tokio::test]
async fn verify_full_refuses_a_certificate_of_another_authority() {
    let authority = Authority::new();
    let certificate = Authority::new().certifies(&["127.0.0.1"]);
    let server = TlsServer::with(Offer::Tls(&certificate)).await;
    // The two authorities have one name, so that it is the signature that tells.
    let database = verify_full(&server, &authority.pem);
    is_refused(&server, &database, "BadSignature").await;
    // Of its own the process trusts the web's alone.
    let mut database = database;
    database.certificates.clear();
    is_refused(&server, &database, "UnknownIssuer").await;
}

#[tokio::test]
async fn verify_full_refuses_a_certificate_out_of_its_time() {
    let authority = Authority::new();
    for (years, reason) in [(2000..=2020, "expired"), (3000..=4000, "not valid yet")] {
        let certificate = authority.certifies_for(&["127.0.0.1"], years);
        let server = TlsServer::with(Offer::Tls(&certificate)).await;
        is_refused(&server, &verify_full(&server, &authority.pem), reason).await;
    }
}

/// It keeps out who listens, not who pretends.
#[tokio::test]
async fn require_encrypts_with_whoever_answers() {
    let certificate = Authority::new().certifies_for(&["db.example.com"], 2000..=2020);
    for (offer, version) in [
        (Offer::Tls(&certificate), TLS),
        (Offer::OldTls(&certificate), OLD_TLS),
    ] {
        let server = TlsServer::with(offer).await;
        let database = with(&server, Sslmode::Require);
        is_served(&server, &database, version).await;
    }
}

#[tokio::test]
async fn a_server_without_tls_serves_only_who_wants_none() {
    let server = TlsServer::with(Offer::Nothing).await;
    for sslmode in [Sslmode::Require, Sslmode::VerifyFull] {
        let database = with(&server, sslmode);
        is_refused(&server, &database, "server does not support TLS").await;
    }
    is_served(&server, &with(&server, Sslmode::Disable), None).await;
}

#[tokio::test]
async fn disable_speaks_plainly_with_a_server_that_has_tls() {
    let certificate = Authority::new().certifies(&["127.0.0.1"]);
    let server = TlsServer::with(Offer::Tls(&certificate)).await;
    is_served(&server, &with(&server, Sslmode::Disable), None).await;
}

/// The request to cancel goes over a connection of its own, which is verified like any other.
#[tokio::test]
async fn a_statement_past_its_time_is_cancelled_over_tls() {
    let authority = Authority::new();
    let certificate = authority.certifies(&["127.0.0.1"]);
    let server = TlsServer::with(Offer::Tls(&certificate)).await;
    let mut database = verify_full(&server, &authority.pem);
    database.statement_timeout = Duration::from_secs(1);
    let blocker = crate::world::connect(&server.database).await;
    let lock = "select pg_advisory_lock(2)";
    blocker.batch_execute(lock).await.unwrap();
    let locks = "select pg_advisory_xact_lock(1) is null, pg_advisory_xact_lock(2) is null";
    let late = Db::new(Some(&database)).read(locks, &[]).await;
    assert_eq!(late.unwrap_err().cause(), "the statement took too long");

    // It holds the first lock until it ends, and with the second still taken it only ends by being cancelled.
    let witness = crate::world::connect(&server.database).await;
    let lock = "set lock_timeout = '10s'; select pg_advisory_lock(1)";
    witness.batch_execute(lock).await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let database = read(&[("DATABASE_PORT", &port.to_string())], Defaults::LAMBDA).unwrap();
    let mute = async {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        client.read_exact(&mut asked).await.unwrap();
        // From here on nothing happens, and time flies.
        time::pause();
        client
    };
    let (given_up, _client) = tokio::join!(shared::db::connect(&database), mute);
    let cause = given_up.unwrap_err().cause();
    assert_eq!(cause, "the database does not answer");
}

#[tokio::test]
async fn authorities_are_named_by_text_or_by_file() {
    let (ours, other) = (Authority::new(), Authority::new());
    let certificate = ours.certifies(&["127.0.0.1"]);
    let server = TlsServer::with(Offer::Tls(&certificate)).await;
    let text = format!("# Two of them\n{}\n{}", other.pem, ours.pem);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authorities.pem");
    fs::write(&file, &text).unwrap();
    for named in [&text, file.to_str().unwrap()] {
        let database = verify_full(&server, named);
        assert_eq!(database.certificates.len(), 2);
        is_served(&server, &database, TLS).await;
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn authorities_that_make_no_sense_are_a_bad_setting() {
    let certified = Authority::new().certifies(&["127.0.0.1"]);
    let good = Authority::new().pem;
    let certificate = |body: &str| {
        format!("{good}-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let cases = [
        (certificate("!"), "DATABASE_CA is not PEM."),
        (
            format!("{good}-----BEGIN CERTIFICATE-----\nAAAA"),
            "DATABASE_CA is not PEM.",
        ),
        (
            certificate("AAAA"),
            "DATABASE_CA holds a certificate that cannot be read.",
        ),
        (certified.key, "DATABASE_CA holds no certificate."),
        (
            "/no/such/file".to_owned(),
            "DATABASE_CA names a file that cannot be read: No such file or directory (os error 2).",
        ),
    ];
    for (setting, sentence) in cases {
        let settings = [("DATABASE_CA", &*setting)];
        assert_eq!(read(&settings, DEFAULTS).unwrap_err(), sentence);
    }
}

#[test]
fn a_function_verifies_where_nothing_is_said_and_a_laptop_does_not() {
    let sslmode = |settings: &[_], defaults| read(settings, defaults).map(|it| it.sslmode);
    assert_eq!(sslmode(&[], Defaults::LAMBDA), Ok(Sslmode::VerifyFull));
    assert_eq!(sslmode(&[], DEFAULTS), Ok(Sslmode::Disable));
    for (name, mode) in [
        ("disable", Sslmode::Disable),
        ("require", Sslmode::Require),
        ("verify-full", Sslmode::VerifyFull),
    ] {
        for defaults in [Defaults::LAMBDA, DEFAULTS] {
            assert_eq!(sslmode(&[("DATABASE_SSLMODE", name)], defaults), Ok(mode));
        }
    }
    for name in ["prefer", "verify-ca", "Require"] {
        assert_eq!(
            sslmode(&[("DATABASE_SSLMODE", name)], DEFAULTS),
            Err(format!(
                "DATABASE_SSLMODE must be disable, require or verify-full, not \"{name}\"."
            ))
        );
    }
}

/// The API answers over such a connection.
async fn is_served(server: &TlsServer, database: &Database, version: Option<&str>) {
    let protection = server.protection(database).await.unwrap();
    assert_eq!(protection.as_deref(), version);
    let health = serving(database).await.get("/health").await;
    health.assert(200, &serde_json::json!({ "status": "ok" }));
}

/// There is no connection, for this reason, and the API serves nothing.
async fn is_refused(server: &TlsServer, database: &Database, reason: &str) {
    let error = server.protection(database).await.unwrap_err();
    assert!(error.cause().contains(reason), "{}", error.cause());
    let health = serving(database).await.get("/health").await;
    health.assert_detail(503, "Service Unavailable");
    assert_eq!(health.header("retry-after"), Some("1"));
}

/// A world whose API uses this database.
async fn serving(database: &Database) -> World {
    World::with(Door::Http, |config| {
        config.database = Some(database.clone());
    })
    .await
}

fn with(server: &TlsServer, sslmode: Sslmode) -> Database {
    Database {
        sslmode,
        ..server.database.clone()
    }
}

/// Trusting an authority, as text or as the name of a file.
fn verify_full(server: &TlsServer, authority: &str) -> Database {
    let settings = [
        ("DATABASE_SSLMODE", "verify-full"),
        ("DATABASE_CA", authority),
    ];
    let read = read(&settings, DEFAULTS).unwrap();
    Database {
        sslmode: read.sslmode,
        certificates: read.certificates,
        ..server.database.clone()
    }
}

fn read(settings: &[(&str, &str)], defaults: Defaults) -> Result<Database, String> {
    let place = [
        ("DATABASE_HOSTNAME", "127.0.0.1"),
        ("DATABASE_NAME", "name"),
        ("DATABASE_USERNAME", "username"),
    ];
    let settings = Settings::from_lookup(|wanted| {
        let found = settings
            .iter()
            .chain(&place)
            .find(|(name, _)| *name == wanted);
        found.map(|(_, value)| (*value).to_owned())
    });
    let database = Database::read(&settings, defaults).map_err(|error| error.to_string())?;
    Ok(database.unwrap())
}
