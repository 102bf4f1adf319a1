//! The caller proves by their password that it is them, and not somebody with their token.

use std::net::IpAddr;

use shared::{
    App, Caller, Error,
    limits::{LoginBuckets, too_many},
    password::{Password, Verdict},
};

const FIND: &str = "
    select caller.email, users.password_hash
    from (select) as nobody
    left join (live_caller($1, $2) as caller join users on users.id = caller.id) on true";
const COUNT: &str = "select count_login($1, $2, $3) as retry_after";
const FORGIVE: &str = "select true as is_forgiven from forgive_login($1, $2, $3)";

/// The hash that the password was verified against; 403 for a wrong one, which counts as a failed login.
pub(crate) async fn confirm(
    app: &App,
    caller: &Caller,
    source: Option<IpAddr>,
    password: Password,
) -> Result<String, Error> {
    let caller_parameters = shared::caller::parameters(Some(caller));
    let found = app.db.read_one(FIND, &caller_parameters).await?;
    let known: Option<(String, String)> = found
        .get::<_, Option<_>>("email")
        .zip(found.get("password_hash"));
    let (address, stored_hash) = known.ok_or_else(Error::bad_credentials)?;

    let buckets = LoginBuckets::new(&address, source);
    let counted_by = buckets.parameters();
    let retry_after = app.db.write(COUNT, &counted_by).await?.get("retry_after");
    if retry_after > 0 {
        return Err(too_many("Too many failed logins", retry_after));
    }
    if app
        .passwords
        .verify(password, Some(stored_hash.clone()))
        .await?
        == Verdict::Wrong
    {
        return Err(Error::forbidden("Invalid password"));
    }
    app.db.write(FORGIVE, &counted_by).await?;
    Ok(stored_hash)
}
