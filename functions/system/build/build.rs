//! Makes at build time what the function has to know of files beside it: the schema that it needs, and the
//! pages of the documentation.

mod pages;
mod schema;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    schema::tell_version()?;
    pages::pack()
}
