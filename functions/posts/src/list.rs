//! `GET /posts/`: published posts and the caller's own drafts, newest first, a page at a time.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use shared::{
    App, Error,
    caller::parameters,
    db::{Row, Type},
    input::{Body, Fields, Input, Public},
    reply::Json,
    timestamp::Timestamp,
};

use crate::post::PostWithVotes;

// Published posts and the caller's drafts come from an index each, read only as far as the page goes. A page takes
// its rows as it needs them, so what is enough for any page ($3 at most 101) may be more than it takes, and need not
// be planned anew for each.
macro_rules! newest {
    (where $condition:literal, at most $enough:literal) => {
        concat!(
            "select id from (
                 (select id, created_at from posts
                  where is_published ",
            $condition,
            "     order by created_at desc, id desc limit ",
            $enough,
            "    )
                 union all
                 (select id, created_at from posts
                  where not is_published and owner_id = (select viewer.id from viewer) ",
            $condition,
            "     order by created_at desc, id desc limit ",
            $enough,
            "    )) as visible
             order by created_at desc, id desc limit $3 offset $4"
        )
    };
}

// Whole rows are fetched for the page alone, and of their contents, which the server keeps apart where they are long,
// only those that fit: a post's own text, its owner's address, of which a byte may take seven, and what else it says.
// $3 is one more than is shown.
macro_rules! list {
    ($page:expr) => {
        concat!(
            "with viewer as (select id from live_caller($1, $2)),
                  page as (",
            $page,
            "     ),
                  measured as (
                      select posts.id, posts.title, posts.content, posts.is_published, posts.created_at,
                             users.id as user_id, users.email, users.created_at as user_created_at,
                             count(*) over () as found,
                             row_number() over newest_first as place,
                             sum(coalesce(posts.answer_bytes, answer_bytes(posts.title, posts.content))
                                 + 7 * octet_length(users.email) + 256) over newest_first as bytes
                      from page join posts using (id) join users on users.id = posts.owner_id
                      window newest_first as (
                          order by posts.created_at desc, posts.id desc rows unbounded preceding))
             select $1 is null or exists (select from viewer) as viewer_is_good, shown.*,
                    (select coalesce(sum(vote_counts.votes), 0)::bigint from vote_counts
                     where vote_counts.post_id = shown.id) as votes
             from (select) as nobody
             left join (select * from measured where place < $3 and (bytes <= 4194304 or place = 1)) as shown on true
             order by place"
        )
    };
}

const FIRST: &str = list!(newest!(where "", at most "101"));
const NEXT: &str = list!(newest!(where "and (created_at, id) < ($5, $6)", at most "101"));
// A cursor that is null costs nothing where the statement is planned with its values.
const SKIPPING: &str = list!(newest!(
    where "and ($5 is null or (created_at, id) < ($5, $6))", at most "$3 + $4"
));
const SEARCH: &str = list!(
    "select id from find_posts($7, (select viewer.id from viewer), $5, $6, $3 + $4)
     order by created_at desc, id desc limit $3 offset $4"
);

/// Most posts of a page. One more is enough for any.
const MOST: i64 = 100;
/// What a cursor is sealed for.
const CURSOR: &str = "the next page of posts";

/// Which posts to show.
pub(crate) struct Page {
    limit: i64,
    skip: i64,
    search: Option<String>,
    after: Option<Key>,
}

/// Where a page ends: the next one begins after this post.
#[derive(Clone, Copy)]
struct Key {
    created_at: Timestamp,
    id: i64,
}

impl Input for Page {
    const BODY: Body = Body::Nothing;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let limit = fields.query_integer("limit", 0..=MOST, 10);
        // Any depth may be asked for; one that no table reaches is as good as any other.
        let skip = fields
            .query_integer("skip", 0..=i64::MAX, 0)
            .map(|skip| skip.min(i64::MAX - MOST - 1));
        // Every title holds the empty text: it is no search.
        let search = fields
            .query_text("search", 100)
            .map(|search| search.filter(|search| !search.is_empty()));
        let after = fields.query_sealed("cursor", CURSOR, Key::unpack);
        Some(Self {
            limit: limit?,
            skip: skip?,
            search: search?,
            after: after?,
        })
    }
}

/// Lists one page. While there is more, `Link: <…>; rel="next"` (RFC 8288) leads on.
pub(crate) async fn list(
    State(app): State<App>,
    Public(caller, page): Public<Page>,
) -> Result<Response, Error> {
    let [user_id, session_id] = parameters(caller.as_ref());
    let pattern = page.search.as_deref().map(containing);
    let (created_at, id) = page.after.map(|key| (key.created_at, key.id)).unzip();
    // One more than asked for tells whether there is more. A page of nothing leads nowhere.
    let at_most = if page.limit == 0 { 0 } else { page.limit + 1 };
    let sent = [
        user_id,
        session_id,
        (&at_most as _, Type::INT8),
        (&page.skip, Type::INT8),
        (&created_at, Type::TIMESTAMPTZ),
        (&id, Type::INT8),
        (&pattern, Type::TEXT),
    ];
    let mut rows = match (page.after, page.skip, &pattern) {
        (_, _, Some(_)) => app.db.read(SEARCH, &sent).await?,
        (None, 0, None) => app.db.read(FIRST, &sent[..4]).await?,
        (Some(_), 0, None) => app.db.read(NEXT, &sent[..6]).await?,
        (_, _, None) => app.db.read_by_values(SKIPPING, &sent[..6]).await?,
    };
    if !rows.first().is_some_and(|row| row.get("viewer_is_good")) {
        return Err(Error::bad_credentials());
    }
    // Where nothing is found, one row without a post still says whether the viewer is good.
    rows.retain(|row| row.get::<_, Option<i64>>("id").is_some());
    let next = rows.last().and_then(|last| {
        let found: i64 = last.get("found");
        let shown: i64 = last.get("place");
        (found > shown).then(|| Key::of(last))
    });

    let posts: Vec<_> = rows
        .iter()
        .map(|row| PostWithVotes::shown_to(caller.as_ref(), row))
        .collect();
    let mut response = Json(posts).into_response();
    if let Some(key) = next {
        let cursor = app.keys.set().await?.seal(CURSOR, &key.pack());
        let search = page.search.map_or_else(String::new, |search| {
            format!("&search={}", utf8_percent_encode(&search, NON_ALPHANUMERIC))
        });
        // Whatever the path is that leads here from outside, the query alone leads to the same one.
        let link = format!(
            "<?limit={}{search}&cursor={cursor}>; rel=\"next\"",
            page.limit
        );
        response.headers_mut().insert(
            header::LINK,
            HeaderValue::from_str(&link).map_err(Error::internal)?,
        );
    }
    Ok(response)
}

/// The pattern that finds a text anywhere, each of its characters standing for itself.
fn containing(text: &str) -> String {
    let literal = text
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    format!("%{literal}%")
}

impl Key {
    fn of(row: &Row) -> Self {
        Self {
            created_at: row.get("created_at"),
            id: row.get("id"),
        }
    }

    fn pack(self) -> Vec<u8> {
        [
            self.created_at.unix_micros().to_be_bytes(),
            self.id.to_be_bytes(),
        ]
        .concat()
    }

    /// The key that [`Key::pack`] packed.
    fn unpack(packed: &[u8]) -> Option<Self> {
        let (created_at, id) = packed.split_first_chunk()?;
        Some(Self {
            created_at: Timestamp::from_unix_micros(i64::from_be_bytes(*created_at))?,
            id: i64::from_be_bytes(id.try_into().ok()?),
        })
    }
}
