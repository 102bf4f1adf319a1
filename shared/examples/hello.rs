//! A Lambda function that does nothing: what the functions of the API are measured against.

use lambda_http::{Error, Request, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(async |_: Request| {
        Ok::<_, Error>(r#"{"message":"Hello"}"#)
    }))
    .await
}
