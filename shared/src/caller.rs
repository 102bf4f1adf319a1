//! Who is calling.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};

use crate::{
    app::App,
    db::{Parameter, Type},
    error::Error,
    telemetry,
};

/// Whether there still is such a user with such a session. Statements that need a caller ask `live_caller`
/// themselves; this one is for a request that has no other statement to run.
const CONFIRM: &str = "select exists (select from live_caller($1, $2)) as caller_exists";

/// The user and the session that a valid access token names. Whether both still exist only the database
/// knows: every statement that acts for a caller asks it, by `live_caller(user_id, session_id)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose token it is.
    pub user_id: i64,
    /// The session that the token belongs to; `None` for a token of the service before this one.
    pub session_id: Option<i64>,
}

impl Caller {
    /// The caller of a request: `None` where it has no credentials of ours, 401 where they are bad (RFC 6750).
    /// Those of another scheme are somebody else's, such as a proxy's that asks for a password of its own.
    pub async fn of(headers: &HeaderMap, app: &App) -> Result<Option<Self>, Error> {
        let values = headers.get_all(header::AUTHORIZATION);
        // A gateway makes one header of several, with commas between them.
        let mut credentials = values
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        if !credentials.any(|credentials| bearer(credentials).is_some()) {
            return Ok(None);
        }
        let mut values = values.iter();
        let token = match (values.next(), values.next()) {
            (Some(value), None) => bearer(value.as_bytes()),
            _ => None,
        };
        let token = token
            .and_then(|token| str::from_utf8(token).ok())
            .ok_or_else(Error::bad_credentials)?;
        let caller = app
            .keys
            .verify_access_token(token, unix_now())
            .await?
            .ok_or_else(Error::bad_credentials)?;
        telemetry::record_account(Some(caller.user_id), caller.session_id);
        Ok(Some(caller))
    }

    /// 401 unless the user and the session still exist.
    pub async fn confirm(self, app: &App) -> Result<(), Error> {
        let row = app.db.read_one(CONFIRM, &parameters(Some(&self))).await?;
        if row.get("caller_exists") {
            Ok(())
        } else {
            Err(Error::bad_credentials())
        }
    }
}

/// What follows the scheme of bearer credentials; `None` where the scheme is another or there is none.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    let credentials = credentials.trim_ascii();
    let end = credentials
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(credentials.len());
    let (scheme, rest) = credentials.split_at(end);
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| rest.strip_prefix(b" ").unwrap_or(rest))
}

/// A caller, or nobody, as the two parameters of `live_caller`.
pub fn parameters(caller: Option<&Caller>) -> [Parameter<'_>; 2] {
    const NOBODY: &Option<i64> = &None;
    match caller {
        Some(caller) => [
            (&caller.user_id, Type::INT8),
            (&caller.session_id, Type::INT8),
        ],
        None => [(NOBODY, Type::INT8), (NOBODY, Type::INT8)],
    }
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    // A clock before 1970 makes every token one of the future, which is refused.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
