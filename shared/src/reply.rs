//! What the routes answer with.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio_postgres::Row;

use crate::{app::RequestedPath, caller::Caller, email, error::Error, timestamp::Timestamp};

/// A JSON answer.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let mut response = Response::new(Body::from(bytes));
                response.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                );
                response
            }
            Err(error) => Error::internal(error).into_response(),
        }
    }
}

/// 201 with what was made and where it is: below the path that was asked to make it.
pub fn created(path: &RequestedPath, id: i64, made: impl Serialize) -> Response {
    let mut response = (StatusCode::CREATED, Json(made)).into_response();
    if let Ok(location) = HeaderValue::from_str(&path.to(id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A sentence that says what was done: `{"message": …}`.
#[derive(Debug, Serialize)]
pub struct Message {
    /// The sentence.
    pub message: &'static str,
}

/// A user as the caller may see them: the address whole to its owner, masked to everyone else.
#[derive(Debug, Serialize)]
pub struct User {
    id: i64,
    email: String,
    created_at: Timestamp,
}

impl User {
    /// Reads the columns `user_id`, `email` and `user_created_at` of a row for a caller.
    pub fn shown_to(caller: Option<&Caller>, row: &Row) -> Self {
        let id: i64 = row.get("user_id");
        let address: String = row.get("email");
        let is_owner = caller.is_some_and(|caller| caller.user_id == id);
        let email = if is_owner {
            address
        } else {
            email::mask(&address)
        };
        Self {
            id,
            email,
            created_at: row.get("user_created_at"),
        }
    }
}
