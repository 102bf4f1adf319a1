//! `GET /users/{id}`: anyone looks a user up; only the user sees the whole address.

use axum::extract::State;
use shared::{
    App, Error,
    caller::parameters,
    db::Type,
    input::{ById, Public},
    reply::{Json, User},
};

const READ: &str = "
    select $1 is null or exists (select from live_caller($1, $2)) as caller_is_good,
           id as user_id, email, created_at as user_created_at
    from (select) as nobody
    left join users on id = $3";

/// Shows one user.
pub(crate) async fn read(
    State(app): State<App>,
    Public(caller, ById(id)): Public<ById>,
) -> Result<Json<User>, Error> {
    let [user_id, session_id] = parameters(caller.as_ref());
    let row = app
        .db
        .read_one(READ, &[user_id, session_id, (&id.get(), Type::INT8)])
        .await?;
    if !row.get::<_, bool>("caller_is_good") {
        return Err(Error::bad_credentials());
    }
    match row.get("user_id") {
        Some::<i64>(_) => Ok(Json(User::shown_to(caller.as_ref(), &row))),
        None => Err(Error::not_found(format!("User with id: {id} not found"))),
    }
}
