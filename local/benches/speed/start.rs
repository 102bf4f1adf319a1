//! Start: from the start of a process to its first call for an event, and what its first request takes.

use std::time::Duration;

use crate::{
    Bench, Failure,
    core::OneCore,
    database::{Database, Postgres},
    events::Request,
    functions::{FUNCTIONS, HELLO, program, zipped},
    report::{Figure, Target, median, milliseconds},
    runtime_api::Instance,
};

/// Starts of each function.
const STARTS: usize = 30;

/// The first request of each function: one that asks the database, where it can, and hashes nothing.
fn first_request(function: &str) -> (Request, u16) {
    let none = format!("{{\"refresh_token\":\"{}\"}}", "A".repeat(43));
    match function {
        "auth" => (
            Request::post("/auth/refresh").json(&serde_json::from_str(&none).unwrap_or_default()),
            401,
        ),
        "posts" => (Request::get("/posts"), 200),
        "system" => (Request::get("/health"), 200),
        "users" => (Request::get("/users/1"), 404),
        "votes" => (Request::post("/vote"), 401),
        _ => (Request::get("/"), 200),
    }
}

/// What the starts of one function took, and of the hello-world between them: not where there is a database, whose
/// server is still busy with the end of the connection before.
struct Starts {
    ours: Vec<Duration>,
    first_requests: Vec<Duration>,
    hellos: Vec<Duration>,
    peak_memory: Option<u64>,
}

pub(crate) async fn run(bench: &mut Bench) -> Result<(), Failure> {
    let names = |what: &str| FUNCTIONS.map(|function| format!("start {function} {what}"));
    let (alone, plain, tls, sizes) = (
        names("without a database"),
        names("with a database"),
        names("with a database over TLS"),
        names("zip"),
    );
    let takes = |names: &[String]| names.iter().any(|name| bench.choice.takes(name));
    let needs_server = takes(&plain) || takes(&tls);
    if takes(&alone) {
        let _core = OneCore::share(None)?;
        measure(bench, &alone, None).await?;
    }
    if needs_server {
        let postgres = Postgres::start().await?;
        let measured = measure_connected(bench, &postgres, &plain, &tls).await;
        postgres.stop().await?;
        measured?;
    }
    for (function, name) in FUNCTIONS.iter().zip(&sizes) {
        if bench.choice.takes(name) {
            let most = if *function == "system" { 6.0 } else { 3.0 };
            let binary = std::fs::metadata(program(function))?.len();
            let zip = Figure::new(name, zipped(&program(function))? / 1e6, "MB");
            bench.report.add(zip.aims(Target::AtMost(most)));
            bench.report.add(Figure::new(
                format!("start {function} binary, stripped"),
                mega(binary),
                "MB",
            ));
        }
    }
    Ok(())
}

async fn measure_connected(
    bench: &mut Bench,
    postgres: &Postgres,
    plain: &[String],
    tls: &[String],
) -> Result<(), Failure> {
    bench.knows(postgres);
    let database = postgres.create("start").await?;
    let _core = OneCore::share(Some(postgres))?;
    measure(bench, plain, Some(&database)).await?;
    match postgres.offer_tls(&database).await? {
        Some(protected) => measure(bench, tls, Some(&protected)).await?,
        None => bench.report.note("The server was built without TLS."),
    }
    Ok(())
}

async fn measure(
    bench: &mut Bench,
    names: &[String],
    database: Option<&Database>,
) -> Result<(), Failure> {
    for (function, name) in FUNCTIONS.iter().zip(names) {
        if !bench.choice.takes(name) {
            continue;
        }
        let mut starts = start(function, database).await?;
        let figure = Figure::time(name, median(&mut starts.ours));
        bench.report.add(match database {
            // A connection takes what it takes.
            Some(_) => figure,
            None => figure
                .against("hello", milliseconds(median(&mut starts.hellos)))
                .aims(Target::AtMost(1.3)),
        });
        if database.is_some() {
            bench.report.add(Figure::time(
                format!("{name}, first request"),
                median(&mut starts.first_requests),
            ));
            if let Some(bytes) = starts.peak_memory {
                let memory = Figure::new(format!("{name}, peak memory"), mega(bytes), "MB");
                bench.report.add(memory.aims(Target::AtMost(20.0)));
            }
        }
    }
    Ok(())
}

async fn start(function: &str, database: Option<&Database>) -> Result<Starts, Failure> {
    let settings = database.map_or_else(
        || vec![("SECRET_KEY", crate::SECRET_KEY.to_owned())],
        Database::settings,
    );
    let mut starts = Starts {
        ours: Vec::new(),
        first_requests: Vec::new(),
        hellos: Vec::new(),
        peak_memory: None,
    };
    let (request, status) = first_request(function);
    let event = request.event();
    for _ in 0..STARTS {
        if database.is_none() {
            let hello = Instance::start(&program(HELLO), &[]).await?;
            starts.hellos.push(hello.started_in);
            hello.stop().await?;
        }
        let mut instance = Instance::start(&program(function), &settings).await?;
        starts.ours.push(instance.started_in);
        if database.is_some() {
            let answer = instance.invoke(&event, &[status]).await?;
            starts.first_requests.push(answer.took);
            starts.peak_memory = starts.peak_memory.max(instance.peak_memory());
        }
        instance.stop().await?;
    }
    Ok(starts)
}

fn mega(bytes: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "sizes of a process are exact in 53 bits"
    )]
    let bytes = bytes as f64;
    bytes / 1e6
}
