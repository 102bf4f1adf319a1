//! A PostgreSQL that shows certificates of the tests' own authorities.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::Path,
    sync::{LazyLock, mpsc},
    thread,
};

use local::postgres::{Server, Source};
use migrate::Order;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use shared::{Error, config::Database, db::Db};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::Client;

use super::{reached_by, tls_front::Front};

/// Who signs certificates. All have one name.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "The authority of a test");
        let key = KeyPair::generate().unwrap();
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for hosts, by name or address.
    pub(crate) fn certifies(&self, hosts: &[&str]) -> Certificate {
        self.certifies_for(hosts, 2000..=4000)
    }

    /// The same, valid from the first day of one year to the first day of another.
    pub(crate) fn certifies_for(&self, hosts: &[&str], years: RangeInclusive<i32>) -> Certificate {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(*years.start(), 1, 1);
        params.not_after = date_time_ymd(*years.end(), 1, 1);
        let key = KeyPair::generate().unwrap();
        Certificate {
            chain: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What a server offers to whoever asks for TLS.
pub(crate) enum Offer<'a> {
    Nothing,
    Tls(&'a Certificate),
    /// TLS 1.2 and nothing newer.
    OldTls(&'a Certificate),
}

/// The server while one test has it. Where the server was built without TLS, a front does that part.
pub(crate) struct TlsServer {
    /// How to reach it, without TLS.
    pub(crate) database: Database,
    front: Option<Front>,
    _turn: MutexGuard<'static, ()>,
}

struct Running {
    database: Database,
    has_tls: bool,
}

static RUNNING: LazyLock<Running> = LazyLock::new(start);
static TURN: Mutex<()> = Mutex::const_new(());

impl TlsServer {
    pub(crate) async fn with(offer: Offer<'_>) -> Self {
        let running = tokio::task::spawn_blocking(|| &*RUNNING).await.unwrap();
        let turn = TURN.lock().await;
        let mut database = running.database.clone();
        let mut front = None;
        if running.has_tls {
            configure(&super::connect(&database).await, &offer).await;
        } else if let Offer::Tls(certificate) | Offer::OldTls(certificate) = offer {
            let server = SocketAddr::new(database.hostname.parse().unwrap(), database.port);
            let is_old = matches!(offer, Offer::OldTls(_));
            let opened = Front::new(server, certificate, is_old).await;
            database.port = opened.port;
            front = Some(opened);
        }
        Self {
            database,
            front,
            _turn: turn,
        }
    }

    /// The version of TLS that protects a connection made with these settings; none if nothing does.
    pub(crate) async fn protection(&self, database: &Database) -> Result<Option<String>, Error> {
        let row = Db::new(Some(database))
            .read_one(
                "select version from pg_stat_ssl where pid = pg_backend_pid()",
                &[],
            )
            .await?;
        Ok(match &self.front {
            Some(front) => front.last_version(),
            None => row.get("version"),
        })
    }
}

/// Starts the server on a thread that lives as long as the process. The server ends when the process does.
fn start() -> Running {
    let (started, ready) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres-tests");
            let mut server = Server::start_throwaway(&parent, &Source::Search)
                .await
                .unwrap();
            let database = Database {
                pool_size: 2,
                ..reached_by(&server)
            };
            migrate::carry_out(&Order::Migrate, &database)
                .await
                .unwrap();
            let sql = super::connect(&database).await;
            let library = sql.query_one("show ssl_library", &[]).await.unwrap();
            let has_tls = !library.get::<_, &str>(0).is_empty();
            started.send(Running { database, has_tls }).unwrap();
            panic!("{}", server.stopped().await);
        });
    });
    ready
        .recv()
        .expect("the PostgreSQL of the tests of TLS starts")
}

/// The server reads its configuration anew before it takes the next connection.
async fn configure(sql: &Client, offer: &Offer<'_>) {
    match offer {
        Offer::Nothing => set(sql, "ssl", "off").await,
        Offer::Tls(certificate) | Offer::OldTls(certificate) => {
            write(sql, "server.crt", &certificate.chain).await;
            write(sql, "server.key", &certificate.key).await;
            let newest = match offer {
                Offer::OldTls(_) => "TLSv1.2",
                _ => "",
            };
            set(sql, "ssl_max_protocol_version", newest).await;
            set(sql, "ssl", "on").await;
        }
    }
    sql.batch_execute("select pg_reload_conf()").await.unwrap();
}

async fn set(sql: &Client, name: &str, value: &str) {
    let set = format!("alter system set {name} = '{value}'");
    sql.batch_execute(&set).await.unwrap();
}

/// Writes a file into the folder of the server's data, as the server's account: nobody else may read a key.
async fn write(sql: &Client, name: &str, text: &str) {
    let copy = format!(
        "copy (select unnest(string_to_array('{}', E'\\n'))) to program 'umask 077; cat > {name}'",
        text.trim()
    );
    sql.batch_execute(&copy).await.unwrap();
}
