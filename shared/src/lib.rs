//! What every function is built from. It knows no table and no path; only that the schema has a function
//! `live_caller`, which says whether a caller still exists, and one `end_attempt`, which ends what is limited.

pub mod app;
pub mod caller;
pub mod clock;
pub mod config;
pub mod db;
pub mod email;
pub mod error;
pub mod https;
pub mod input;
pub mod lambda;
pub mod limits;
pub mod password;
pub mod reply;
pub mod secrets;
pub mod telemetry;
pub mod timestamp;
mod tls;
pub mod tokens;

pub use app::App;
pub use caller::Caller;
pub use error::Error;
