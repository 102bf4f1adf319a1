//! Deletes what has expired, a little at a time, beside the traffic.

use tokio_postgres::Client;

use crate::{Failure, Report};

// Rows that a request holds right now are left for the next time: nobody waits for the cleaner.
const DELETE_SOME: &str = "
    delete from sessions where id in (
        select id from sessions where expires_at <= now()
        order by expires_at limit 1000
        for update skip locked)";

const BLANK_SOME: &str = "
    update refresh_tokens set successor_sealed = null
    where digest in (
        select digest from refresh_tokens
        where successor_sealed is not null and spent_at < now() - interval '60 seconds'
        limit 1000
        for update skip locked)";

/// Blanks what no grace period covers any more, and deletes expired sessions and with them the refresh tokens
/// they issued, until nothing is left to do.
pub(crate) async fn clean_up(client: &Client) -> Result<Report, Failure> {
    repeat(client, BLANK_SOME).await?;
    let sessions = repeat(client, DELETE_SOME).await?;
    Ok(Report::CleanedUp { sessions })
}

/// Runs a statement until it changes nothing, and counts what it changed.
async fn repeat(client: &Client, statement: &str) -> Result<u64, Failure> {
    let mut changed = 0;
    loop {
        match client.execute(statement, &[]).await? {
            0 => return Ok(changed),
            some => changed += some,
        }
    }
}
