//! Takes over the database of the FastAPI service, in place, once.

mod shape;
mod survey;
mod take_over;

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_postgres::{Client, Transaction};

use crate::{
    Failure, Report,
    deadline::Deadline,
    schema,
    transaction::{begin, begin_to_read, commit, lock_schema},
};

/// An adoption that is expected to take longer than this may not end within the 15 minutes of a function.
const FITS_A_FUNCTION: Duration = Duration::from_mins(10);

// The names of the tables are those of this schema.
const SCHEMA: &str = "set local search_path = public";

/// At most so many ids of a kind are told.
const MOST_IDS: i64 = 100;

/// What is found in the database of the FastAPI service, and what would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Whether `adopt` would do it.
    pub can_proceed: bool,
    /// Why not, and what to do about it: a sentence each.
    pub reasons: Vec<String>,
    /// What the tables hold; nothing where they are not the tables that are expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Box<Contents>>,
}

/// What the tables of the FastAPI service hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// The rows of each table.
    pub rows: Rows,
    /// Live refresh tokens: each becomes a session.
    pub sessions: i64,
    /// Refresh tokens that are revoked or have expired: they go.
    pub tokens_dropped: i64,
    /// Accounts whose addresses differ in case alone, which cannot stay so: a list of ids for each address.
    pub colliding_addresses: Found<Vec<i64>>,
    /// Users whose address would be refused or written otherwise today; they are kept, and log in with it.
    pub odd_addresses: Found<i64>,
    /// Posts whose title is longer than a new one may be; they are kept.
    pub titles_over_limit: Found<i64>,
    /// Posts without a title, which a new one must have; they are kept.
    pub empty_titles: Found<i64>,
    /// Posts whose content is longer than that of a new one may be; they are kept.
    pub contents_over_limit: Found<i64>,
    /// Posts that no answer can carry, since Lambda's have at most 6 MB; they have to be shortened before.
    pub posts_over_answer: Found<i64>,
    /// What the tables take on disk; while they are adopted, about as much again.
    pub size_bytes: i64,
    /// How long it takes, at the pace of a small server.
    pub estimated_seconds: i64,
    /// Where it should be run from.
    pub run_from: RunFrom,
}

/// Where an adoption is run from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunFrom {
    /// The function has time enough for it, and so has a terminal.
    Anywhere,
    /// `cargo local adopt`: the function would be stopped after 15 minutes, and everything would be as before.
    Terminal,
}

/// How many rows each table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// Accounts.
    pub users: i64,
    /// Posts.
    pub posts: i64,
    /// Votes.
    pub votes: i64,
    /// Refresh tokens, dead and alive.
    pub refresh_tokens: i64,
}

/// How many there are, and the first of them by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found<Id> {
    /// All of them.
    pub count: i64,
    /// No more than the first hundred.
    pub ids: Vec<Id>,
}

/// What was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TakenOver {
    /// Accounts.
    pub users: u64,
    /// Posts.
    pub posts: u64,
    /// Votes.
    pub votes: u64,
    /// Refresh tokens that were live, and now are sessions.
    pub sessions: u64,
}

/// Tells what would happen, and changes nothing.
pub(crate) async fn survey(client: &mut Client) -> Result<Report, Failure> {
    let transaction = begin_to_read(client).await?;
    if let Some(done) = nothing_to_do(&transaction).await? {
        return Ok(done);
    }
    transaction.batch_execute(SCHEMA).await?;
    let mut reasons = shape::objections(&transaction).await?;
    let found = if reasons.is_empty() {
        reasons = survey::objections(&transaction).await?;
        Some(Box::new(survey::contents(&transaction).await?))
    } else {
        None
    };
    commit(transaction, "The survey").await?;
    Ok(Report::Surveyed(Survey {
        can_proceed: reasons.is_empty(),
        reasons,
        found,
    }))
}

/// Does it, in one transaction: all of it or nothing. Of several at once one does it, and the others wait and
/// find nothing to do.
pub(crate) async fn adopt(client: &mut Client, deadline: Deadline) -> Result<Report, Failure> {
    let began = Instant::now();
    let transaction = begin(client).await?;
    lock_schema(&transaction, deadline).await?;
    if let Some(done) = nothing_to_do(&transaction).await? {
        return Ok(done);
    }
    transaction.batch_execute(SCHEMA).await?;
    // Objections are found before anybody has to wait for us, and looked for again when nobody can write.
    refuse(&shape::objections(&transaction).await?)?;
    refuse(&survey::objections(&transaction).await?)?;
    take_over::lock(&transaction).await?;
    refuse(&shape::objections(&transaction).await?)?;
    refuse(&survey::objections(&transaction).await?)?;
    let taken_over = take_over::take_over(&transaction)
        .await
        .map_err(|failure| {
            Failure(format!(
                "The adoption did not finish, and nothing was changed: {failure}."
            ))
        })?;
    let now = schema::status_within(&transaction).await?;
    commit(transaction, "The adoption").await?;
    Ok(Report::Adopted {
        taken_over,
        seconds: began.elapsed().as_secs(),
        version: now.applied.last().map(|last| last.version),
    })
}

/// A database that has our history was adopted before, or never was another's.
async fn nothing_to_do(transaction: &Transaction<'_>) -> Result<Option<Report>, Failure> {
    let status = schema::status_within(transaction).await?;
    Ok(status.applied.last().map(|last| Report::NothingToAdopt {
        nothing_to_do: "The database has this service's schema already.",
        version: last.version,
    }))
}

fn refuse(objections: &[String]) -> Result<(), Failure> {
    if objections.is_empty() {
        return Ok(());
    }
    Err(Failure(format!(
        "The database cannot be adopted, and nothing was changed. {}",
        objections.join(" ")
    )))
}

/// How long rows and bytes take, by the rates measured on two cores and a disk of a small server.
fn estimate(rows: Rows, size_bytes: i64) -> Duration {
    let micros = rows.users * 10 + rows.posts * 100 + rows.votes * 4 + rows.refresh_tokens * 10;
    let micros = micros + size_bytes / 100;
    Duration::from_micros(micros.unsigned_abs()) + Duration::from_secs(1)
}
