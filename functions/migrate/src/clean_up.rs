//! Deletes what has expired, a little at a time, beside the traffic.

use tokio_postgres::Client;

use crate::{Failure, Report};

// Rows that a request holds right now are left for the next time: nobody waits for the cleaner.
const DELETE_SOME: &str = "
    delete from sessions where id in (
        select id from sessions where expires_at <= now()
        order by expires_at limit 1000
        for update skip locked)";

const BLANK: &str = "
    update refresh_tokens set successor_sealed = null
    where successor_sealed is not null and spent_at < now() - interval '60 seconds'";

/// Blanks what no grace period covers any more, and deletes expired sessions and with them the refresh tokens they issued, until none is left.
pub(crate) async fn clean_up(client: &Client) -> Result<Report, Failure> {
    client.execute(BLANK, &[]).await?;
    let mut sessions = 0;
    loop {
        let deleted = client.execute(DELETE_SOME, &[]).await?;
        sessions += deleted;
        if deleted == 0 {
            return Ok(Report::CleanedUp { sessions });
        }
    }
}
