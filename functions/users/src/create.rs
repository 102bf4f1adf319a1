//! `POST /users/`: anyone signs up.

use std::net::IpAddr;

use axum::{Extension, extract::State, response::Response};
use shared::{
    App, Caller, Error,
    app::{From, RequestedPath},
    db::Type,
    email::Email,
    input::{Body, Fields, Input, Open, SMALL_BODY_LIMIT},
    limits::{Attempt, IN_FLIGHT_SECONDS, SIGN_UP_WINDOW, sign_up_bucket, to_its_end},
    password::Password,
    reply::{User, created},
    telemetry,
};

const BEGIN: &str = "
    select retry_after, ends_at from begin_sign_up($1, $2, make_interval(secs => $3))";

// The unique index decides whether an address is taken, whoever else signs up at the same time. Taken or not, the
// attempt stays counted: whoever tries which addresses have accounts is limited, too. It is counted last, since
// whoever else waits for the address may wait for the count.
const CREATE: &str = "
    with created as (
        insert into users (email, password_hash)
        values ($1, $2)
        on conflict (lower(email collate \"C\")) do nothing
        returning id as user_id, email, created_at as user_created_at)
    select created.*, ended.*
    from (select count(*) as accounts from created) as done
    left join created on true
    cross join lateral (
        select end_attempt($3, $4, make_interval(secs => $5)) where done.accounts >= 0) as ended";

/// Who wants an account.
pub(crate) struct NewUser {
    email: Email,
    password: Password,
}

impl Input for NewUser {
    const BODY: Body = Body::Json(SMALL_BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.parsed("email", Email::parse);
        let password = fields.new_password("password", |password| {
            email
                .as_ref()
                .and_then(|email| password.guessed_by(email.as_str()))
        });
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
    telemetry::record_client_network(source);
    // Counted first: a sign-up that is refused costs no hash.
    let attempt = match app.sign_ups_per_hour {
        0 => Attempt::unlimited(&app.db),
        at_most => begin(&app, source, at_most).await?,
    };
    // Whoever leaves while they wait for their turn has tried nothing. Once the password is being hashed the account
    // is made and counted: leaving early saves nobody a count.
    let turn = app.passwords.turn_to_hash().await?;
    let (db, address) = (app.db.clone(), email.as_str().to_owned());
    let row = to_its_end(async move {
        let password_hash = turn.hash(password).await?;
        let [counted_by, ends_at] = attempt.parameters();
        let sent = [
            (&address as _, Type::TEXT),
            (&password_hash as _, Type::TEXT),
            counted_by,
            ends_at,
            (&SIGN_UP_WINDOW.as_secs_f64() as _, Type::FLOAT8),
        ];
        let row = db.write(CREATE, &sent).await?;
        attempt.has_ended();
        Ok(row)
    })
    .await?;
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

/// Begins the attempt. It runs to its end: an attempt that nobody waits for is ended.
async fn begin(app: &App, source: Option<IpAddr>, at_most: i32) -> Result<Attempt, Error> {
    let bucket = sign_up_bucket(&*app.keys.set().await?, source);
    let db = app.db.clone();
    to_its_end(async move {
        let sent = [
            (&bucket as _, Type::BYTEA),
            (&at_most as _, Type::INT4),
            (&IN_FLIGHT_SECONDS as _, Type::FLOAT8),
        ];
        let row = db.write(BEGIN, &sent).await?;
        Attempt::sign_up(&db, bucket, &row)
    })
    .await
}
