//! `POST /users/`: anyone signs up.

use axum::{extract::State, response::Response};
use shared::{
    App, Caller, Error,
    db::Type,
    email::Email,
    input::{Body, Fields, Input, Open, SMALL_BODY_LIMIT},
    password::Password,
    reply::{User, created},
};

// The unique index decides whether an address is taken, whoever else signs up at the same time.
const CREATE: &str = "
    with created as (
        insert into users (email, password_hash) values ($1, $2)
        on conflict (lower(email collate \"C\")) do nothing
        returning id as user_id, email, created_at as user_created_at)
    select created.* from (select) as nobody left join created on true";

/// Who wants an account.
pub(crate) struct NewUser {
    email: Email,
    password: Password,
}

impl Input for NewUser {
    const BODY: Body = Body::Json(SMALL_BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.parsed("email", Email::parse);
        let password = fields.password("password", 8..=128);
        Some(Self {
            email: email?,
            password: password?,
        })
    }
}

/// Makes the account, or says that the address has one.
pub(crate) async fn create(
    State(app): State<App>,
    Open(NewUser { email, password }): Open<NewUser>,
) -> Result<Response, Error> {
    let password_hash = app.passwords.hash(password).await?;
    let row = app
        .db
        .write(
            CREATE,
            &[(&email.as_str(), Type::TEXT), (&password_hash, Type::TEXT)],
        )
        .await?;
    let Some(user_id) = row.get("user_id") else {
        return Err(Error::conflict(format!(
            "An account with email '{}' already exists",
            email.as_str()
        )));
    };
    // The answer to a sign-up goes to the owner of the address.
    let owner = Caller {
        user_id,
        session_id: None,
    };
    Ok(created(
        &format!("/users/{user_id}"),
        User::shown_to(Some(&owner), &row),
    ))
}
