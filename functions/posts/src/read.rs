//! `GET /posts/{id}`: anyone reads a published post, its owner also a draft.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use shared::{
    App, Error,
    caller::parameters,
    db::Type,
    input::{ById, Public},
    reply::Json,
};

use crate::post::{PostWithVotes, not_found};

const READ: &str = "
    with viewer as (select id from live_caller($1, $2))
    select $1 is null or exists (select from viewer) as viewer_is_good,
           posts.id, posts.title, posts.content, posts.is_published, posts.created_at,
           users.id as user_id, users.email, users.created_at as user_created_at,
           (select coalesce(sum(vote_counts.votes), 0)::bigint from vote_counts
            where vote_counts.post_id = posts.id) as votes
    from (select) as nobody
    left join (posts join users on users.id = posts.owner_id)
        on posts.id = $3 and (posts.is_published or posts.owner_id = (select viewer.id from viewer))";

/// Shows one post and its votes.
pub(crate) async fn read(
    State(app): State<App>,
    Public(caller, ById(id)): Public<ById>,
) -> Result<Response, Error> {
    let [user_id, session_id] = parameters(caller.as_ref());
    let row = app
        .db
        .read_one(READ, &[user_id, session_id, (&id.get(), Type::INT8)])
        .await?;
    if !row.get::<_, bool>("viewer_is_good") {
        return Err(Error::bad_credentials());
    }
    match row.get("id") {
        Some::<i64>(_) => Ok(Json(PostWithVotes::shown_to(caller.as_ref(), &row)).into_response()),
        None => Err(not_found(&id)),
    }
}
