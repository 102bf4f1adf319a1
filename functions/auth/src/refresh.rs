//! `POST /auth/refresh`: a refresh token is spent, and buys the next pair.

use axum::extract::State;
use shared::{App, Error, db::Type, input::Open, reply::Json, tokens::RefreshToken};

use crate::pair::{Presented, TokenPair};

// The session is locked first: whoever logs it out, or refreshes it at the same time, comes before or after
// and never between. Whether the token was spent is then decided by the update, which sees what others have
// committed while this statement waited: of many refreshes at once one finds it unspent. The others come with
// a spent token, which ends the session; since that is this statement's whole effect, it is committed.
const REFRESH: &str = "
    with session as (
        select sessions.id, sessions.user_id
        from sessions join refresh_tokens on refresh_tokens.session_id = sessions.id
        where refresh_tokens.digest = $1 and sessions.expires_at > now()
        for update of sessions),
    spent as (
        update refresh_tokens set spent_at = now()
        from session
        where refresh_tokens.digest = $1 and refresh_tokens.spent_at is null
        returning refresh_tokens.session_id),
    issued as (
        insert into refresh_tokens (digest, session_id)
        select $2, spent.session_id from spent
        returning session_id),
    ended as (
        delete from sessions using session
        where sessions.id = session.id and not exists (select from spent)
        returning sessions.id)
    select session.user_id, issued.session_id, exists (select from ended) as is_reuse
    from (select) as nobody
    left join (issued join session on session.id = issued.session_id) on true";

/// Exchanges a live token; a spent one ends its session.
pub(crate) async fn refresh(
    State(app): State<App>,
    Open(Presented { refresh_token }): Open<Presented>,
) -> Result<Json<TokenPair>, Error> {
    let refused = || Error::unauthorized("Invalid or expired refresh token");
    let presented = refresh_token.ok_or_else(refused)?;
    let successor = RefreshToken::generate()?;
    let sent = [
        (&presented.digest() as _, Type::BYTEA),
        (&successor.digest() as _, Type::BYTEA),
    ];
    let row = app.db.write(REFRESH, &sent).await?;
    if row.get("is_reuse") {
        tracing::warn!("a spent refresh token came back, and its session was ended");
    }
    match (row.get("user_id"), row.get("session_id")) {
        (Some(user_id), Some(session_id)) => Ok(Json(
            TokenPair::new(&app, user_id, session_id, &successor).await?,
        )),
        _ => Err(refused()),
    }
}
