//! `POST /posts/`: the caller writes a post.

use axum::{Extension, extract::State, response::Response};
use shared::{
    App, Error,
    app::RequestedPath,
    caller::parameters,
    db::Type,
    input::{BODY_LIMIT, Body, Fields, Input, Signed},
    reply::created,
};

use crate::post::{NewPost, Post};

// The lock keeps the author from vanishing between the look and the insert.
const CREATE: &str = "
    with author as (
             select users.id, users.email, users.created_at
             from live_caller($1, $2) as caller join users on users.id = caller.id
             for key share of users),
         created as (
             insert into posts (title, content, is_published, owner_id)
             select $3, $4, $5, author.id from author
             returning id, title, content, is_published, created_at)
    select created.*, author.id as user_id, author.email, author.created_at as user_created_at
    from (select) as nobody
    left join (created cross join author) on true";

impl Input for NewPost {
    const BODY: Body = Body::Json(BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Self::read(fields)
    }
}

/// Stores the post, published unless it says otherwise.
pub(crate) async fn create(
    State(app): State<App>,
    Extension(path): Extension<RequestedPath>,
    Signed(caller, post): Signed<NewPost>,
) -> Result<Response, Error> {
    let is_published = post.is_published.unwrap_or(true);
    let [user_id, session_id] = parameters(Some(&caller));
    let sent = [
        user_id,
        session_id,
        (&post.title, Type::TEXT),
        (&post.content, Type::TEXT),
        (&is_published, Type::BOOL),
    ];
    let row = app.db.write(CREATE, &sent).await?;
    let Some(id): Option<i64> = row.get("id") else {
        return Err(Error::bad_credentials());
    };
    Ok(created(&path, id, Post::shown_to(Some(&caller), &row)))
}
