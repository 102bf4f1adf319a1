//! What a login and a refresh answer with, and what refresh and logout take.

use serde::Serialize;
use shared::{
    App, Error,
    caller::unix_now,
    input::{Body, Fields, Input, SMALL_BODY_LIMIT},
    tokens::RefreshToken,
};

/// An access token, and the refresh token that buys the next pair (RFC 6749, section 5.1).
#[derive(Serialize)]
pub(crate) struct TokenPair {
    access_token: String,
    refresh_token: String,
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
}

impl TokenPair {
    /// A pair for a session, with a refresh token that is stored already.
    pub(crate) async fn new(
        app: &App,
        user_id: i64,
        session_id: i64,
        refresh_token: &RefreshToken,
    ) -> Result<Self, Error> {
        let expires_in = app.access_token_life.as_secs();
        Ok(Self {
            access_token: app.keys.set().await?.sign_access_token(
                user_id,
                session_id,
                unix_now(),
                expires_in,
            )?,
            refresh_token: refresh_token.reveal(),
            token_type: "bearer",
            expires_in,
        })
    }
}

/// A refresh token as it was handed back: `None` for an empty text, which never reaches the database.
pub(crate) struct Presented {
    pub(crate) refresh_token: Option<RefreshToken>,
}

impl Input for Presented {
    const BODY: Body = Body::Json(SMALL_BODY_LIMIT);

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let text = fields.secret("refresh_token", 0..=usize::MAX)?;
        Some(Self {
            refresh_token: RefreshToken::parse(text),
        })
    }
}
