//! The `migrate` function on AWS Lambda: carries out an order, or answers CloudFormation.

use std::time::{Duration, SystemTime};

use lambda_runtime::{Context, Error, LambdaEvent, service_fn};
use migrate::{Deadline, Event, Order, custom_resource};
use serde_json::Value;
use shared::{
    config::{Lambda, Settings},
    telemetry::Log,
};

/// How long before the function's own end an order is given up: to take it back, and to say so.
const TO_END: Duration = Duration::from_secs(4);
/// The most time that Lambda gives a function.
const LONGEST: Duration = Duration::from_mins(15);

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
        custom_resource::answer(request, end_of(&context), settings).await?;
        return Ok(Value::Null);
    }
    let order = Order::try_from(payload)?;
    let deadline = Deadline::before(end_of(&context), TO_END);
    let report = migrate::carry_out_by(&order, &migrate::database(settings)?, deadline).await?;
    Ok(serde_json::to_value(report)?)
}

/// When this invocation ends. The emulator of cargo-lambda names a point in 1970; Lambda invokes nothing that has no
/// time left.
fn end_of(context: &Context) -> SystemTime {
    let (end, now) = (context.deadline(), SystemTime::now());
    if end > now { end } else { now + LONGEST }
}
