//! Deletes what has expired, a little at a time, beside the traffic.

use std::time::Duration;

use tokio_postgres::{Client, Transaction, types::Type};

use crate::{
    Failure, Report,
    deadline::Deadline,
    transaction::{begin, commit},
};

/// At most so many rows are deleted or changed before they are committed. Ten thousand take some 50 ms.
const BATCH: i64 = 10_000;
/// The sessions of a batch: few enough for what is deleted of them to be found again quickly while they last, when
/// each has ten thousand tokens.
const SESSIONS: i64 = 100;
/// No batch begins when less time is left.
const TO_BEGIN: Duration = Duration::from_secs(10);

// The limit of this work, whatever the role's is: a batch meets a slow disk now and then.
const LIMIT: &str = "set local statement_timeout = '60s'";

// Rows that a request holds right now are left for the next time: nobody waits for the cleaner, and it waits for
// nobody. Sessions are locked before their tokens, as everywhere.
const CHOOSE_SESSIONS: &str = "
    select id from sessions
    where expires_at <= now() and id <> all ($1)
    order by expires_at limit $2
    for update skip locked";

const DELETE_TOKENS: &str = "
    delete from refresh_tokens where ctid = any (array(
        select ctid from refresh_tokens
        where session_id = any ($1) limit $2
        for update skip locked))";

const DELETE_SESSIONS: &str = "
    delete from sessions
    where id = any ($1)
      and not exists (select from refresh_tokens where refresh_tokens.session_id = sessions.id)";

const COUNT_SESSIONS: &str = "select count(*) as left from sessions where expires_at <= now()";

const BLANK_SOME: &str = "
    update refresh_tokens set successor_sealed = null
    where ctid = any (array(
        select ctid from refresh_tokens
        where successor_sealed is not null and spent_at < now() - interval '60 seconds'
        limit $1
        for update skip locked))";

// Each attempt sweeps as well, a few rows, but where nobody logs in any more nobody sweeps.
const COUNT_ATTEMPTS: &str = "
    select (select count(*) from attempts where window_ends_at <= now())
         + (select count(*) from known_sources where last_login_at <= now() - interval '30 days') as expired";
const SWEEP_SOME: &str = "select sweep_attempts() from generate_series(1, 200)";

/// Blanks what no grace period covers any more, and deletes expired sessions and the refresh tokens they issued,
/// until nothing is left to do or the time is over. What a batch did stays done.
pub(crate) async fn clean_up(client: &mut Client, deadline: Deadline) -> Result<Report, Failure> {
    let mut held = Vec::new();
    let mut sessions = 0;
    let mut is_done = [false; 3];
    while is_done.contains(&false) {
        if deadline.left().is_some_and(|left| left < TO_BEGIN) {
            let left = expired_sessions(client).await?;
            tracing::warn!(
                left,
                "the clean-up is out of time and goes on the next time"
            );
            return Ok(Report::CleanedUp {
                sessions,
                sessions_left: Some(left),
            });
        }
        let transaction = begin(client).await?;
        transaction.batch_execute(LIMIT).await?;
        // In turn, so that none waits for the end of another.
        if !is_done[0] {
            let blanked = transaction
                .execute_typed(BLANK_SOME, &[(&BATCH, Type::INT8)])
                .await?;
            is_done[0] = blanked == 0;
        }
        if !is_done[1] {
            let deleted = delete_sessions(&transaction, &mut held).await?;
            is_done[1] = deleted.is_none();
            sessions += deleted.unwrap_or_default();
        }
        if !is_done[2] {
            is_done[2] = !sweep_attempts(&transaction).await?;
        }
        commit(transaction, "A batch of the clean-up").await?;
    }
    Ok(Report::CleanedUp {
        sessions,
        sessions_left: None,
    })
}

/// Deletes tokens of expired sessions, and the sessions that have none left. Says how many sessions, or nothing
/// where there was none to begin with. Sessions of which a request holds something are added to `held`.
async fn delete_sessions(
    transaction: &Transaction<'_>,
    held: &mut Vec<i64>,
) -> Result<Option<u64>, Failure> {
    let chosen = transaction
        .query_typed(
            CHOOSE_SESSIONS,
            &[(&*held, Type::INT8_ARRAY), (&SESSIONS, Type::INT8)],
        )
        .await?;
    if chosen.is_empty() {
        return Ok(None);
    }
    let chosen: Vec<i64> = chosen.iter().map(|row| row.get("id")).collect();
    let tokens = transaction
        .execute_typed(
            DELETE_TOKENS,
            &[(&chosen, Type::INT8_ARRAY), (&BATCH, Type::INT8)],
        )
        .await?;
    if tokens == BATCH.unsigned_abs() {
        // There may be more: the same sessions are chosen again.
        return Ok(Some(0));
    }
    let deleted = transaction
        .execute_typed(DELETE_SESSIONS, &[(&chosen, Type::INT8_ARRAY)])
        .await?;
    if usize::try_from(deleted) != Ok(chosen.len()) {
        held.extend(chosen);
    }
    Ok(Some(deleted))
}

/// Deletes attempts whose window is over, and says whether it found any.
async fn sweep_attempts(transaction: &Transaction<'_>) -> Result<bool, Failure> {
    let before: i64 = transaction
        .query_typed_one(COUNT_ATTEMPTS, &[])
        .await?
        .get("expired");
    if before == 0 {
        return Ok(false);
    }
    transaction.batch_execute(SWEEP_SOME).await?;
    let after: i64 = transaction
        .query_typed_one(COUNT_ATTEMPTS, &[])
        .await?
        .get("expired");
    Ok(after < before)
}

async fn expired_sessions(client: &mut Client) -> Result<i64, Failure> {
    let transaction = begin(client).await?;
    transaction.batch_execute(LIMIT).await?;
    let left = transaction.query_typed_one(COUNT_SESSIONS, &[]).await?;
    commit(transaction, "Counting").await?;
    Ok(left.get("left"))
}
