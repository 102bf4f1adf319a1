//! The `migrate` function on AWS Lambda: carries out an order, or answers CloudFormation.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use migrate::{Deadline, Event, Order, custom_resource};
use serde_json::Value;
use shared::{
    config::{Lambda, Settings},
    telemetry::Log,
};

/// How long before the function's own end an order is given up: to take it back, and to say so.
const TO_END: Duration = Duration::from_secs(4);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings = Settings::from_env();
    // A bad setting is no reason not to start: each event is answered with it, and CloudFormation waits for that.
    match Lambda::read(&settings) {
        Ok(lambda) => lambda.log.init(),
        Err(error) => {
            Log::PLAIN.init();
            tracing::error!(%error, "no event can be carried out");
        }
    }
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Event>| {
        handle(event, &settings).await
    }))
    .await
}

/// An event that is not CloudFormation's is an order.
async fn handle(event: LambdaEvent<Event>, settings: &Settings<'_>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    if payload.is_of_cloudformation() {
        let request = payload.try_into()?;
        custom_resource::answer(request, context.deadline(), settings).await?;
        return Ok(Value::Null);
    }
    let order = Order::try_from(payload)?;
    let deadline = Deadline::before(context.deadline(), TO_END);
    let report = migrate::carry_out_by(&order, &migrate::database(settings)?, deadline).await?;
    Ok(serde_json::to_value(report)?)
}
