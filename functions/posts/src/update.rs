//! `PUT /posts/{id}`: the owner rewrites a post; without `is_published` it stays as public as it was.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use shared::{
    App, Error,
    caller::parameters,
    db::Type,
    input::{BODY_LIMIT, Body, Fields, Id, Input, Signed},
    reply::Json,
};

use crate::post::{NewPost, Post, not_authorized, not_found};

const UPDATE: &str = "
    with author as (select * from live_caller($1, $2)),
         target as (
             select posts.id, posts.owner_id = author.id as is_owner from posts, author
             where posts.id = $3 and (posts.is_published or posts.owner_id = author.id)),
         updated as (
             update posts
             set title = $4, content = $5, is_published = coalesce($6, posts.is_published)
             from target
             where posts.id = target.id and target.is_owner
             returning posts.id, posts.title, posts.content, posts.is_published, posts.created_at)
    select exists (select from author) as author_exists,
           (select target.is_owner from target) as is_owner,
           updated.*, author.id as user_id, author.email, author.created_at as user_created_at
    from (select) as nobody
    left join (updated cross join author) on true";

/// A post and what it shall say.
pub(crate) struct Edit {
    id: Id,
    post: NewPost,
}

impl Input for Edit {
    const BODY: Body = Body::Json(BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let id = fields.path_id("id");
        let post = NewPost::read(fields);
        Some(Self {
            id: id?,
            post: post?,
        })
    }
}

/// Stores the new text and shows it.
pub(crate) async fn update(
    State(app): State<App>,
    Signed(caller, Edit { id, post }): Signed<Edit>,
) -> Result<Response, Error> {
    let [user_id, session_id] = parameters(Some(&caller));
    let sent = [
        user_id,
        session_id,
        (&id.get(), Type::INT8),
        (&post.title, Type::TEXT),
        (&post.content, Type::TEXT),
        (&post.is_published, Type::BOOL),
    ];
    let row = app.db.write(UPDATE, &sent).await?;
    if !row.get::<_, bool>("author_exists") {
        return Err(Error::bad_credentials());
    }
    match (row.get("is_owner"), row.get::<_, Option<i64>>("id")) {
        (Some(false), _) => Err(not_authorized()),
        (Some(true), Some(_)) => Ok(Json(Post::shown_to(Some(&caller), &row)).into_response()),
        // There is no such post, or somebody deleted it while this statement ran.
        _ => Err(not_found(&id)),
    }
}
