//! Throughput: as many instances as API Gateway would start for so many requests at once, beside pgbench, which
//! runs the same statement on as many connections and does nothing else. The two take turns.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use crate::{
    Bench, Failure,
    database::{Database, Postgres, Size},
    events::{Ballots, Request, signing_keys},
    functions::{HELLO, program},
    recorder::Recorder,
    report::{Figure, Target},
    runtime_api::Instance,
    traffic::{Dice, Requests, keep_busy},
};

const SIZE: Size = Size { posts: 100_000 };
const INSTANCES: [u32; 3] = [1, 4, 16];
/// Turns, and how long each lasts, in seconds.
const TURNS: u32 = 2;
const TURN: u64 = 3;
/// What no function of ours can surpass here.
const NOTHING: &str = "throughput hello on 16";

/// A kind of traffic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reads,
    Votes,
}

impl Kind {
    fn route(self) -> &'static str {
        match self {
            Self::Reads => "GET /posts/{id}",
            Self::Votes => "POST /vote",
        }
    }

    fn function(self) -> &'static str {
        match self {
            Self::Reads => "posts",
            Self::Votes => "votes",
        }
    }

    fn figure(self, instances: u32) -> String {
        format!("throughput {} on {instances}", self.route())
    }

    /// The parameters that vary: their numbers in the statement, and their names in the script.
    fn variable(self, parameter: usize) -> Option<&'static str> {
        match (self, parameter) {
            // Sessions have the numbers of their users.
            (Self::Votes, 1 | 2) => Some("user"),
            (_, 3) => Some("post"),
            _ => None,
        }
    }

    /// What one instance is asked. Few votes meet one that is there already.
    fn requests(self, ballots: &Ballots, seed: u64) -> Requests {
        let mut dice = Dice::new(seed);
        match self {
            Self::Reads => {
                let event = Request::get("/posts/4242424242").event();
                Box::new(move || {
                    let post = 1 + dice.roll(SIZE.posts);
                    event.replace("4242424242", &post.to_string())
                })
            }
            Self::Votes => {
                let ballots = ballots.clone();
                Box::new(move || ballots.event(dice.roll(SIZE.users()), 1 + dice.roll(SIZE.posts)))
            }
        }
    }
}

pub(crate) async fn run(bench: &mut Bench) -> Result<(), Failure> {
    let chosen: Vec<_> = [Kind::Reads, Kind::Votes]
        .into_iter()
        .flat_map(|kind| INSTANCES.map(|instances| (kind, instances)))
        .filter(|(kind, instances)| bench.choice.takes(&kind.figure(*instances)))
        .collect();
    if bench.choice.takes(NOTHING) {
        let rate = nothing().await?;
        bench.report.add(Figure::new(NOTHING, rate, "/s"));
    }
    if chosen.is_empty() {
        return Ok(());
    }
    let postgres = Postgres::start().await?;
    bench.knows(&postgres);
    let measured = measure_all(bench, &postgres, &chosen).await;
    postgres.stop().await?;
    measured
}

/// How many requests a second get through Runtime API and runtime, where the function does nothing.
async fn nothing() -> Result<f64, Failure> {
    let mut crew = Vec::new();
    for _ in 0..16 {
        crew.push(Instance::start(&program(HELLO), &[]).await?);
    }
    let requests = |_| -> Requests {
        let event = Request::get("/").event();
        Box::new(move || event.clone())
    };
    let rate = keep_busy(&mut crew, Duration::from_secs(TURN), &[200], requests).await?;
    for instance in crew {
        instance.stop().await?;
    }
    Ok(rate)
}

async fn measure_all(
    bench: &mut Bench,
    postgres: &Postgres,
    chosen: &[(Kind, u32)],
) -> Result<(), Failure> {
    let pgbench = postgres.program("pgbench");
    if pgbench.is_none() {
        bench.report.note("There is no pgbench beside the server.");
    }
    let database = postgres.create("throughput").await?;
    database.load(SIZE).await?;
    let ballots = Ballots::new(&*signing_keys().await?, SIZE.users())?;
    for (kind, instances) in chosen {
        let (ours, theirs) =
            measure(&database, &ballots, pgbench.as_deref(), *kind, *instances).await?;
        let mut figure = Figure::new(kind.figure(*instances), ours, "/s");
        if let Some(theirs) = theirs {
            figure = figure.against("pgbench", theirs);
            if *instances == 16 {
                figure = figure.aims(Target::AtLeast(0.7));
            }
        }
        bench.report.add(figure);
    }
    Ok(())
}

/// Requests a second, and transactions a second.
async fn measure(
    database: &Database,
    ballots: &Ballots,
    pgbench: Option<&Path>,
    kind: Kind,
    instances: u32,
) -> Result<(f64, Option<f64>), Failure> {
    let script = script(database, ballots, kind).await?;
    let mut crew = Vec::new();
    for _ in 0..instances {
        crew.push(Instance::start(&program(kind.function()), &database.settings()).await?);
    }
    let (mut ours, mut theirs) = (0.0, 0.0);
    for turn in 0..TURNS {
        let requests = |number| kind.requests(ballots, u64::from(turn * instances) + number);
        // A vote that is there already is a conflict, in pgbench's eyes as good as any.
        ours += keep_busy(
            &mut crew,
            Duration::from_secs(TURN),
            &[200, 201, 409],
            requests,
        )
        .await?;
        if let Some(pgbench) = pgbench {
            theirs += run_pgbench(pgbench, &script, database, instances).await?;
        }
    }
    for instance in crew {
        instance.stop().await?;
    }
    fs::remove_file(script)?;
    let turns = f64::from(TURNS);
    Ok((ours / turns, pgbench.map(|_| theirs / turns)))
}

/// A file with the statement that the function sends, and with variables that are drawn as its requests are.
async fn script(database: &Database, ballots: &Ballots, kind: Kind) -> Result<PathBuf, Failure> {
    let recorder = Recorder::before(database).await?;
    let settings = recorder.database.settings();
    let mut instance = Instance::start(&program(kind.function()), &settings).await?;
    let event = kind.requests(ballots, u64::MAX)();
    instance.invoke(&event, &[200, 201, 409]).await?;
    instance.stop().await?;
    let heard = recorder.heard();
    let statement = heard.first().ok_or("the function sent no statement")?;
    let script = format!(
        "\\set user random(1, {})\n\\set post random(1, {})\n{}",
        SIZE.users(),
        SIZE.posts,
        statement.script(|parameter| kind.variable(parameter))?
    );
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("speed.pgbench");
    fs::write(&path, script)?;
    Ok(path)
}

async fn run_pgbench(
    pgbench: &Path,
    script: &Path,
    database: &Database,
    connections: u32,
) -> Result<f64, Failure> {
    let connection = &database.connection;
    let output = Command::new(pgbench)
        .args(["--no-vacuum", "--protocol=prepared"])
        .arg(format!("--client={connections}"))
        .arg(format!("--time={TURN}"))
        .arg("--file")
        .arg(script)
        .arg(format!("--host={}", connection.host))
        .arg(format!("--port={}", connection.port))
        .arg(format!("--username={}", connection.username))
        .arg(&connection.database)
        .env("PGPASSWORD", &connection.password)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.ok_or_else(|| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        format!("pgbench failed: {complaint}").into()
    })
}
