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
    limits::{LoginBuckets, too_many},
    password::{Password, Verdict},
    reply::Json,
    telemetry::{self, Outcome},
    tokens::RefreshToken,
};

use crate::pair::TokenPair;

// An attempt is counted before its verdict is known, whether the address has an account or not. An account that
// was taken over from elsewhere is found by its address as it stands there, even where it is not normal; it goes
// before the one that has the normal form of it.
const FIND: &str = "
    with counted as (select count_login($3, $4, $5) as retry_after),
         found as (
             select id, password_hash from users
             where lower(email collate \"C\") in (lower($1 collate \"C\"), lower($2 collate \"C\"))
             order by lower(email collate \"C\") = lower($2 collate \"C\") desc
             limit 1)
    select counted.retry_after, found.id, found.password_hash
    from counted
    left join found on true";

// The hash that was verified must still be the user's: a password that was changed meanwhile opens nothing.
// An outdated hash is replaced in the same breath.
const OPEN: &str = "
    with owner as (
        select id from users where id = $1 and password_hash = $2 for no key update),
    rehashed as (
        update users set password_hash = $3 from owner where users.id = owner.id and $3 is not null),
    opened as (
        insert into sessions (user_id, expires_at, user_agent, source)
        select owner.id, now() + make_interval(secs => $4), $5, $6 from owner
        returning id),
    issued as (
        insert into refresh_tokens (digest, session_id) select $7, opened.id from opened)
    select opened.id as session_id, forgiven.*
    from (select) as nobody
    left join (opened cross join lateral (select forgive_login($8, $9, $10)) as forgiven) on true";

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
    let buckets = LoginBuckets::new(&address, source);
    telemetry::record_client_network(source);
    // The second round is for a hash that changed after it was read: another login may have replaced an
    // outdated one, and then the password is right all the same.
    for _ in 0..2 {
        let [by_address, by_source, by_both] = buckets.parameters();
        let sent = [
            (&address as _, Type::TEXT),
            (&username as _, Type::TEXT),
            by_address.clone(),
            by_source.clone(),
            by_both.clone(),
        ];
        let found = app.db.write(FIND, &sent).await?;
        let user_id: Option<i64> = found.get("id");
        match user_id {
            Some(_) => telemetry::record_account(user_id, None),
            None => telemetry::record_unknown_email(&*app.keys.set().await?, &address),
        }
        let retry_after = found.get("retry_after");
        if retry_after > 0 {
            return Err(
                too_many("Too many failed logins", retry_after).noted(Outcome::LoginThrottled)
            );
        }
        let stored_hash: Option<String> = found.get("password_hash");
        let verdict = app
            .passwords
            .verify(password.clone(), stored_hash.clone())
            .await?;
        let new_hash = match verdict {
            Verdict::Wrong => break,
            Verdict::Right => None,
            Verdict::RightButOutdated => Some(app.passwords.hash(password.clone()).await?),
        };
        let refresh_token = RefreshToken::generate()?;
        let sent = [
            (&user_id as _, Type::INT8),
            (&stored_hash as _, Type::TEXT),
            (&new_hash as _, Type::TEXT),
            (&app.session_life.as_secs_f64() as _, Type::FLOAT8),
            (&user_agent as _, Type::TEXT),
            (&source as _, Type::INET),
            (&refresh_token.digest() as _, Type::BYTEA),
            by_address,
            by_source,
            by_both,
        ];
        let opened = app.db.write(OPEN, &sent).await?;
        if let (Some(user_id), Some(session_id)) = (user_id, opened.get("session_id")) {
            telemetry::record_account(Some(user_id), Some(session_id));
            return Ok(Json(
                TokenPair::new(&app, user_id, session_id, &refresh_token).await?,
            ));
        }
    }
    Err(Error::unauthorized("Invalid credentials").noted(Outcome::LoginFailed))
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
