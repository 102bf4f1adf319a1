//! How often somebody may try: attempts are counted by keyed digests of addresses and networks, so that the counts
//! name nobody, and only those that failed stay counted.

use std::{
    future::Future,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use axum::http::{HeaderValue, StatusCode, header};
use tokio::runtime::Handle;
use tokio_postgres::Row;
use tracing::Instrument;

use crate::{
    app::REQUEST_TIMEOUT,
    db::{Db, Parameter, Type},
    error::Error,
    password::{Password, Passwords, Verdict},
    tokens::KeySet,
};

/// How long an attempt whose end nobody heard of counts as one in flight, in seconds: as long as its request may take.
pub const IN_FLIGHT_SECONDS: f64 = REQUEST_TIMEOUT.as_secs_f64();
/// How long failed logins count, from the first of them.
const LOGIN_WINDOW: Duration = Duration::from_mins(15);
/// How long sign-ups count, from the first of them.
pub const SIGN_UP_WINDOW: Duration = Duration::from_hours(1);

const END: &str = "
    select true as is_ended from end_attempt($1, $2, make_interval(secs => $3))";

/// What one login is counted by.
pub struct LoginBuckets {
    /// The address, known or not, without regard to ASCII case.
    pub address: Vec<u8>,
    /// Where the request came from; `None` where the platform does not say.
    pub source: Option<Vec<u8>>,
    /// Both.
    pub address_and_source: Vec<u8>,
    /// Both, by each key in use, the current one first: where an account logged in from is remembered for longer
    /// than a key lasts.
    pub known_as: Vec<Vec<u8>>,
    /// Where the address stands among the accounts, one of which it is given to look like where it has none.
    pub place: Vec<u8>,
}

impl LoginBuckets {
    /// The buckets of an address that was normalised, and the source of a request. With another signing key they
    /// are others: attempts are then counted from the beginning, which is once a rotation.
    pub fn new(keys: &KeySet, address: &str, source: Option<IpAddr>) -> Self {
        let address = address.to_ascii_lowercase();
        let network = source.map(network);
        let both = parts(&["login by both", &address, network.as_deref().unwrap_or("")]);
        Self {
            address: bucket(keys, &parts(&["login by address", &address])),
            source: network
                .as_ref()
                .map(|network| bucket(keys, &parts(&["login by source", network]))),
            address_and_source: bucket(keys, &both),
            known_as: keys.digests("where an account logged in from", &both),
            place: keys.digest(
                "the place of an address among the accounts",
                address.as_bytes(),
            ),
        }
    }

    /// What the login is counted by, in the order in which `begin_login` takes them.
    pub fn all(&self) -> Vec<Vec<u8>> {
        let both = Some(&self.address_and_source);
        let buckets = [both, self.source.as_ref(), Some(&self.address)];
        buckets.into_iter().flatten().cloned().collect()
    }
}

/// What sign-ups from a source are counted by.
pub fn sign_up_bucket(keys: &KeySet, source: Option<IpAddr>) -> Vec<u8> {
    let network = source.map(network);
    bucket(
        keys,
        &parts(&["sign-up by source", network.as_deref().unwrap_or("")]),
    )
}

/// An attempt that has begun and whose outcome is not known: it counts as one in flight. One that is dropped leaves
/// no trace, whatever the reason; if even that cannot be said to the database, it stops counting by itself.
pub struct Attempt {
    db: Db,
    buckets: Vec<Vec<u8>>,
    /// When it stops counting, by which the database knows it; `None` once it has ended.
    ends_at: Option<SystemTime>,
}

impl Attempt {
    /// The login that a statement began by `begin_login`; 429 where it was refused.
    pub fn login(db: &Db, buckets: Vec<Vec<u8>>, row: &Row) -> Result<Self, Error> {
        Self::begun(db, buckets, row, "Too many failed logins")
    }

    /// The sign-up that a statement began by `begin_sign_up`; 429 where it was refused.
    pub fn sign_up(db: &Db, bucket: Vec<u8>, row: &Row) -> Result<Self, Error> {
        Self::begun(db, vec![bucket], row, "Too many sign-ups")
    }

    /// One that nobody counts.
    pub fn unlimited(db: &Db) -> Self {
        Self {
            db: db.clone(),
            buckets: Vec::new(),
            ends_at: None,
        }
    }

    fn begun(db: &Db, buckets: Vec<Vec<u8>>, row: &Row, refusal: &str) -> Result<Self, Error> {
        let retry_after: i32 = row.get("retry_after");
        if retry_after > 0 {
            let error = Error::new(StatusCode::TOO_MANY_REQUESTS, refusal);
            return Err(error.with_header(header::RETRY_AFTER, HeaderValue::from(retry_after)));
        }
        Ok(Self {
            db: db.clone(),
            buckets,
            ends_at: Some(row.get("ends_at")),
        })
    }

    /// Holds a password against a stored hash, or against nobody's. A wrong one is counted before anybody knows
    /// that it is wrong: `None`. With the right one the attempt goes on. Whoever leaves while it waits for its turn
    /// has tried nothing; once the hash is being computed it is computed and counted, so that leaving early saves
    /// nobody a count.
    pub async fn judge(
        self,
        passwords: &Passwords,
        password: Password,
        stored_hash: Option<&str>,
        stand_in: Option<&str>,
    ) -> Result<Option<(Self, Verdict)>, Error> {
        let turn = passwords.turn_to_verify(stored_hash, stand_in).await?;
        to_its_end(async move {
            match turn.verify(password).await? {
                Verdict::Wrong => self.count().await.map(|()| None),
                verdict => Ok(Some((self, verdict))),
            }
        })
        .await
    }

    /// Ends it, and it stays counted.
    async fn count(mut self) -> Result<(), Error> {
        end(&self.db, &self.buckets, self.ends_at, Some(LOGIN_WINDOW)).await?;
        self.ends_at = None;
        Ok(())
    }

    /// Its buckets and what the database knows it by, as parameters of the statement that ends it.
    pub fn parameters(&self) -> [Parameter<'_>; 2] {
        [
            (&self.buckets, Type::BYTEA_ARRAY),
            (&self.ends_at, Type::TIMESTAMPTZ),
        ]
    }

    /// A statement has ended it.
    pub fn has_ended(mut self) {
        self.ends_at = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let ends_at = self.ends_at.take();
        if ends_at.is_some()
            && let Ok(runtime) = Handle::try_current()
        {
            let (db, buckets) = (self.db.clone(), std::mem::take(&mut self.buckets));
            // Where the database is away, it stops counting by itself.
            runtime.spawn(async move { end(&db, &buckets, ends_at, None).await.is_ok() });
        }
    }
}

/// Ends an attempt. It stays counted for as long as `counts_for` says; without that it leaves no trace.
async fn end(
    db: &Db,
    buckets: &[Vec<u8>],
    ends_at: Option<SystemTime>,
    counts_for: Option<Duration>,
) -> Result<(), Error> {
    let counts_for = counts_for.map(|window| window.as_secs_f64());
    let sent = [
        (&buckets as _, Type::BYTEA_ARRAY),
        (&ends_at as _, Type::TIMESTAMPTZ),
        (&counts_for as _, Type::FLOAT8),
    ];
    db.write(END, &sent).await.map(|_| ())
}

/// Runs to its end even where the request does not: what a client who hangs up leaves behind is known then.
pub async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work.in_current_span())
        .await
        .map_err(Error::internal)?
}

/// What one subscriber has: an IPv4 address, or the first half of an IPv6 one.
fn network(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn parts(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

/// An address or a network can be guessed: without the key nobody can tell whether a guess is right.
fn bucket(keys: &KeySet, bytes: &[u8]) -> Vec<u8> {
    keys.digest("what attempts are counted by", bytes)
}
