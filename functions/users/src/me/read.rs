//! `GET /users/me`: the caller's account, with the whole address.

use axum::extract::State;
use shared::{
    App, Error,
    caller::parameters,
    input::{NoInput, Signed},
    reply::{Json, User},
};

const READ: &str = "
    select caller.id as user_id, caller.email, caller.created_at as user_created_at
    from (select) as nobody
    left join live_caller($1, $2) as caller on true";

/// Shows the caller.
pub(crate) async fn read(
    State(app): State<App>,
    Signed(caller, NoInput): Signed<NoInput>,
) -> Result<Json<User>, Error> {
    let row = app.db.read_one(READ, &parameters(Some(&caller))).await?;
    match row.get("user_id") {
        Some::<i64>(_) => Ok(Json(User::shown_to(Some(&caller), &row))),
        None => Err(Error::bad_credentials()),
    }
}
