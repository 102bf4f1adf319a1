//! `POST /vote/`: the caller votes for a post, or takes the vote back.

use axum::{Router, extract::State, http::StatusCode, routing::post};
use shared::{
    App, Error,
    caller::parameters,
    db::Type,
    input::{BODY_LIMIT, Body, Fields, Id, Input, Signed},
    reply::{Json, Message},
};

// One statement answers all the questions: does the caller still exist, is there such a post that they may
// see, did anything change? The key of the votes decides, however many come at once. The locks keep voter and post
// from vanishing between the answer and the insert, and are taken in the order that every statement keeps.
const VOTE: &str = "
    with voter as (
             select users.id from live_caller($1, $2) as caller join users on users.id = caller.id
             for key share of users),
         target as (
             select posts.id from posts, voter
             where posts.id = $3 and (posts.is_published or posts.owner_id = voter.id)
             for key share of posts),
         added as (
             insert into votes (user_id, post_id)
             select voter.id, target.id from voter, target where $4
             on conflict do nothing
             returning post_id),
         removed as (
             delete from votes using voter, target
             where votes.user_id = voter.id and votes.post_id = target.id and not $4
             returning votes.post_id)
    select exists (select from voter) as voter_exists,
           exists (select from target) as post_exists,
           exists (select from added) or exists (select from removed) as changed";

/// The routes of this function.
pub fn router() -> Router<App> {
    Router::new().route("/vote", post(vote))
}

/// A vote as it is cast: for which post, and whether it is given or taken back.
struct Ballot {
    post_id: Id,
    is_added: bool,
}

impl Input for Ballot {
    const BODY: Body = Body::Json(BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let post_id = fields.id("post_id");
        let dir = fields.integer("dir", 0..=1);
        Some(Self {
            post_id: post_id?,
            is_added: dir? == 1,
        })
    }
}

async fn vote(
    State(app): State<App>,
    Signed(caller, Ballot { post_id, is_added }): Signed<Ballot>,
) -> Result<(StatusCode, Json<Message>), Error> {
    let no_such_post = || Error::not_found(format!("Post with id: {post_id} does not exist"));
    let [user_id, session_id] = parameters(Some(&caller));
    let sent = [
        user_id,
        session_id,
        (&post_id.get(), Type::INT8),
        (&is_added, Type::BOOL),
    ];
    let row = app.db.write(VOTE, &sent).await?;
    if !row.get::<_, bool>("voter_exists") {
        return Err(Error::bad_credentials());
    }
    if !row.get::<_, bool>("post_exists") {
        return Err(no_such_post());
    }
    match (row.get("changed"), is_added) {
        (true, true) => Ok((
            StatusCode::CREATED,
            Json(Message {
                message: "Successfully added vote",
            }),
        )),
        (true, false) => Ok((
            StatusCode::CREATED,
            Json(Message {
                message: "Successfully removed vote",
            }),
        )),
        (false, true) => Err(Error::conflict(format!(
            "user {} has already voted on post {post_id}",
            caller.user_id
        ))),
        (false, false) => Err(Error::not_found("Vote does not exist")),
    }
}
