//! The migrations as a resource of a stack: CloudFormation asks for them to be applied, and waits for an answer
//! at an address that it names. Without one the stack hangs, so there always is one.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    config::{Secret, Settings},
    error::said_in_panic,
    https,
};
use tokio::time::{sleep, timeout};

use crate::{Deadline, Event, Failure, Order, Report, carry_out_by, database};

/// How long before the function's own end the work must have ended, so that there is time to answer.
const TO_ANSWER: Duration = Duration::from_secs(5);
/// How long before that it is given up, so that there is time to take it back.
const TO_LET_GO: Duration = Duration::from_secs(3);
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

/// What CloudFormation asks: whatever else is wrong with it, there is an address to answer at.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Event")]
pub struct StackRequest {
    /// What is wanted, or the sentence that says what is wrong with the request.
    wanted: Result<RequestType, String>,
    /// Whoever knows it can answer: it is signed, and secret.
    response_url: Secret,
    stack_id: Option<String>,
    request_id: Option<String>,
    logical_resource_id: Option<String>,
    physical_resource_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestType {
    Create,
    Update,
    Delete,
}

impl TryFrom<Event> for StackRequest {
    type Error = Failure;

    /// Fails only where there is nowhere to answer.
    fn try_from(event: Event) -> Result<Self, Failure> {
        let text = |name| event.get(name).and_then(Value::as_str).map(str::to_owned);
        let Some(response_url) = text("ResponseURL") else {
            return Err(Failure(
                "The event is CloudFormation's, but nobody can be answered: ResponseURL is not \
                 there, or is not text."
                    .to_owned(),
            ));
        };
        Ok(Self {
            wanted: wanted(&event),
            response_url: Secret::new(response_url),
            stack_id: text("StackId"),
            request_id: text("RequestId"),
            logical_resource_id: text("LogicalResourceId"),
            physical_resource_id: text("PhysicalResourceId"),
        })
    }
}

/// What a request wants, if it is one: fields that are not known here are CloudFormation's own affair, but an order
/// has no place in it.
fn wanted(event: &Event) -> Result<RequestType, String> {
    if let Some(name) = event.repeated() {
        return Err(format!("The request has {name} more than once."));
    }
    if event.has("action") {
        return Err("The request has an action, which CloudFormation never sends.".to_owned());
    }
    for name in ["RequestType", "StackId", "RequestId", "LogicalResourceId"] {
        match event.get(name) {
            Some(Value::String(text)) if !text.is_empty() => {}
            None | Some(Value::Null) => return Err(format!("The request has no {name}.")),
            Some(_) => return Err(format!("The request's {name} is empty or is not text.")),
        }
    }
    match event.get("PhysicalResourceId") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => return Err("The request's PhysicalResourceId is not text.".to_owned()),
    }
    match event.get("RequestType").and_then(Value::as_str) {
        Some("Create") => Ok(RequestType::Create),
        Some("Update") => Ok(RequestType::Update),
        Some("Delete") => Ok(RequestType::Delete),
        _ => Err("The request's RequestType is not Create, Update or Delete.".to_owned()),
    }
}

/// What CloudFormation is told.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    physical_resource_id: &'a str,
    /// These three are repeated as they came, and left out where they did not come.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logical_resource_id: Option<&'a str>,
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
        let deadline = Deadline::before(deadline, TO_LET_GO + TO_ANSWER);
        carry_out_by(&Order::Migrate, &database(settings)?, deadline).await
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
    let done = match request.wanted.clone() {
        Err(wrong) => Err(Failure(wrong)),
        // The schema stays: it is not the stack's to drop.
        Ok(RequestType::Delete) => Ok(None),
        Ok(RequestType::Create | RequestType::Update) => {
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
    let request_type = request.wanted.ok();
    match &done {
        Ok(_) => tracing::info!(?request_type, "the stack is told of success"),
        Err(failure) => tracing::error!(?request_type, %failure, "the stack is told of a failure"),
    }
    let answer = Answer {
        status: if done.is_ok() { "SUCCESS" } else { "FAILED" },
        physical_resource_id: request.physical_resource_id.as_deref().unwrap_or(NAME),
        stack_id: request.stack_id.as_deref(),
        request_id: request.request_id.as_deref(),
        logical_resource_id: request.logical_resource_id.as_deref(),
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
