//! `DELETE /users/me`: the caller's account goes, and with it their posts, votes and sessions.

use axum::{extract::State, http::StatusCode};
use shared::{
    App, Error,
    app::From,
    db::Type,
    input::{Body, Fields, Input, SMALL_BODY_LIMIT, Signed},
    password::Password,
};

use crate::confirm::confirm;

// The password that was verified must still be the user's, and the session must not have ended meanwhile.
const DELETE: &str = "select delete_account($1, $2, $3) as is_deleted";

/// A farewell, confirmed by the password.
pub(crate) struct Farewell {
    password: Password,
}

impl Input for Farewell {
    const BODY: Body = Body::Json(SMALL_BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            password: fields.password("password", 0..=128)?,
        })
    }
}

/// Deletes the account.
pub(crate) async fn delete(
    State(app): State<App>,
    From(source): From,
    Signed(caller, Farewell { password }): Signed<Farewell>,
) -> Result<StatusCode, Error> {
    // The second round is for a hash that was replaced after it was verified: a login does that to an outdated
    // one, and then the password is right all the same.
    for _ in 0..2 {
        let verified = confirm(&app, &caller, source, password.clone()).await?;
        let sent = [
            (&caller.user_id as _, Type::INT8),
            (&caller.session_id as _, Type::INT8),
            (&verified.hash as _, Type::TEXT),
        ];
        if app.db.write(DELETE, &sent).await?.get("is_deleted") {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(Error::bad_credentials())
}
