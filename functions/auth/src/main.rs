//! The `auth` function on AWS Lambda.

fn main() -> Result<(), shared::lambda::Error> {
    shared::lambda::serve(auth::router())
}
