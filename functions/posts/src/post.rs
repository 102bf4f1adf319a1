//! What the routes of posts have in common: a post as it is shown, written and named.

use serde::Serialize;
use shared::{
    Caller, Error,
    db::Row,
    input::{Fields, Id},
    reply::User,
    timestamp::Timestamp,
};

/// A post as the caller may see it. Its text, which may be long, stays in the row that it was read in.
#[derive(Debug, Serialize)]
pub(crate) struct Post<'row> {
    title: &'row str,
    content: &'row str,
    is_published: bool,
    id: i64,
    created_at: Timestamp,
    owner: User,
}

/// A post and how many like it.
#[derive(Debug, Serialize)]
pub(crate) struct PostWithVotes<'row> {
    #[serde(rename = "Post")]
    post: Post<'row>,
    votes: i64,
}

/// What an author writes.
pub(crate) struct NewPost {
    pub(crate) title: String,
    pub(crate) content: String,
    pub(crate) is_published: Option<bool>,
}

impl<'row> Post<'row> {
    /// Reads the columns `id`, `title`, `content`, `is_published` and `created_at`, and those of its owner.
    pub(crate) fn shown_to(caller: Option<&Caller>, row: &'row Row) -> Self {
        Self {
            title: row.get("title"),
            content: row.get("content"),
            is_published: row.get("is_published"),
            id: row.get("id"),
            created_at: row.get("created_at"),
            owner: User::shown_to(caller, row),
        }
    }
}

impl<'row> PostWithVotes<'row> {
    /// Reads the columns of a post, and `votes`.
    pub(crate) fn shown_to(caller: Option<&Caller>, row: &'row Row) -> Self {
        Self {
            post: Post::shown_to(caller, row),
            votes: row.get("votes"),
        }
    }
}

impl NewPost {
    /// Reads the fields of a body, all of them.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let title = fields.text("title", 1..=300);
        let content = fields.text("content", 0..=50_000);
        let is_published = fields.boolean("is_published");
        Some(Self {
            title: title?,
            content: content?,
            is_published: is_published?,
        })
    }
}

/// 404, also for a draft of somebody else's.
pub(crate) fn not_found(id: &Id) -> Error {
    Error::not_found(format!("Post with id: {id} not found"))
}

/// 403: the post is there for all to see, and somebody else's.
pub(crate) fn not_authorized() -> Error {
    Error::forbidden("Not authorized to perform requested action")
}
