//! The migrations as a resource of a stack: CloudFormation asks for them to be applied, and waits for an answer
//! at an address that it names. Without one the stack hangs, so there always is one.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use shared::{
    config::{Database, Defaults, Secret, Settings},
    error::said_in_panic,
    https,
};
use tokio::time::{sleep, timeout};

use crate::{Failure, Order, Report, carry_out};

/// How long before the function's own end the work is given up, so that there is time to say so.
const TO_ANSWER: Duration = Duration::from_secs(8);
/// How long before the function's own end it stops trying to answer.
const TO_END: Duration = Duration::from_millis(500);
/// Longest wait for an answer to be taken, each time.
const TO_BE_TAKEN: Duration = Duration::from_secs(3);
/// How often an answer is sent, at most, and how long to wait after the first time; twice as long after each.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// The longest text in an answer, in bytes of JSON: CloudFormation takes 4096 for all of it.
const MAX_TEXT: usize = 1500;
/// What the resource is called where CloudFormation does not know it yet. It never changes: another name would
/// be another resource, and the old one deleted.
const NAME: &str = "migrations";

/// What CloudFormation asks.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StackRequest {
    request_type: RequestType,
    /// Whoever knows it can answer: it is signed, and secret.
    #[serde(rename = "ResponseURL", deserialize_with = "secret")]
    response_url: Secret,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    physical_resource_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum RequestType {
    Create,
    Update,
    Delete,
}

/// What CloudFormation is told.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    physical_resource_id: &'a str,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

/// What `!GetAtt` finds.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    /// The migrations that were applied, with commas between them.
    applied: String,
    /// The version of the schema now.
    version: String,
}

/// Answers CloudFormation, whatever comes of it: the migrations on create and update, nothing on delete. Fails
/// only where the answer could not be delivered, and then Lambda asks again.
pub async fn answer(
    request: StackRequest,
    deadline: SystemTime,
    settings: &Settings<'_>,
) -> Result<(), Failure> {
    answer_with(request, deadline, async {
        let database = Database::read(settings, Defaults::LAMBDA)
            .map_err(|bad| Failure(bad.to_string()))?
            .ok_or_else(|| Failure("DATABASE_HOSTNAME is not set.".to_owned()))?;
        carry_out(&Order::Migrate, &database).await
    })
    .await
}

/// The same with other work than migrations.
pub async fn answer_with(
    request: StackRequest,
    deadline: SystemTime,
    work: impl Future<Output = Result<Report, Failure>>,
) -> Result<(), Failure> {
    let left = || {
        deadline
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    };
    let done = match request.request_type {
        // The schema stays: it is not the stack's to drop.
        RequestType::Delete => Ok(None),
        RequestType::Create | RequestType::Update => {
            let work = AssertUnwindSafe(work).catch_unwind();
            match timeout(left().saturating_sub(TO_ANSWER), work).await {
                Ok(Ok(done)) => done.map(Some),
                Ok(Err(panic)) => Err(Failure(format!(
                    "The migrations panicked: {}.",
                    said_in_panic(&*panic)
                ))),
                Err(_) => Err(Failure("The migrations did not finish in time.".to_owned())),
            }
        }
    };
    let request_type = request.request_type;
    match &done {
        Ok(_) => tracing::info!(?request_type, "the stack is told of success"),
        Err(failure) => tracing::error!(?request_type, %failure, "the stack is told of a failure"),
    }
    let answer = Answer {
        status: if done.is_ok() { "SUCCESS" } else { "FAILED" },
        physical_resource_id: request.physical_resource_id.as_deref().unwrap_or(NAME),
        stack_id: &request.stack_id,
        request_id: &request.request_id,
        logical_resource_id: &request.logical_resource_id,
        data: done.as_ref().ok().and_then(|done| Data::of(done.as_ref()?)),
        reason: done.err().map(|failure| beginning(&failure.0)),
    };
    let body = serde_json::to_string(&answer).map_err(|error| Failure(error.to_string()))?;
    timeout(
        left().saturating_sub(TO_END),
        deliver(&request.response_url, &body),
    )
    .await
    .unwrap_or_else(|_| Err(Failure("There was no time left to answer.".to_owned())))
}

impl Data {
    fn of(report: &Report) -> Option<Self> {
        let Report::Migrated { applied, version } = report else {
            return None;
        };
        let applied: Vec<_> = applied
            .iter()
            .map(|migration| format!("V{}__{}", migration.version, migration.name))
            .collect();
        Some(Self {
            applied: beginning(&applied.join(", ")),
            version: version
                .map(|version| version.to_string())
                .unwrap_or_default(),
        })
    }
}

/// Sends the answer until it is taken.
async fn deliver(url: &Secret, body: &str) -> Result<(), Failure> {
    let mut pause = PAUSE;
    let mut attempt = 1;
    loop {
        let said = match timeout(TO_BE_TAKEN, https::put(url, body.to_owned())).await {
            Ok(Ok(status)) if status.is_success() => return Ok(()),
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.0,
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(attempt, said, "CloudFormation did not take the answer");
        if attempt == ATTEMPTS {
            return Err(Failure(format!(
                "CloudFormation did not take the answer: {said}."
            )));
        }
        sleep(pause).await;
        pause *= 2;
        attempt += 1;
    }
}

/// As much of a text as an answer has room for.
fn beginning(text: &str) -> String {
    let mut room = MAX_TEXT;
    text.chars()
        .take_while(|character| {
            // Between its quotes, as JSON writes it.
            let length = serde_json::to_string(character).map_or(MAX_TEXT, |json| json.len() - 2);
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        })
        .collect()
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}
