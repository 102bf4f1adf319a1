//! A PostgreSQL of the bench's own, and as many rows as are asked for.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use local::postgres::{Connection, Server, Source};
use migrate::Order;
use rcgen::{CertificateParams, KeyPair};
use shared::{
    config::{Config, Settings},
    db,
};
use tokio_postgres::Client;

use crate::{Failure, SECRET_KEY};

/// A server with its default settings, durable, whose data go when it stops.
pub(crate) struct Postgres {
    server: Server,
    home: PathBuf,
}

/// One database of the server.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) connection: Connection,
    sslmode: &'static str,
    certificate: Option<String>,
}

/// How many rows there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Ten of them a user, ten votes each. As many sessions, and as many counts of attempts to log in.
    pub(crate) posts: i64,
}

impl Size {
    pub(crate) const fn users(self) -> i64 {
        self.posts / 10
    }
}

impl Postgres {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("speed");
        let mut say = |line: &str| eprintln!("{line}");
        let server = Server::start(&home, &Source::Search, true, &mut say).await?;
        Ok(Self { server, home })
    }

    pub(crate) fn version(&self) -> &str {
        self.server.version()
    }

    /// One of the programs that came with the server, if it did.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let program = self.server.programs().join(name);
        program.is_file().then_some(program)
    }

    /// The id of the server's first process, which starts one for every connection.
    pub(crate) fn process(&self) -> Result<i32, Failure> {
        let told = std::fs::read_to_string(self.home.join("database/data/postmaster.pid"))?;
        let first = told.lines().next().ok_or("the server tells no process")?;
        Ok(first.parse()?)
    }

    /// A new database with the schema and no rows.
    pub(crate) async fn create(&self, name: &str) -> Result<Database, Failure> {
        let superuser = Database::new(self.server.connection().clone());
        let sql = superuser.connect().await?;
        sql.batch_execute(&format!("create database {name}"))
            .await?;
        let database = Database::new(Connection {
            database: name.to_owned(),
            ..superuser.connection
        });
        let config = database.config()?;
        let config = config.database.as_ref().ok_or("there is no database")?;
        migrate::carry_out(&Order::Migrate, config).await?;
        Ok(database)
    }

    /// Lets the server speak TLS, by a certificate that is made for it; `None` where it was built without.
    pub(crate) async fn offer_tls(&self, database: &Database) -> Result<Option<Database>, Failure> {
        let sql = database.connect().await?;
        let library: String = sql.query_one("show ssl_library", &[]).await?.get(0);
        if library.is_empty() {
            return Ok(None);
        }
        let key = KeyPair::generate()?;
        let host = database.connection.host.to_string();
        let certificate = CertificateParams::new([host])?.self_signed(&key)?.pem();
        for (name, text) in [
            ("server.crt", certificate.as_str()),
            ("server.key", &key.serialize_pem()),
        ] {
            // As the server's account, into the folder of its data: nobody else may read a key.
            sql.batch_execute(&format!(
                "copy (select unnest(string_to_array('{}', E'\\n'))) to program 'umask 077; cat > {name}'",
                text.trim()
            ))
            .await?;
        }
        sql.batch_execute("alter system set ssl = on").await?;
        sql.batch_execute("select pg_reload_conf()").await?;
        Ok(Some(Database {
            sslmode: "verify-full",
            certificate: Some(certificate),
            ..database.clone()
        }))
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        // Where the server has an account of its own, the folder of its data is behind a link.
        let data = std::fs::canonicalize(self.home.join("database"))?;
        self.server.stop().await?;
        std::fs::remove_dir_all(data)?;
        std::fs::remove_dir_all(&self.home)?;
        Ok(())
    }
}

impl Database {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            sslmode: "disable",
            certificate: None,
        }
    }

    /// The same database, reached through another port.
    pub(crate) fn behind(&self, port: u16) -> Self {
        let mut behind = self.clone();
        behind.connection.port = port;
        behind
    }

    /// How a function is told of it.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let Connection {
            host,
            port,
            username,
            password,
            database,
        } = &self.connection;
        let mut settings = vec![
            ("SECRET_KEY", SECRET_KEY.to_owned()),
            ("SIGN_UPS_PER_HOUR", "0".to_owned()),
            ("DATABASE_HOSTNAME", host.to_string()),
            ("DATABASE_PORT", port.to_string()),
            ("DATABASE_NAME", database.clone()),
            ("DATABASE_USERNAME", username.clone()),
            ("DATABASE_PASSWORD", password.clone()),
            ("DATABASE_SSLMODE", self.sslmode.to_owned()),
            // As behind RDS Proxy.
            ("DATABASE_PREPARED_STATEMENTS", "true".to_owned()),
        ];
        settings.extend(self.certificate.clone().map(|pem| ("DATABASE_CA", pem)));
        settings
    }

    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let settings = self.settings();
        let lookup = |name: &str| {
            let found = settings.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        };
        Ok(Config::read(
            &Settings::from_lookup(lookup),
            local::settings::DEFAULTS,
        )?)
    }

    /// One connection, for the bench itself.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let config = self.config()?;
        let config = config.database.as_ref().ok_or("there is no database")?;
        Ok(db::connect(config).await.map_err(|error| error.cause())?)
    }

    /// Connections to come do not wait for the disk when they commit.
    pub(crate) async fn commit_without_waiting(&self) -> Result<(), Failure> {
        let name = &self.connection.database;
        let set = format!("alter database {name} set synchronous_commit = off");
        Ok(self.connect().await?.batch_execute(&set).await?)
    }

    /// Connections to come wait for the disk again.
    pub(crate) async fn commit_durably(&self) -> Result<(), Failure> {
        let name = &self.connection.database;
        let reset = format!("alter database {name} reset synchronous_commit");
        Ok(self.connect().await?.batch_execute(&reset).await?)
    }

    /// Writes rows into an empty database. What would be done a row at a time is done for all of them: indexes
    /// are built in the end, references are good because they are made so, and votes are counted here.
    pub(crate) async fn load(&self, size: Size) -> Result<(), Failure> {
        let sql = self.connect().await?;
        let later = [
            "posts_search_idx",
            "refresh_tokens_one_live",
            "refresh_tokens_session_id_idx",
            "sessions_user_id_idx",
            "votes_post_id_idx",
        ];
        let mut rebuild: Vec<String> = Vec::new();
        for index in later {
            let definition = "select pg_get_indexdef(to_regclass($1::text))";
            rebuild.push(sql.query_one(definition, &[&index]).await?.get(0));
        }
        let key =
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'votes_pkey'";
        let key: String = sql.query_one(key, &[]).await?.get(0);
        rebuild.push(format!("alter table votes add constraint votes_pkey {key}"));

        sql.batch_execute(&format!(
            "set session_replication_role = replica;
             set synchronous_commit = off;
             set maintenance_work_mem = '512MB';
             set work_mem = '64MB';
             drop index {};
             alter table votes drop constraint votes_pkey;",
            later.join(", ")
        ))
        .await?;
        sql.batch_execute(&rows(size)).await?;
        for statement in rebuild {
            sql.batch_execute(&statement).await?;
        }
        sql.batch_execute("vacuum analyze").await?;
        Ok(())
    }
}

/// The statements that write the rows. Everything follows from numbers, so that two loads are the same. Rows
/// found by a digest come in its order, which is the order of their index.
fn rows(Size { posts }: Size) -> String {
    let users = posts / 10;
    format!(
        "
        create temporary table numbers as
        select number from generate_series(1::bigint, {posts}) as number;
        create temporary table words as
        select number, (
            select string_agg(substr(letters, 1 + get_byte(digest, at) % length(letters), 1), '' order by at)
            from unnest(array[0, 1, 2, 3, 4],
                        array['bcdfghjklmnpqrstvwz', 'aeiou', 'bcdfghjklmnpqrstvwz', 'aeiou', 'lmnrst'])
                as place (at, letters)) as word
        from (select number, sha256(number::text::bytea) as digest
              from generate_series(0::bigint, 4092) as number) as digests;
        analyze numbers, words;

        insert into users (id, email, password_hash)
        select number, format('person-%s@example.com', number), '' from numbers where number <= {users};
        insert into sessions (id, user_id, expires_at)
        select number, 1 + (number - 1) % {users}, now() + interval '30 days' from numbers;
        insert into refresh_tokens (digest, session_id)
        select sha256(translate(rtrim(encode(sha256(('token ' || number)::bytea), 'base64'), '='), '+/', '-_')::bytea),
               number
        from numbers order by 1;
        insert into attempts (bucket, attempts, window_ends_at)
        select sha256(('attempt ' || number)::bytea), 1, now() + interval '1 day' from numbers order by 1;
        insert into known_sources (user_id, bucket, last_login_at)
        select 1 + number % {users}, sha256(('source ' || number)::bytea), now() from numbers order by 1, 2;
        insert into posts (id, title, content, created_at, owner_id)
        select numbers.number,
               concat_ws(' ', first.word, second.word, third.word,
                         case when numbers.number % 10 = 0 then '{COMMON}' end,
                         case when numbers.number <= 500 and numbers.number % 100 = 0 then '{RARE}' end),
               repeat(md5(numbers.number::text) || ' ', 10),
               now() - ({posts} - numbers.number) * interval '1 second', 1 + numbers.number % {users}
        from numbers
        join words first on first.number = numbers.number * 7919 % 4093
        join words second on second.number = numbers.number / 7 * 104729 % 4093
        join words third on third.number = numbers.number / 31 * 1299709 % 4093;
        insert into votes (user_id, post_id)
        select 1 + (number * 7919 + voter * 104729) % {users}, number
        from numbers, generate_series(0, 9) as voter;
        insert into vote_counts (post_id, slot, votes)
        select number, 0, 10 from numbers;

        select setval(pg_get_serial_sequence(name, 'id'), {posts})
        from unnest(array['users', 'sessions', 'posts']) as name;"
    )
}

/// In every tenth title.
pub(crate) const COMMON: &str = "today";
/// In five titles, which are old, however many there are.
pub(crate) const RARE: &str = "quixotic";

/// The refresh token of a session that was loaded.
pub(crate) fn token(session: i64) -> String {
    URL_SAFE_NO_PAD.encode(digest(format!("token {session}").as_bytes()))
}

/// SHA-256
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}
