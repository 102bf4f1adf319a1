//! The `votes` function on AWS Lambda.

fn main() -> Result<(), shared::lambda::Error> {
    shared::lambda::serve(votes::router())
}
