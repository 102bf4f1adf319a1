//! `POST /auth/login`: a password opens a session.

use axum::{
    extract::State,
    http::{HeaderMap, header},
};
use shared::{
    App, Error,
    app::From,
    db::Type,
    email::Email,
    input::{Body, Fields, Input, Open, SMALL_BODY_LIMIT},
    limits::{Attempt, IN_FLIGHT_SECONDS, LoginBuckets, to_its_end},
    password::{Password, Verdict},
    reply::Json,
    telemetry::{self, Outcome},
    tokens::RefreshToken,
};

use crate::pair::TokenPair;

// The attempt begins before its verdict is known, whether the address has an account or not. An account that
// was taken over from elsewhere is found by its address as it stands there, even where it is not normal; it goes
// before the one that has the normal form of it. The account to look like is found for every address: whether there
// is one of its own makes no difference to the time.
const FIND: &str = "
    with found as (
        select id, password_hash from users
        where lower(email collate \"C\") in (lower($1 collate \"C\"), lower($2 collate \"C\"))
        order by lower(email collate \"C\") = lower($2 collate \"C\") desc
        limit 1)
    select begun.retry_after, begun.ends_at, found.id, found.password_hash,
           stand_in_parameters($3) as stand_in
    from (select) as nobody
    left join found on true
    cross join lateral begin_login($4, found.id, $5, make_interval(secs => $6)) as begun";

// The account once more, in an attempt that has begun.
const FIND_AGAIN: &str = "
    select users.password_hash from (select) as nobody left join users on users.id = $1";

// The hash that was verified must still be the user's: a password that was changed meanwhile opens nothing.
// An outdated hash is replaced in the same breath. The attempt ends with the session that it opens.
const OPEN: &str = "
    with owner as (
        select id from users where id = $1 and password_hash = $2 for no key update),
    rehashed as (
        update users set password_hash = $3 from owner where users.id = owner.id and $3 is not null),
    opened as (
        insert into sessions (user_id, expires_at, user_agent, source)
        select owner.id, now() + make_interval(secs => $4), $5, $6 from owner
        returning id, user_id),
    issued as (
        insert into refresh_tokens (digest, session_id) select $7, opened.id from opened)
    select opened.id as session_id, ended.*
    from (select) as nobody
    left join (opened cross join lateral (select end_good_login($8, $9, opened.user_id, $10)) as ended) on true";

/// The longest name that is looked up, in code points: more than any address has.
const MAX_USERNAME: usize = 320;
/// The longest part of a user agent that is kept, in characters.
const MAX_USER_AGENT: usize = 300;

/// Who logs in. The form borrows the field names of OAuth's password grant, which it is not: this is the
/// first party's own login.
pub(crate) struct Credentials {
    username: String,
    password: Password,
}

impl Input for Credentials {
    const BODY: Body = Body::Form(SMALL_BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let grant_type = fields.only("grant_type", "password");
        let username = fields.text("username", 0..=MAX_USERNAME);
        // Accounts from before may have passwords that would be too short today.
        let password = fields.password("password", 0..=128);
        grant_type?;
        Some(Self {
            username: username?,
            password: password?,
        })
    }
}

/// Opens a session for the right password. An unknown address and a wrong password are one answer, and take
/// one time.
pub(crate) async fn login(
    State(app): State<App>,
    From(source): From,
    headers: HeaderMap,
    Open(Credentials { username, password }): Open<Credentials>,
) -> Result<Json<TokenPair>, Error> {
    let address = Email::for_lookup(&username);
    let user_agent = user_agent(&headers);
    let keys = app.keys.set().await?;
    let buckets = LoginBuckets::new(&keys, &address, source);
    let known_as = buckets.known_as[0].clone();
    telemetry::record_client_network(source);
    let Found {
        attempt,
        user_id,
        mut stored_hash,
        stand_in,
    } = find(&app, username, address.clone(), buckets).await?;
    match user_id {
        Some(_) => telemetry::record_account(user_id, None),
        None => telemetry::record_unknown_email(&keys, &address),
    }
    let mut attempt = attempt.map_err(|refusal| refusal.noted(Outcome::LoginThrottled))?;
    // The second round is for a hash that changed after it was read: another login may have replaced an
    // outdated one, and then the password is right all the same.
    for round in 0..2 {
        if round > 0 {
            let sent = [(&user_id as _, Type::INT8)];
            stored_hash = app
                .db
                .read_one(FIND_AGAIN, &sent)
                .await?
                .get("password_hash");
        }
        let judged = attempt
            .judge(
                &app.passwords,
                password.clone(),
                stored_hash.as_deref(),
                stand_in.as_deref(),
            )
            .await?;
        let Some((right, verdict)) = judged else {
            return Err(refused());
        };
        let new_hash = match verdict {
            Verdict::RightButOutdated(new_hash) => Some(new_hash),
            _ => None,
        };
        let refresh_token = RefreshToken::generate()?;
        let [counted_by, ends_at] = right.parameters();
        let sent = [
            (&user_id as _, Type::INT8),
            (&stored_hash as _, Type::TEXT),
            (&new_hash as _, Type::TEXT),
            (&app.session_life.as_secs_f64() as _, Type::FLOAT8),
            (&user_agent as _, Type::TEXT),
            (&source as _, Type::INET),
            (&refresh_token.digest() as _, Type::BYTEA),
            counted_by,
            ends_at,
            (&known_as as _, Type::BYTEA),
        ];
        let opened = app.db.write(OPEN, &sent).await?;
        if let (Some(user_id), Some(session_id)) = (user_id, opened.get("session_id")) {
            right.has_ended();
            telemetry::record_account(Some(user_id), Some(session_id));
            return Ok(Json(
                TokenPair::new(&app, user_id, session_id, &refresh_token).await?,
            ));
        }
        attempt = right;
    }
    Err(refused())
}

/// What the first statement of a login found.
struct Found {
    /// The attempt that has begun, or why it has not.
    attempt: Result<Attempt, Error>,
    user_id: Option<i64>,
    stored_hash: Option<String>,
    /// How the hash of the account begins that an address without one is to look like.
    stand_in: Option<String>,
}

/// Begins the attempt, and looks for the account. It runs to its end: an attempt that nobody waits for is ended.
async fn find(
    app: &App,
    username: String,
    address: String,
    buckets: LoginBuckets,
) -> Result<Found, Error> {
    let db = app.db.clone();
    to_its_end(async move {
        let counted_by = buckets.all();
        let sent = [
            (&address as _, Type::TEXT),
            (&username as _, Type::TEXT),
            (&buckets.place as _, Type::BYTEA),
            (&counted_by as _, Type::BYTEA_ARRAY),
            (&buckets.known_as as _, Type::BYTEA_ARRAY),
            (&IN_FLIGHT_SECONDS as _, Type::FLOAT8),
        ];
        let row = db.write(FIND, &sent).await?;
        Ok(Found {
            user_id: row.get("id"),
            stored_hash: row.get("password_hash"),
            stand_in: row.get("stand_in"),
            attempt: Attempt::login(&db, counted_by, &row),
        })
    })
    .await
}

fn refused() -> Error {
    Error::unauthorized("Invalid credentials").noted(Outcome::LoginFailed)
}

/// What the client calls itself. A header is bytes (RFC 9110, section 5.5): what is no UTF-8 is read as Latin-1,
/// as headers once were. Control characters are left out.
fn user_agent(headers: &HeaderMap) -> Option<String> {
    let bytes = headers.get(header::USER_AGENT)?.as_bytes();
    let name = str::from_utf8(bytes).map_or_else(
        |_| bytes.iter().copied().map(char::from).collect(),
        str::to_owned,
    );
    let shown = name.chars().filter(|c| !c.is_control());
    Some(shown.take(MAX_USER_AGENT).collect())
}
