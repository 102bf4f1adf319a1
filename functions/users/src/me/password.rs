//! `PUT /users/me/password`: a new password, which ends every session but the caller's.

use axum::extract::State;
use shared::{
    App, Error,
    app::From,
    db::Type,
    error::Problem,
    input::{Body, Fields, Input, SMALL_BODY_LIMIT, Signed},
    password::Password,
    reply::{Json, Message},
};

use crate::confirm::confirm;

const CHANGE: &str = "select change_password($1, $2, $3, $4) as is_changed";

const NEW_PASSWORD: &str = "new_password";

/// The password as it is, and as it shall be.
pub(crate) struct NewPassword {
    old: Password,
    new: Password,
}

impl Input for NewPassword {
    const BODY: Body = Body::Json(SMALL_BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let old = fields.password("old_password", 0..=128);
        let new = fields.new_password(NEW_PASSWORD, |new| {
            let is_old = old.as_ref().is_some_and(|old| new.reads_like(old));
            is_old.then_some("This password is the old one")
        });
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
    // The second round is for a hash that was replaced after it was verified: a login does that to an outdated
    // one, and then the password is right all the same. Another change has ended this session.
    for _ in 0..2 {
        let verified = confirm(&app, &caller, source, old.clone()).await?;
        // Only now: the address is told to nobody who does not know the password.
        if let Some(reason) = new.guessed_by(&verified.email) {
            let problem = Problem::of_secret(NEW_PASSWORD, reason);
            return Err(Error::problems(&[problem]));
        }
        let new_hash = app.passwords.hash(new.clone()).await?;
        let sent = [
            (&caller.user_id as _, Type::INT8),
            (&caller.session_id as _, Type::INT8),
            (&verified.hash as _, Type::TEXT),
            (&new_hash as _, Type::TEXT),
        ];
        if app.db.write(CHANGE, &sent).await?.get("is_changed") {
            return Ok(Json(Message {
                message: "Successfully changed password",
            }));
        }
    }
    Err(Error::bad_credentials())
}
