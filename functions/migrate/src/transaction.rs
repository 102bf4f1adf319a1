//! The transactions of this function. Behind a pooler the connection is somebody else's between two of them, and
//! poolers differ in what they keep apart: nothing here outlives its transaction, no setting and no lock, and no
//! statement has a name.

use std::time::Duration;

use tokio_postgres::{Client, IsolationLevel, Transaction, error::SqlState};

use crate::{Failure, deadline::Deadline};

/// Any number will do, as long as every build uses the same.
const LOCK: i64 = 0x736f_6369_616c;
/// Longest wait for a migration or an adoption that is running, where nothing says when to end: as long as a
/// function can run.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

// Whatever limits the role, the database or a client before us has set. Should we vanish, as a function does that is
// out of time, the server notices within a second and keeps no lock for us; on Windows it cannot.
const LIMITS: &str = "
    set local statement_timeout = 0;
    set local lock_timeout = '60s';
    set local idle_in_transaction_session_timeout = '60s';
    do $$ begin
        if current_setting('transaction_timeout', true) is not null then
            perform set_config('transaction_timeout', '0', true);
        end if;
        begin
            perform set_config('client_connection_check_interval', '1s', true);
        exception when invalid_parameter_value then
            null;
        end;
    end $$";

/// A transaction that changes something. Each statement sees what was committed before it, whatever the database's
/// default is: what was read before a lock was waited for may be outdated after it.
pub(crate) async fn begin(client: &mut Client) -> Result<Transaction<'_>, Failure> {
    start(client, IsolationLevel::ReadCommitted, false).await
}

/// A transaction that reads, and sees the database as it is now until it ends.
pub(crate) async fn begin_to_read(client: &mut Client) -> Result<Transaction<'_>, Failure> {
    start(client, IsolationLevel::RepeatableRead, true).await
}

async fn start(
    client: &mut Client,
    isolation: IsolationLevel,
    is_read_only: bool,
) -> Result<Transaction<'_>, Failure> {
    let transaction = client
        .build_transaction()
        .isolation_level(isolation)
        .read_only(is_read_only)
        .start()
        .await?;
    transaction.batch_execute(LIMITS).await?;
    Ok(transaction)
}

/// Waits until nobody else changes the schema, and keeps others from it until the transaction ends. Builds before
/// this one take the same lock for as long as their connection lives.
pub(crate) async fn lock_schema(
    transaction: &Transaction<'_>,
    deadline: Deadline,
) -> Result<(), Failure> {
    // A little less than there is, so that there is time to say why.
    let wait = deadline
        .left()
        .map_or(LONGEST_WAIT, |left| left.mul_f32(0.9));
    let lock = format!(
        "set local lock_timeout = {};
         select pg_advisory_xact_lock({LOCK});
         set local lock_timeout = '60s'",
        wait.as_millis().clamp(1, 1 << 30)
    );
    transaction.batch_execute(&lock).await.map_err(|error| {
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            Failure(
                "Another migration or adoption did not finish in time, and nothing was changed."
                    .to_owned(),
            )
        } else {
            error.into()
        }
    })
}

/// Commits what `what` names, and says what is known where that fails.
pub(crate) async fn commit(transaction: Transaction<'_>, what: &str) -> Result<(), Failure> {
    transaction.commit().await.map_err(|error| {
        let why = shared::error::describe(&error);
        Failure(match error.as_db_error() {
            Some(_) => format!("{what} did not finish, and nothing was changed: {why}."),
            None => format!(
                "The connection broke at the very end ({why}): `status` tells whether it is done."
            ),
        })
    })
}
