//! How fast it is, each figure beside something else that was measured in the same run: `cargo bench -p local`
//! prints one table and writes it to `target/speed.json`, in less than 15 minutes on two cores. `cargo bench -p
//! local -- start "warm POST /vote"` measures only the figures whose names hold one of these texts.
//!
//! | part | what |
//! | --- | --- |
//! | `start` | from the start of a process to its first call for an event; sizes and memory |
//! | `warm` | one invocation of each route, beside its bare statement and a function that does nothing |
//! | `throughput` | 1, 4 and 16 instances, beside pgbench with the same statement |
//! | `growth` | the same request on a thousand, a hundred thousand and a million posts; many votes for one post |
//! | `argon2` | our hashes beside those of the C reference |
//!
//! Three more run only when they are named, alone, since they answer other questions, which their own heads tell:
//! `cargo bench -p local -- adopt`, `-- login_timing` and `-- restarts`.
//!
//! The functions are the release binaries, driven through a Runtime API of the bench's own on 127.0.0.1, with a
//! PostgreSQL of the bench's own, which keeps its default settings.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark says what it does and what it found"
)]

mod adopt;
mod argon2;
#[path = "../../tests/all/world/cargo.rs"]
mod cargo;
mod core;
mod database;
mod events;
mod functions;
mod growth;
mod login_timing;
mod recorder;
mod report;
mod restarts;
mod runtime_api;
mod start;
mod throughput;
mod traffic;
mod warm;

use std::env;

use database::Postgres;
use report::{Choice, Report};
use tokio::runtime::Builder;

/// The signing key of every function of the bench.
const SECRET_KEY: &str = "a signing key for a benchmark, 32 bytes";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What to measure, and what was found.
struct Bench {
    choice: Choice,
    report: Report,
}

impl Bench {
    /// Notes which server the figures come from.
    fn knows(&mut self, postgres: &Postgres) {
        let machine = &mut self.report.machine;
        if !machine.iter().any(|(name, _)| *name == "PostgreSQL") {
            machine.push(("PostgreSQL", postgres.version().to_owned()));
        }
    }
}

fn main() -> Result<(), Failure> {
    // Cargo adds options of its own.
    let texts: Vec<_> = env::args()
        .skip(1)
        .filter(|text| !text.starts_with("--"))
        .collect();
    let number = || texts.get(1).map(|text| text.parse()).transpose();
    let threads = || Builder::new_multi_thread().enable_all().build();
    match texts.first().map(String::as_str) {
        Some("adopt") => threads()?.block_on(adopt::run(number()?)),
        Some("login_timing") => threads()?.block_on(login_timing::run()),
        Some("restarts") => threads()?.block_on(restarts::run(number()?)),
        // One thread, so that the bench takes as little as it can from what it measures.
        _ => Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(measure(Choice::new(texts))),
    }
}

async fn measure(choice: Choice) -> Result<(), Failure> {
    let mut bench = Bench {
        choice,
        report: Report::new(),
    };
    functions::build()?;
    start::run(&mut bench).await?;
    warm::run(&mut bench).await?;
    throughput::run(&mut bench).await?;
    growth::run(&mut bench).await?;
    argon2::run(&mut bench).await?;
    let report = bench.report;
    let path = report.write(functions::target())?;
    println!("\n{}\n{}", report.table(), path.display());
    Ok(())
}
