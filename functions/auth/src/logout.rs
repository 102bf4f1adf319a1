//! `POST /auth/logout`: the session of a live refresh token ends.

use axum::extract::State;
use shared::{
    App, Error,
    db::Type,
    input::Open,
    reply::{Json, Message},
    telemetry,
};

use crate::pair::Presented;

// The session ends, not just the token: a refresh that runs at the same time holds the session's row, and
// what it issues goes with the session.
const LOGOUT: &str = "
    with ended as (
        delete from sessions using refresh_tokens
        where refresh_tokens.digest = $1 and refresh_tokens.spent_at is null
          and sessions.id = refresh_tokens.session_id and sessions.expires_at > now()
        returning sessions.id, sessions.user_id)
    select ended.id as session_id, ended.user_id
    from (select) as nobody
    left join ended on true";

/// Ends the session; a spent or unknown token changes nothing.
pub(crate) async fn logout(
    State(app): State<App>,
    Open(Presented { refresh_token }): Open<Presented>,
) -> Result<Json<Message>, Error> {
    let unknown = || Error::not_found("Refresh token not found");
    let digest = refresh_token.ok_or_else(unknown)?.digest();
    let row = app.db.write(LOGOUT, &[(&digest, Type::BYTEA)]).await?;
    let session_id: Option<i64> = row.get("session_id");
    telemetry::record_account(row.get("user_id"), session_id);
    if session_id.is_some() {
        Ok(Json(Message {
            message: "Successfully logged out",
        }))
    } else {
        Err(unknown())
    }
}
