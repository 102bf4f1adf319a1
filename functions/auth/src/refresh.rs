//! `POST /auth/refresh`: a refresh token is spent, and buys the next pair.

use axum::extract::State;
use shared::{
    App, Error,
    db::Type,
    input::Open,
    reply::Json,
    telemetry::{self, Outcome},
    tokens::RefreshToken,
};

use crate::pair::{Presented, TokenPair};

// The session is locked first: whoever logs it out, or refreshes it at the same time, comes before or after
// and never between. The token is locked next, and with that seen as others left it while this statement
// waited: of many refreshes at once one finds it unspent. The others come with a spent token. Within the
// grace period, while its successor was not used, they get that successor again; else the session ends, and
// since that is the statement's whole effect, it is committed. Using a token blanks what led to it. The refresh that
// is one too many ends the session in the same way.
const REFRESH: &str = "
    with session as (
        select sessions.id, sessions.user_id
        from sessions join refresh_tokens on refresh_tokens.session_id = sessions.id
        where refresh_tokens.digest = $1 and sessions.expires_at > now()
        for update of sessions),
    presented as (
        select refresh_tokens.digest, refresh_tokens.session_id, refresh_tokens.spent_at,
               refresh_tokens.successor_sealed, refresh_tokens.refreshes + 1 as refreshes
        from refresh_tokens join session on session.id = refresh_tokens.session_id
        where refresh_tokens.digest = $1
        for update of refresh_tokens),
    spent as (
        update refresh_tokens set spent_at = now(), successor_sealed = $3
        from presented
        where refresh_tokens.digest = presented.digest and presented.spent_at is null
          and presented.refreshes < $5
        returning refresh_tokens.session_id, presented.refreshes),
    blanked as (
        update refresh_tokens set successor_sealed = null
        from spent
        where refresh_tokens.session_id = spent.session_id and refresh_tokens.digest <> $1
          and refresh_tokens.successor_sealed is not null),
    issued as (
        insert into refresh_tokens (digest, session_id, refreshes)
        select $2, spent.session_id, spent.refreshes from spent),
    repeated as (
        select presented.session_id, presented.successor_sealed
        from presented
        where presented.spent_at > now() - make_interval(secs => $4)
          and presented.successor_sealed is not null),
    ended as (
        delete from sessions using presented
        where sessions.id = presented.session_id
          and not exists (select from spent) and not exists (select from repeated)
        returning sessions.id)
    select session.id as session_id, session.user_id,
           exists (select from spent) as is_spent,
           exists (select from ended, presented where presented.spent_at is not null) as is_reuse,
           (select repeated.successor_sealed from repeated) as successor_sealed
    from (select) as nobody
    left join session on true";

/// A session ends with this refresh. At one each half hour, thirty days take 1,440.
const MAX_REFRESHES: i32 = 10_000;

/// Exchanges a live token; a spent one ends its session.
pub(crate) async fn refresh(
    State(app): State<App>,
    Open(Presented { refresh_token }): Open<Presented>,
) -> Result<Json<TokenPair>, Error> {
    let refused = || Error::unauthorized("Invalid or expired refresh token");
    let presented = refresh_token.ok_or_else(refused)?;
    let successor = RefreshToken::generate()?;
    let grace = app.reuse_grace.as_secs_f64();
    let sealed = if grace > 0.0 {
        Some(presented.seal(&successor)?)
    } else {
        None
    };
    let sent = [
        (&presented.digest() as _, Type::BYTEA),
        (&successor.digest() as _, Type::BYTEA),
        (&sealed as _, Type::BYTEA),
        (&grace as _, Type::FLOAT8),
        (&MAX_REFRESHES as _, Type::INT4),
    ];
    let row = app.db.write(REFRESH, &sent).await?;
    telemetry::record_account(row.get("user_id"), row.get("session_id"));
    if row.get("is_reuse") {
        return Err(refused().noted(Outcome::RefreshTokenReused));
    }
    let successor = match (
        row.get("is_spent"),
        row.get::<_, Option<Vec<u8>>>("successor_sealed"),
    ) {
        (true, _) => successor,
        (false, Some(sealed)) => presented.unseal(sealed)?,
        (false, None) => return Err(refused()),
    };
    match (row.get("user_id"), row.get("session_id")) {
        (Some(user_id), Some(session_id)) => Ok(Json(
            TokenPair::new(&app, user_id, session_id, &successor).await?,
        )),
        _ => Err(refused()),
    }
}
