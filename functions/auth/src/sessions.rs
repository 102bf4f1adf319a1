//! `/auth/sessions`: where the caller is logged in.

use std::net::IpAddr;

use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use shared::{
    App, Error,
    caller::parameters,
    db::Type,
    input::{ById, NoInput, Signed},
    reply::Json,
    timestamp::Timestamp,
};

// A session was used last when its live token was issued.
const LIST: &str = "
    with owner as (select id from live_caller($1, $2))
    select exists (select from owner) as owner_exists,
           sessions.id, sessions.created_at, live.issued_at as last_used_at, sessions.expires_at,
           sessions.user_agent, sessions.source, sessions.id is not distinct from $2 as is_current
    from (select) as nobody
    left join (
        owner
        join sessions on sessions.user_id = owner.id and sessions.expires_at > now()
        join refresh_tokens live on live.session_id = sessions.id and live.spent_at is null) on true
    order by live.issued_at desc, sessions.id desc";

const END: &str = "
    with owner as (select id from live_caller($1, $2)),
         ended as (
             delete from sessions using owner
             where sessions.id = $3 and sessions.user_id = owner.id and sessions.expires_at > now()
             returning sessions.id)
    select exists (select from owner) as owner_exists, exists (select from ended) as is_ended";

/// A login that lasts.
#[derive(Serialize)]
pub(crate) struct Session {
    id: i64,
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    user_agent: Option<String>,
    source: Option<IpAddr>,
    is_current: bool,
}

/// `GET /auth/sessions`: all of the caller's, the one used last first.
pub(crate) async fn list(
    State(app): State<App>,
    Signed(caller, NoInput): Signed<NoInput>,
) -> Result<Json<Vec<Session>>, Error> {
    let rows = app.db.read(LIST, &parameters(Some(&caller))).await?;
    if !rows.first().is_some_and(|row| row.get("owner_exists")) {
        return Err(Error::bad_credentials());
    }
    let sessions = rows.iter().filter_map(|row| {
        Some(Session {
            id: row.get::<_, Option<_>>("id")?,
            created_at: row.get("created_at"),
            last_used_at: row.get("last_used_at"),
            expires_at: row.get("expires_at"),
            user_agent: row.get("user_agent"),
            source: row.get("source"),
            is_current: row.get("is_current"),
        })
    });
    Ok(Json(sessions.collect()))
}

/// `DELETE /auth/sessions/{id}`: one of the caller's ends, perhaps this one.
pub(crate) async fn end(
    State(app): State<App>,
    Signed(caller, ById(id)): Signed<ById>,
) -> Result<StatusCode, Error> {
    let [user_id, session_id] = parameters(Some(&caller));
    let row = app
        .db
        .write(END, &[user_id, session_id, (&id.get(), Type::INT8)])
        .await?;
    if !row.get::<_, bool>("owner_exists") {
        return Err(Error::bad_credentials());
    }
    if row.get("is_ended") {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::not_found(format!("Session with id: {id} not found")))
    }
}
