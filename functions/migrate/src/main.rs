//! The `migrate` function on AWS Lambda: carries out an order, or answers CloudFormation.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use migrate::{Order, custom_resource};
use serde_json::Value;
use shared::config::{Database, Defaults, Lambda, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env();
    Lambda::read(&settings)?.log.init();
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        handle(event, &settings).await
    }))
    .await
}

/// An event that has a `RequestType` is CloudFormation's, and any other one is an order.
async fn handle(event: LambdaEvent<Value>, settings: &Settings<'_>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    if payload.get("RequestType").is_some() {
        let request = serde_json::from_value(payload)?;
        custom_resource::answer(request, context.deadline(), settings).await?;
        return Ok(Value::Null);
    }
    let order: Order = serde_json::from_value(payload)?;
    let database =
        Database::read(settings, Defaults::LAMBDA)?.ok_or("DATABASE_HOSTNAME is not set.")?;
    let report = migrate::carry_out(&order, &database).await?;
    Ok(serde_json::to_value(report)?)
}
