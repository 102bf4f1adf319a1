//! The adoption itself: the old tables are put aside, the migrations make the new ones, and the rows move over.

use tokio_postgres::{Transaction, error::SqlState};

use super::TakenOver;
use crate::{Failure, schema};

// Whoever uses the tables now is waited for, but while we wait, everybody else waits behind us.
const LOCK: &str = "
    set local lock_timeout = '5s';
    lock table alembic_version, users, posts, votes, refresh_tokens in access exclusive mode;
    set local lock_timeout = '60s'";

// Every name that the migrations give is made free: those of tables, sequences and indexes, and since PostgreSQL
// 18 those of not-null constraints. What is only an index or a rule is of no use any more; the sequences go with
// their tables.
const PUT_ASIDE: &str = "
    drop index ix_refresh_tokens_token;
    alter sequence users_id_seq rename to old_users_id_seq;
    alter sequence posts_id_seq rename to old_posts_id_seq;
    alter sequence refresh_tokens_id_seq rename to old_refresh_tokens_id_seq;
    alter table votes
        drop constraint votes_user_id_fkey, drop constraint votes_post_id_fkey, drop constraint votes_pkey,
        alter user_id drop not null, alter post_id drop not null;
    alter table refresh_tokens
        drop constraint refresh_tokens_user_id_fkey, drop constraint refresh_tokens_pkey,
        alter id drop not null, alter user_id drop not null, alter token drop not null,
        alter expires_at drop not null, alter is_revoked drop not null, alter created_at drop not null;
    alter table posts
        drop constraint post_users_fk, drop constraint posts_pkey,
        alter id drop not null, alter title drop not null, alter content drop not null,
        alter owner_id drop not null, alter created_at drop not null, alter is_published drop not null;
    alter table users
        drop constraint users_email_key, drop constraint users_pkey,
        alter id drop not null, alter email drop not null, alter password drop not null,
        alter created_at drop not null;
    alter table users rename to old_users;
    alter table posts rename to old_posts;
    alter table votes rename to old_votes;
    alter table refresh_tokens rename to old_refresh_tokens";

// The keys, indexes and foreign keys of the tables that are about to be filled. They are dropped and made again
// by their definitions, whatever the migrations come to say: to build an index of many rows at once takes a
// fraction of the time that to grow it takes. Foreign keys stand on keys, so they go first and come last.
const INDEXES: &str = "
    with filled as (
        select unnest('{users,posts,votes,vote_counts,sessions,refresh_tokens}'::regclass[]) as oid)
    select contype = 'f' as is_foreign_key,
           format('alter table %s drop constraint %I', conrelid::regclass, conname) as drop,
           format('alter table %s add constraint %I %s', conrelid::regclass, conname,
                  pg_get_constraintdef(pg_constraint.oid)) as make
    from pg_constraint
    where contype in ('p', 'u', 'f') and (conrelid in (select oid from filled) or confrelid in (select oid from filled))
    union all
    select false, format('drop index %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
    from pg_index
    where indrelid in (select oid from filled)
      and not exists (select from pg_constraint where conindid = indexrelid and conrelid = indrelid)
    order by is_foreign_key desc, make";

// Without its triggers: they would end a user's sessions past the twentieth, and count votes one post at a time.
const TRIGGERS_OFF: &str = "
    alter table users disable trigger user;
    alter table posts disable trigger user;
    alter table votes disable trigger user;
    alter table sessions disable trigger user;
    alter table refresh_tokens disable trigger user";
const TRIGGERS_ON: &str = "
    alter table users enable trigger user;
    alter table posts enable trigger user;
    alter table votes enable trigger user;
    alter table sessions enable trigger user;
    alter table refresh_tokens enable trigger user";

const MOVE_USERS: &str = "
    insert into users (id, email, password_hash, created_at)
    select id, email, password, created_at from old_users";
const MOVE_POSTS: &str = "
    insert into posts (id, title, content, is_published, created_at, owner_id)
    select id, title, content, is_published, created_at, owner_id from old_posts";
const MOVE_VOTES: &str = "
    insert into votes (user_id, post_id)
    select user_id, post_id from old_votes";
const COUNT_VOTES: &str = "
    insert into vote_counts (post_id, slot, votes)
    select post_id, 0, count(*) from old_votes group by post_id";
// A session has the id that its token had. Both statements have the time of the transaction, so they agree on
// what is live.
const MOVE_SESSIONS: &str = "
    insert into sessions (id, user_id, created_at, expires_at)
    select id, user_id, created_at, expires_at from old_refresh_tokens
    where not is_revoked and expires_at > now()";
const MOVE_TOKENS: &str = "
    insert into refresh_tokens (digest, session_id, issued_at)
    select sha256(convert_to(token, 'UTF8')), id, created_at from old_refresh_tokens
    where not is_revoked and expires_at > now()";

// Ids go on where they were, also past those that were handed out and deleted since: links to what is gone must
// never lead to something else.
const CONTINUE_IDS: &str = "
    select setval(pg_get_serial_sequence('users', 'id'), id) from (
        select greatest((select max(id) from users), (select last_value from old_users_id_seq where is_called)) as id
    ) as last where id > 0;
    select setval(pg_get_serial_sequence('posts', 'id'), id) from (
        select greatest((select max(id) from posts), (select last_value from old_posts_id_seq where is_called)) as id
    ) as last where id > 0;
    select setval(pg_get_serial_sequence('sessions', 'id'), id) from (
        select greatest((select max(id) from old_refresh_tokens),
                        (select last_value from old_refresh_tokens_id_seq where is_called)) as id
    ) as last where id > 0";

// Whatever hangs on them unseen stops it here.
const DROP_OLD: &str =
    "drop table old_votes, old_refresh_tokens, old_posts, old_users, alembic_version";

const ANALYZE: &str = "analyze users, posts, votes, vote_counts, sessions, refresh_tokens";

/// Keeps everybody else from the tables until the transaction ends.
pub(super) async fn lock(transaction: &Transaction<'_>) -> Result<(), Failure> {
    transaction.batch_execute(LOCK).await.map_err(|error| {
        let is_in_use = error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
            || error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED);
        if is_in_use {
            Failure(
                "The tables are in use, and nothing was changed: stop the FastAPI service and \
                 whatever else is connected, and try again."
                    .to_owned(),
            )
        } else {
            error.into()
        }
    })
}

/// Turns the one schema into the other, with all rows; nobody else may use the tables meanwhile.
pub(super) async fn take_over(transaction: &Transaction<'_>) -> Result<TakenOver, Failure> {
    // What building an index may use, on the smallest of servers too.
    transaction
        .batch_execute("set local maintenance_work_mem = '256MB'; set local work_mem = '64MB'")
        .await?;
    transaction.batch_execute(PUT_ASIDE).await?;
    schema::apply(transaction).await?;
    let indexes = transaction.query_typed(INDEXES, &[]).await?;
    for row in &indexes {
        transaction.batch_execute(row.get("drop")).await?;
    }
    transaction.batch_execute(TRIGGERS_OFF).await?;
    let users = transaction.execute_typed(MOVE_USERS, &[]).await?;
    let posts = transaction.execute_typed(MOVE_POSTS, &[]).await?;
    let votes = transaction.execute_typed(MOVE_VOTES, &[]).await?;
    transaction.execute_typed(COUNT_VOTES, &[]).await?;
    let sessions = transaction.execute_typed(MOVE_SESSIONS, &[]).await?;
    transaction.execute_typed(MOVE_TOKENS, &[]).await?;
    for row in indexes.iter().rev() {
        transaction.batch_execute(row.get("make")).await?;
    }
    transaction.batch_execute(TRIGGERS_ON).await?;
    transaction.batch_execute(CONTINUE_IDS).await?;
    transaction.batch_execute(DROP_OLD).await?;
    transaction.batch_execute(ANALYZE).await?;
    Ok(TakenOver {
        users,
        posts,
        votes,
        sessions,
    })
}
