//! A world of its own for every test: a database, the whole API, and people who use it.

mod cargo;
mod certified;
mod document;
mod door;
mod moto;
mod people;
mod platform;
#[cfg(feature = "checks")]
mod pooler;
mod proxy;
mod secrets_manager;
mod server;
mod tls_front;
pub(crate) mod token;
#[cfg(target_os = "linux")]
mod wall_clock;

use std::{net::SocketAddr, panic::Location, time::Duration};

use serde_json::Value;
use shared::{
    App, app,
    config::{Config, Database, Secret, Signing},
};
use tokio_postgres::{Client, Row, types::ToSql};

pub(crate) use certified::{Authority, Offer, TlsServer};
use document::request_of;
pub(crate) use document::{DOCUMENT, Document, Part};
pub(crate) use door::{Answer, Door, Request, http_event, resolve, rest_event, send_http};
pub(crate) use people::{PASSWORD, Person, assert_pair, credentials, pair};
pub(crate) use platform::{Function, TRACE_ID};
#[cfg(feature = "checks")]
pub(crate) use pooler::Pooler;
pub(crate) use proxy::{Proxy, Said};
pub(crate) use secrets_manager::{SecretsManager, StoredSecret};
pub(crate) use server::{dump, log_of, reached_by};
#[cfg(target_os = "linux")]
pub(crate) use wall_clock::WallClock;

/// The signing key of every world.
pub(crate) const SECRET_KEY: &str = "a signing key for tests, 32 bytes or more";

/// One test's database, and the API over it.
pub(crate) struct World {
    /// Reaches the database beside the API.
    pub(crate) sql: Client,
    pub(crate) config: Config,
    /// Which way the requests go.
    pub(crate) way: Door,
    door: door::Open,
    database: server::TestDatabase,
}

/// Each test of the block is two: over HTTP, and by API Gateway's events into the Lambda adapter.
macro_rules! at_both_doors {
    ($($(#[doc = $doc:literal])* async fn $name:ident($world:ident: World) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[doc = $doc])*
            async fn test($world: $crate::world::World) $body

            #[tokio::test]
            async fn over_http() {
                test($crate::world::World::new($crate::world::Door::Http).await).await;
            }

            #[tokio::test]
            async fn by_event() {
                test($crate::world::World::new($crate::world::Door::Event).await).await;
            }
        }
    )*};
}

impl World {
    /// A migrated database without rows, and the API over it with the default settings.
    pub(crate) async fn new(door: Door) -> Self {
        Self::with(door, |_| ()).await
    }

    /// A database that was never migrated, and the API over it all the same.
    pub(crate) async fn unmigrated(door: Door) -> Self {
        Self::over(server::TestDatabase::empty().await, door, |_| ()).await
    }

    /// A migrated database without rows, and the API over it with other settings.
    pub(crate) async fn with(door: Door, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(server::TestDatabase::new().await, door, change).await
    }

    async fn over(
        database: server::TestDatabase,
        door: Door,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config {
            database: Some(database.settings.clone()),
            signing: Signing {
                algorithm: jsonwebtoken::Algorithm::HS256,
                key: Secret::new(SECRET_KEY),
                previous_key: None,
                secret: None,
            },
            access_token_life: Duration::from_mins(30),
            session_life: Duration::from_hours(30 * 24),
            reuse_grace: Duration::ZERO,
            sign_ups_per_hour: 100,
        };
        change(&mut config);
        let sql = connect(&database.settings).await;
        Self {
            sql,
            way: door,
            door: door::Open::new(door, serve(&config)).await,
            config,
            database,
        }
    }

    /// The same with the default settings, and a proxy between the API and its database.
    pub(crate) async fn behind_proxy(door: Door) -> (Self, Proxy) {
        let mut proxy = None;
        let world = Self::with(door, |config| {
            proxy = config.database.as_mut().map(Proxy::before);
        })
        .await;
        (world, proxy.unwrap())
    }

    /// The API by another door, or as another process would serve it.
    pub(crate) async fn reopen(&mut self, door: Door) {
        self.way = door;
        self.door = door::Open::new(door, serve(&self.config)).await;
    }

    /// The API with other settings, over the same database.
    pub(crate) async fn configured(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self.reopen(self.way).await;
        self
    }

    /// How to reach the database of this world.
    pub(crate) fn database(&self) -> &Database {
        &self.database.settings
    }

    /// Where the API listens, by the door that is HTTP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Sends a request and waits for its answer, which the document must allow.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        let answer = self.door.send(request.clone()).await;
        DOCUMENT.demand(&request, &answer);
        answer
    }

    /// Sends an event exactly as it stands here to the function that a path belongs to. The document must allow
    /// the answer.
    pub(crate) async fn send_event(&self, path: &str, event: Value) -> Answer {
        let answer = self.door.send_event(path, event.clone()).await;
        let request = request_of(&event);
        let function = |path: &str| path.split(['/', '?']).nth(1).map(str::to_owned);
        // A function knows its own paths alone.
        if function(&request.target) == function(path) {
            DOCUMENT.demand(&request, &answer);
        }
        answer
    }

    /// Sends requests at once and waits for all answers.
    pub(crate) async fn send_at_once(
        &self,
        requests: impl IntoIterator<Item = Request>,
    ) -> Vec<Answer> {
        futures_util::future::join_all(requests.into_iter().map(|request| self.send(request))).await
    }

    /// `GET` by nobody in particular.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(Request::get(target)).await
    }

    /// `POST` by nobody in particular.
    pub(crate) async fn post(&self, target: &str, body: Value) -> Answer {
        self.send(Request::post(target).json(&body)).await
    }

    /// How many votes a published post has, as the API shows it.
    pub(crate) async fn votes(&self, post_id: i64) -> i64 {
        let answer = self.get(&format!("/posts/{post_id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["votes"].as_i64().unwrap()
    }

    /// Asserts that every post's count is the number of its votes that are stored.
    #[track_caller]
    pub(crate) fn assert_counts_are_exact(&self) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let wrong = "
                with stored as (
                    select id, (select count(*) from votes where post_id = id) as votes,
                           (select coalesce(sum(votes), 0)::bigint from vote_counts where post_id = id) as counted
                    from posts)
                select id, votes, counted from stored where votes <> counted";
            let wrong: Vec<(i64, i64, i64)> = self
                .rows(wrong, &[])
                .await
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2)))
                .collect();
            assert!(
                wrong.is_empty(),
                "at {caller}: post, votes, counted: {wrong:?}"
            );
        }
    }

    /// Asserts that no statement on this database was ended by a deadlock.
    #[track_caller]
    pub(crate) fn assert_no_deadlocks(&self) {
        let mut deadlocks = log_of(self.database());
        deadlocks.retain(|line| line.contains("deadlock detected"));
        assert!(deadlocks.is_empty(), "{deadlocks:#?}");
    }

    /// The rows of a statement, beside the API.
    pub(crate) async fn rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.sql.query(sql, parameters).await.unwrap()
    }

    /// Waits until so many statements on this world's database wait for a lock, the way to order a race.
    pub(crate) async fn until_waiting(&self, statements: i64) {
        let watcher = connect(self.database()).await;
        let count = "select count(*) from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock'";
        let watch = async {
            while watcher
                .query_one(count, &[])
                .await
                .unwrap()
                .get::<_, i64>(0)
                < statements
            {}
        };
        tokio::time::timeout(Duration::from_secs(15), watch)
            .await
            .expect("so many statements wait for a lock");
    }

    /// Waits until a statement has this number.
    pub(crate) async fn until(&self, sql: &str, number: i64) {
        let watch = async { while self.number(sql).await != number {} };
        tokio::time::timeout(Duration::from_secs(15), watch)
            .await
            .expect("the statement has the number");
    }

    /// The one number that a statement has, beside the API.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.sql.query_one(sql, &[]).await.unwrap().get(0)
    }
}

/// The API as it runs with these settings: all functions, and the one that each path belongs to.
fn serve(config: &Config) -> door::Functions {
    let app = App::new(config, 2).unwrap();
    door::Functions {
        all: app::service(local::router(), app.clone()),
        auth: app::service(auth::router(), app.clone()),
        users: app::service(users::router(), app.clone()),
        posts: app::service(posts::router(), app.clone()),
        votes: app::service(votes::router(), app.clone()),
        system: app::service(system::router(), app),
    }
}

/// A connection beside the API.
pub(crate) async fn connect(database: &Database) -> Client {
    shared::db::connect(database).await.unwrap()
}
