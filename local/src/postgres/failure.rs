//! Why there is no PostgreSQL, as one sentence for the person at the terminal.

use std::fmt;
use std::io;
use std::path::Path;

/// Why a private PostgreSQL could not be found, started or stopped. Its text is meant for the user and
/// says what to do where something can be done.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// For `map_err`: "Cannot {what} {path}: {error}".
    pub(super) fn at<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |error| {
            let whose = match error.kind() {
                io::ErrorKind::PermissionDenied => ". Was it made by another user, root perhaps?",
                _ => "",
            };
            Self(format!("Cannot {what} {}: {error}{whose}", path.display()))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
