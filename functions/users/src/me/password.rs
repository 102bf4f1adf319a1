//! `PUT /users/me/password`: a new password, which ends every session but the caller's.

use axum::extract::State;
use shared::{
    App, Error,
    app::From,
    db::Type,
    input::{Body, Fields, Input, SMALL_BODY_LIMIT, Signed},
    password::Password,
    reply::{Json, Message},
};

use crate::confirm::confirm;

const CHANGE: &str = "select change_password($1, $2, $3, $4) as is_changed";

/// The password as it is, and as it shall be.
pub(crate) struct NewPassword {
    old: Password,
    new: Password,
}

impl Input for NewPassword {
    const BODY: Body = Body::Json(SMALL_BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let old = fields.password("old_password", 0..=128);
        let new = fields.new_password("new_password");
        Some(Self {
            old: old?,
            new: new?,
        })
    }
}

/// Changes the password.
pub(crate) async fn change(
    State(app): State<App>,
    From(source): From,
    Signed(caller, NewPassword { old, new }): Signed<NewPassword>,
) -> Result<Json<Message>, Error> {
    let verified_hash = confirm(&app, &caller, source, old).await?;
    let new_hash = app.passwords.hash(new).await?;
    let sent = [
        (&caller.user_id as _, Type::INT8),
        (&caller.session_id as _, Type::INT8),
        (&verified_hash as _, Type::TEXT),
        (&new_hash as _, Type::TEXT),
    ];
    let row = app.db.write(CHANGE, &sent).await?;
    if row.get("is_changed") {
        Ok(Json(Message {
            message: "Successfully changed password",
        }))
    } else {
        // Somebody else changed it first, and that ended this session.
        Err(Error::bad_credentials())
    }
}
