//! The caller proves by their password that it is them, and not somebody with their token.

use std::net::IpAddr;

use shared::{
    App, Caller, Error,
    db::Type,
    limits::{Attempt, IN_FLIGHT_SECONDS, LoginBuckets, to_its_end},
    password::Password,
};

const FIND: &str = "
    select caller.email, users.password_hash
    from (select) as nobody
    left join (live_caller($1, $2) as caller join users on users.id = caller.id) on true";
const BEGIN: &str = "
    select retry_after, ends_at from begin_login($1, $2, $3, make_interval(secs => $4))";
// The account is locked before the counts are: where a login came from refers to it.
const END: &str = "
    with owner as (select id from users where id = $3 for key share)
    select owner.id as user_id, ended.*
    from (select) as nobody
    left join (owner cross join lateral (select end_good_login($1, $2, owner.id, $4)) as ended) on true";

/// Who the caller proved to be.
pub(crate) struct Confirmed {
    /// The hash that the password was verified against.
    pub(crate) hash: String,
    /// The address of the account.
    pub(crate) email: String,
}

/// 403 for a wrong password, which counts as a failed login.
pub(crate) async fn confirm(
    app: &App,
    caller: &Caller,
    source: Option<IpAddr>,
    password: Password,
) -> Result<Confirmed, Error> {
    let caller_parameters = shared::caller::parameters(Some(caller));
    let found = app.db.read_one(FIND, &caller_parameters).await?;
    let known: Option<(String, String)> = found
        .get::<_, Option<_>>("email")
        .zip(found.get("password_hash"));
    let (email, hash) = known.ok_or_else(Error::bad_credentials)?;

    let keys = app.keys.set().await?;
    let buckets = LoginBuckets::new(&keys, &email, source);
    let known_as = buckets.known_as[0].clone();
    let attempt = begin(app, caller.user_id, buckets)
        .await?
        .judge(&app.passwords, password, Some(&hash), None)
        .await?;
    let Some((right, _)) = attempt else {
        return Err(Error::forbidden("Invalid password"));
    };
    let [counted_by, ends_at] = right.parameters();
    let sent = [
        counted_by,
        ends_at,
        (&caller.user_id as _, Type::INT8),
        (&known_as as _, Type::BYTEA),
    ];
    let ended = app.db.write(END, &sent).await?;
    // An account that is gone confirms nothing, as the statement that acts will find.
    if ended.get::<_, Option<i64>>("user_id").is_some() {
        right.has_ended();
    }
    Ok(Confirmed { hash, email })
}

/// Begins the attempt. It runs to its end: an attempt that nobody waits for is ended.
async fn begin(app: &App, user_id: i64, buckets: LoginBuckets) -> Result<Attempt, Error> {
    let db = app.db.clone();
    to_its_end(async move {
        let counted_by = buckets.all();
        let sent = [
            (&counted_by as _, Type::BYTEA_ARRAY),
            (&user_id as _, Type::INT8),
            (&buckets.known_as as _, Type::BYTEA_ARRAY),
            (&IN_FLIGHT_SECONDS as _, Type::FLOAT8),
        ];
        let row = db.write(BEGIN, &sent).await?;
        Attempt::login(&db, counted_by, &row)
    })
    .await
}
