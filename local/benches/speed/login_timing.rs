//! How long a login takes by an address without an account and by a wrong password, side by side, where half of the
//! accounts have the hashes of another service: nobody may be able to tell by an answer which it was. Over HTTP, against a throwaway server: `cargo bench -p local -- login_timing`.

use std::{
    future::pending,
    path::Path,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use local::postgres::{Server, Source};
use migrate::Order;
use serde_json::json;
use shared::{
    App, app,
    config::{Config, Settings},
    db,
};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

/// Logins of each kind.
const LOGINS: usize = 300;
/// Addresses of each kind.
const ADDRESSES: usize = 8;
/// Addresses without an account: some look like the one kind of account, some like the other.
const UNKNOWN_ADDRESSES: usize = 100;
/// Logins of each kind until the counts are emptied: no address is near its limit then, nor the source.
const ROUND: usize = 30;
/// A hash with the parameters of the service before this one.
const OLD_HASH: &str = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$gTWTRH2RybSflxplA7hOKArEfj8mOPzqmC18I/UVSic";
const QUANTILES: [(&str, f64); 7] = [
    ("least", 0.0),
    ("5 %", 0.05),
    ("25 %", 0.25),
    ("median", 0.5),
    ("75 %", 0.75),
    ("95 %", 0.95),
    ("most", 1.0),
];

pub(crate) async fn run() -> Result<(), Failure> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres-benches");
    let server = Server::start_throwaway(&folder, &Source::Search).await?;
    let measured = measure(&server).await;
    server.stop().await?;
    let Times {
        mut live,
        mut old,
        mut unknown,
    } = measured?;
    let mut known = [live.clone(), old.clone()].concat();
    for times in [&mut live, &mut old, &mut unknown, &mut known] {
        times.sort();
    }
    println!("{LOGINS} logins of each kind, in milliseconds\n");
    println!(
        "{:>8} {:>12} {:>12} {:>14} {:>14} {:>8}",
        "", "live hash", "old hash", "any account", "no account", "ratio"
    );
    for (name, quantile) in QUANTILES {
        let [live, old, known, unknown] =
            [&live, &old, &known, &unknown].map(|times| at(times, quantile));
        println!(
            "{name:>8} {live:>12.3} {old:>12.3} {known:>14.3} {unknown:>14.3} {:>8.3}",
            unknown / known
        );
    }
    Ok(())
}

/// How long each login took: by a wrong password for an account with a hash as new ones are and for one with an old
/// hash, and by an address without an account.
#[derive(Default)]
struct Times {
    live: Vec<Duration>,
    old: Vec<Duration>,
    unknown: Vec<Duration>,
}

async fn measure(server: &Server) -> Result<Times, Failure> {
    let connection = server.connection();
    let settings = Settings::from_lookup(|name| match name {
        "DATABASE_HOSTNAME" => Some(connection.host.to_string()),
        "DATABASE_PORT" => Some(connection.port.to_string()),
        "DATABASE_NAME" => Some(connection.database.clone()),
        "DATABASE_USERNAME" => Some(connection.username.clone()),
        "DATABASE_PASSWORD" => Some(connection.password.clone()),
        "SECRET_KEY" => Some("k".repeat(32)),
        _ => None,
    });
    let config = Config::read(&settings, local::settings::DEFAULTS)?;
    let database = config.database.as_ref().ok_or("There is no database.")?;
    migrate::carry_out(&Order::Migrate, database).await?;
    let sql = db::connect(database).await.map_err(|error| error.cause())?;

    let app = App::new(&config, 1).map_err(|error| error.cause())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let cors = local::server::cors(local::settings::Origins::Any);
    let api = app::service(local::router(), app);
    tokio::spawn(local::server::serve(
        listener,
        api,
        cors,
        local::proxies::TrustedProxies::default(),
        pending(),
    ));
    let (mut client, link) = handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(link);

    for number in 0..ADDRESSES {
        let account =
            json!({ "email": format!("known{number}@example.com"), "password": "opal-lantern-42" });
        let status = send(
            &mut client,
            "/users/",
            "application/json",
            account.to_string(),
        )
        .await?;
        assert_eq!(status, 201);
        let adopt = "insert into users (email, password_hash) values ($1, $2)";
        sql.execute(adopt, &[&format!("old{number}@example.com"), &OLD_HASH])
            .await?;
    }
    let mut times = Times::default();
    for number in 0..LOGINS {
        if number % ROUND == 0 {
            sql.batch_execute("truncate attempts").await?;
        }
        // Each comes first as often as the other.
        let mut kinds = [
            ("nobody", UNKNOWN_ADDRESSES, &mut times.unknown),
            ("known", ADDRESSES, &mut times.live),
            ("old", ADDRESSES, &mut times.old),
        ];
        kinds.rotate_left(number % 3);
        for (name, addresses, taken) in kinds {
            let name = format!("{name}{}", number / 3 % addresses);
            let form = format!("username={name}%40example.com&password=opal-lantern-43");
            let begun = Instant::now();
            let status = send(
                &mut client,
                "/auth/login",
                "application/x-www-form-urlencoded",
                form,
            )
            .await?;
            taken.push(begun.elapsed());
            assert_eq!(status, 401);
        }
    }
    Ok(times)
}

async fn send(
    client: &mut SendRequest<Full<Bytes>>,
    path: &str,
    content_type: &str,
    body: String,
) -> Result<u16, Failure> {
    let request = axum::http::Request::post(path)
        .header("host", "localhost")
        .header("content-type", content_type)
        .body(Full::new(Bytes::from(body)))?;
    client.ready().await?;
    let answer = client.send_request(request).await?;
    let status = answer.status().as_u16();
    answer.into_body().collect().await?;
    Ok(status)
}

/// The quantile of sorted times, in milliseconds.
fn at(sorted: &[Duration], quantile: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a few hundred are exact in any of these types"
    )]
    let index = ((sorted.len() - 1) as f64 * quantile).round() as usize;
    sorted[index].as_secs_f64() * 1000.0
}
