//! The `migrate` function on AWS Lambda.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use migrate::Order;
use shared::config::{Database, Defaults, Lambda, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env();
    Lambda::read(&settings)?.log.init();
    let database = Database::read(&settings, Defaults::LAMBDA)?
        .ok_or("DATABASE_HOSTNAME is not set.")?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Order>| {
        migrate::carry_out(&event.payload, &database)
            .await
            .map_err(|failure| failure.to_string())
    }))
    .await
}
