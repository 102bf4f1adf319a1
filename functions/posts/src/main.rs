//! The `posts` function on AWS Lambda.

fn main() -> Result<(), lambda_http::Error> {
    shared::lambda::serve(posts::router())
}
