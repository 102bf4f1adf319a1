//! The edge to AWS: API Gateway events in, answers out.
//!
//! The events are read here and not by `lambda_http`, which panics on much that an event may hold, tries each
//! kind of event in turn, and knows no event that is no request.

mod answer;
mod event;
mod path;
mod shutdown;

use std::{convert::Infallible, thread, time::Duration};

use axum::Router;
use lambda_runtime::{LambdaEvent, Service, service_fn, tower::ServiceExt};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

pub use answer::Answer;
pub use event::{Event, GatewayRequest};
pub use lambda_runtime::Error;

use crate::{
    app::{self, App, RequestId, Served, TraceId},
    config::{Config, Lambda, Settings},
};

/// Longest wait for secrets and the database before the first request; Lambda allows ten seconds for all of init.
const INIT: Duration = Duration::from_secs(5);

/// Runs a function until the platform ends it: reads the settings, opens the first connection, serves, and
/// closes the connections in the end. Fails where a setting is bad.
pub fn serve(router: Router<App>) -> Result<(), Error> {
    let settings = Settings::from_env();
    let lambda = Lambda::read(&settings)?;
    lambda.log.clone().init();
    let mut runtime = if lambda.concurrency > 1 {
        Builder::new_multi_thread()
    } else {
        // One thread for one request at a time; Argon2 has threads of its own.
        Builder::new_current_thread()
    };
    runtime.enable_all().build()?.block_on(async {
        let config = Config::read(&settings, lambda.defaults())
            .inspect_err(|error| tracing::error!(%error, "the function cannot start"))?;
        // Argon2 takes a whole virtual CPU, and a request never hashes two passwords at once.
        let hashes_at_once = thread::available_parallelism()?
            .get()
            .min(lambda.concurrency);
        let app = App::new(&config, hashes_at_once).map_err(|error| error.cause())?;
        let mut told_to_end = signal(SignalKind::terminate())?;
        // What is not ready by then, the first request waits for.
        let warmed = async { tokio::join!(app.db.warm(), app.keys.warm()) };
        let (_, ()) = tokio::join!(timeout(INIT, warmed), shutdown::ask_for_notice());
        let handler = handler(app::service(router, app.clone()));
        // A task of its own is woken within the process; what the runtime was built around, through the kernel.
        let mut serving = tokio::spawn(lambda_runtime::run_concurrent(handler));
        tokio::select! {
            ended = &mut serving => ended?,
            _ = told_to_end.recv() => {
                serving.abort();
                app.db.close().await;
                Ok(())
            }
        }
    })
}

/// A served router as Lambda calls it. Every event gets an answer that a gateway can read.
pub fn handler(
    served: Served,
) -> impl Service<LambdaEvent<Event>, Response = Answer, Error = Infallible, Future: Send> + Clone + Send
{
    service_fn(move |event: LambdaEvent<Event>| {
        let served = served.clone();
        async move {
            let LambdaEvent { payload, context } = event;
            let Some((mut request, format)) = payload.into_request() else {
                return Ok(Answer::to_ping());
            };
            let extensions = request.extensions_mut();
            extensions.insert(RequestId(context.request_id.into()));
            if let Some(id) = context.xray_trace_id.as_deref().and_then(trace_id) {
                extensions.insert(TraceId(id.into()));
            }
            let Ok(response) = served.oneshot(request).await;
            Ok(Answer::of(response, format).await)
        }
    })
}

/// The id of the trace in a tracing header: `1-65f0a5de-3f2c1b4d5e6f708192a3b4c5`. Clients may send that header,
/// and whatever else they write there goes no further.
fn trace_id(header: &str) -> Option<String> {
    let root = header
        .split(';')
        .find_map(|part| part.trim().strip_prefix("Root="))?;
    let is_id = root.len() == 35
        && root
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_id.then(|| root.to_owned())
}
