//! `/users/me`: what the caller does with their own account.

mod delete;
mod password;
mod read;

pub(crate) use self::{delete::delete, password::change, read::read};
