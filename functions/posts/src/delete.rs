//! `DELETE /posts/{id}`: the owner deletes a post, and its votes go with it.

use axum::{extract::State, http::StatusCode};
use shared::{
    App, Error,
    caller::parameters,
    db::Type,
    input::{ById, Signed},
};

use crate::post::{not_authorized, not_found};

const DELETE: &str = "
    with author as (select id from live_caller($1, $2)),
         target as (
             select posts.id, posts.owner_id = author.id as is_owner from posts, author
             where posts.id = $3 and (posts.is_published or posts.owner_id = author.id)),
         deleted as (
             delete from posts using target
             where posts.id = target.id and target.is_owner
             returning posts.id)
    select exists (select from author) as author_exists,
           (select target.is_owner from target) as is_owner,
           exists (select from deleted) as is_deleted";

/// Deletes one post.
pub(crate) async fn delete(
    State(app): State<App>,
    Signed(caller, ById(id)): Signed<ById>,
) -> Result<StatusCode, Error> {
    let [user_id, session_id] = parameters(Some(&caller));
    let row = app
        .db
        .write(DELETE, &[user_id, session_id, (&id.get(), Type::INT8)])
        .await?;
    if !row.get::<_, bool>("author_exists") {
        return Err(Error::bad_credentials());
    }
    match (row.get("is_owner"), row.get("is_deleted")) {
        (Some(false), _) => Err(not_authorized()),
        (Some(true), true) => Ok(StatusCode::NO_CONTENT),
        // There is no such post, or somebody else's request deleted it first.
        _ => Err(not_found(&id)),
    }
}
