//! `POST /auth/logout-all`: every session of the caller ends.

use axum::extract::State;
use shared::{
    App, Error,
    caller::parameters,
    input::{NoInput, Signed},
    reply::{Json, Message},
};

// The user is locked first, as a login does that ends sessions: the two would take them in different orders.
const LOGOUT_ALL: &str = "
    with owner as (
        select users.id from live_caller($1, $2) as caller join users on users.id = caller.id
        for no key update of users),
         ended as (delete from sessions using owner where sessions.user_id = owner.id)
    select exists (select from owner) as owner_exists";

/// Ends them all, the caller's own too.
pub(crate) async fn logout_all(
    State(app): State<App>,
    Signed(caller, NoInput): Signed<NoInput>,
) -> Result<Json<Message>, Error> {
    let row = app.db.write(LOGOUT_ALL, &parameters(Some(&caller))).await?;
    if row.get("owner_exists") {
        Ok(Json(Message {
            message: "Successfully logged out from all devices",
        }))
    } else {
        Err(Error::bad_credentials())
    }
}
