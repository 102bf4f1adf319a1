//! `POST /users/`: anyone signs up.

use axum::{Extension, extract::State, response::Response};
use shared::{
    App, Caller, Error,
    app::{From, RequestedPath},
    db::Type,
    email::Email,
    input::{Body, Fields, Input, Open, SMALL_BODY_LIMIT},
    limits::{sign_up_bucket, too_many},
    password::Password,
    reply::{User, created},
    telemetry,
};

// The unique index decides whether an address is taken, whoever else signs up at the same time.
const CREATE: &str = "
    with counted as (select count_sign_up($3, $4) as retry_after),
    created as (
        insert into users (email, password_hash)
        select $1, $2 from counted where counted.retry_after = 0
        on conflict (lower(email collate \"C\")) do nothing
        returning id as user_id, email, created_at as user_created_at)
    select counted.retry_after, created.* from counted left join created on true";

/// Who wants an account.
pub(crate) struct NewUser {
    email: Email,
    password: Password,
}

impl Input for NewUser {
    const BODY: Body = Body::Json(SMALL_BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.parsed("email", Email::parse);
        let password = fields.new_password("password");
        Some(Self {
            email: email?,
            password: password?,
        })
    }
}

/// Makes the account, or says that the address has one.
pub(crate) async fn create(
    State(app): State<App>,
    Extension(path): Extension<RequestedPath>,
    From(source): From,
    Open(NewUser { email, password }): Open<NewUser>,
) -> Result<Response, Error> {
    let password_hash = app.passwords.hash(password).await?;
    let sent = [
        (&email.as_str() as _, Type::TEXT),
        (&password_hash as _, Type::TEXT),
        (&sign_up_bucket(source) as _, Type::BYTEA),
        (&app.sign_ups_per_hour as _, Type::INT4),
    ];
    telemetry::record_client_network(source);
    let row = app.db.write(CREATE, &sent).await?;
    let retry_after = row.get("retry_after");
    if retry_after > 0 {
        return Err(too_many("Too many sign-ups", retry_after));
    }
    let Some(user_id) = row.get("user_id") else {
        return Err(Error::conflict(format!(
            "An account with email '{}' already exists",
            email.as_str()
        )));
    };
    telemetry::record_account(Some(user_id), None);
    // The answer to a sign-up goes to the owner of the address.
    let owner = Caller {
        user_id,
        session_id: None,
    };
    Ok(created(&path, user_id, User::shown_to(Some(&owner), &row)))
}
