//! What the tables of the FastAPI service hold, and what of it cannot be taken over.

use shared::email::Email;
use tokio_postgres::{
    Transaction,
    types::{ToSql, Type},
};

use super::{Contents, FITS_A_FUNCTION, Found, MOST_IDS, Rows, RunFrom, estimate};
use crate::Failure;

/// At most so many groups of ids are told in a sentence.
const MOST_TOLD: usize = 5;
/// Addresses are read so many at a time.
const BATCH: i64 = 10_000;
const ADDRESSES: &str = "select id::bigint, email from users where id > $1 order by id limit $2";

// The unique index of this service is on lower(email collate "C").
const COLLIDING: &str = "
    with colliding as (
        select array_agg(id::bigint order by id) as ids from users
        group by lower(email collate \"C\") having count(*) > 1)
    select (select count(*) from colliding) as count,
           array(select array_to_string(ids, ' ') from colliding order by ids[1] limit $1) as ids";

// Python writes the years 1 to 9999, and so many are read here.
const UNREADABLE_TIMES: &str = "
    with times (kind, time) as (
        select 'users.created_at', created_at from users
        union all select 'posts.created_at', created_at from posts
        union all select 'refresh_tokens.created_at', created_at from refresh_tokens
        union all select 'refresh_tokens.expires_at', expires_at from refresh_tokens)
    select kind, count(*) as count from times
    where not (time >= '0001-01-01 00:00+00' and time < '9999-12-31 00:00+00')
    group by kind order by kind";

/// What an answer of Lambda's may have, in bytes of JSON, less what there is besides the texts of one post: names,
/// headers, `Link`. A page always has at least one post, however long it is.
const MAX_TEXTS: i64 = 6_291_556 - 16 * 1024;
const UNANSWERABLE: &str = include_str!("unanswerable.sql");

const COUNT: &str = "
    select (select count(*) from users) as users,
           (select count(*) from posts) as posts,
           (select count(*) from votes) as votes,
           (select count(*) from refresh_tokens) as refresh_tokens,
           (select count(*) from refresh_tokens where not is_revoked and expires_at > now()) as sessions,
           (select sum(pg_total_relation_size(name))::bigint
            from unnest('{users,posts,votes,refresh_tokens}'::regclass[]) as name) as size_bytes";

/// What of the rows is in the way, a sentence each.
pub(super) async fn objections(transaction: &Transaction<'_>) -> Result<Vec<String>, Failure> {
    let mut objections = Vec::new();
    let colliding = colliding(transaction).await?;
    if colliding.count > 0 {
        let told: Vec<String> = colliding
            .ids
            .iter()
            .take(MOST_TOLD)
            .map(|ids| join(ids, " and "))
            .collect();
        objections.push(format!(
            "Several users have the same address but for its case ({} in all, by id {}{}): give \
             each one of their own, or delete all of them but one; `--dry-run` lists them.",
            colliding.count,
            told.join("; "),
            if colliding.ids.len() > MOST_TOLD {
                " and so on"
            } else {
                ""
            }
        ));
    }
    for row in transaction.query_typed(UNREADABLE_TIMES, &[]).await? {
        let (kind, count): (&str, i64) = (row.get("kind"), row.get("count"));
        objections.push(format!(
            "The column {kind} has {count} values that are infinite or beyond the years 1 to \
             9999: give them others."
        ));
    }
    let unanswerable = unanswerable(transaction).await?;
    if unanswerable.count > 0 {
        let told: Vec<i64> = unanswerable.ids.iter().copied().take(MOST_TOLD).collect();
        objections.push(format!(
            "Posts are longer than an answer can be, which is 6 MB of JSON ({} in all, by id {}{}): \
             neither they nor a page that they are on could be read. Shorten their titles or \
             contents, or delete them; `--dry-run` lists them.",
            unanswerable.count,
            join(&told, ", "),
            if unanswerable.ids.len() > MOST_TOLD {
                " and so on"
            } else {
                ""
            }
        ));
    }
    Ok(objections)
}

/// What is there, as the transaction sees it.
pub(super) async fn contents(transaction: &Transaction<'_>) -> Result<Contents, Failure> {
    let count = transaction.query_typed_one(COUNT, &[]).await?;
    let rows = Rows {
        users: count.get("users"),
        posts: count.get("posts"),
        votes: count.get("votes"),
        refresh_tokens: count.get("refresh_tokens"),
    };
    let (sessions, size_bytes) = (count.get("sessions"), count.get("size_bytes"));
    let time = estimate(rows, size_bytes);
    Ok(Contents {
        rows,
        sessions,
        tokens_dropped: rows.refresh_tokens - sessions,
        colliding_addresses: colliding(transaction).await?,
        odd_addresses: odd_addresses(transaction).await?,
        titles_over_limit: posts_where(
            transaction,
            "octet_length(title) > 300 and char_length(title) > 300",
        )
        .await?,
        empty_titles: posts_where(transaction, "title = ''").await?,
        contents_over_limit: posts_where(
            transaction,
            // The length in bytes is known without reading the content.
            "octet_length(content) > 50000 and char_length(content) > 50000",
        )
        .await?,
        posts_over_answer: unanswerable(transaction).await?,
        size_bytes,
        estimated_seconds: time.as_secs().cast_signed(),
        run_from: if time <= FITS_A_FUNCTION {
            RunFrom::Anywhere
        } else {
            RunFrom::Terminal
        },
    })
}

async fn colliding(transaction: &Transaction<'_>) -> Result<Found<Vec<i64>>, Failure> {
    let row = transaction
        .query_typed_one(COLLIDING, &[(&MOST_IDS, Type::INT8)])
        .await?;
    let groups: Vec<&str> = row.get("ids");
    let ids = |group: &str| group.split(' ').filter_map(|id| id.parse().ok()).collect();
    Ok(Found {
        count: row.get("count"),
        ids: groups.into_iter().map(ids).collect(),
    })
}

/// The posts that no answer can carry.
async fn unanswerable(transaction: &Transaction<'_>) -> Result<Found<i64>, Failure> {
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&MAX_TEXTS, Type::INT8), (&MOST_IDS, Type::INT8)];
    let row = transaction
        .query_typed_one(UNANSWERABLE, &parameters)
        .await?;
    Ok(Found {
        count: row.get("count"),
        ids: row.get("ids"),
    })
}

async fn posts_where(
    transaction: &Transaction<'_>,
    condition: &str,
) -> Result<Found<i64>, Failure> {
    let select = format!(
        "select (select count(*) from posts where {condition}) as count,
                array(select id::bigint from posts where {condition} order by id limit $1) as ids"
    );
    let row = transaction
        .query_typed_one(&select, &[(&MOST_IDS, Type::INT8)])
        .await?;
    Ok(Found {
        count: row.get("count"),
        ids: row.get("ids"),
    })
}

/// The addresses that sign-up would not store as they are. The rule is in Rust alone, so each is read.
async fn odd_addresses(transaction: &Transaction<'_>) -> Result<Found<i64>, Failure> {
    let mut found = Found {
        count: 0,
        ids: Vec::new(),
    };
    // Ids may be negative, where somebody gave them by hand.
    let mut last = i64::MIN;
    loop {
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&last, Type::INT8), (&BATCH, Type::INT8)];
        let rows = transaction.query_typed(ADDRESSES, &parameters).await?;
        for row in &rows {
            let address: &str = row.get("email");
            last = row.get("id");
            if Email::parse(address).is_ok_and(|email| email.as_str() == address) {
                continue;
            }
            found.count += 1;
            if found.count <= MOST_IDS {
                found.ids.push(last);
            }
        }
        if rows.is_empty() {
            return Ok(found);
        }
    }
}

fn join(ids: &[i64], between: &str) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    ids.join(between)
}
