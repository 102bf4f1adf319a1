//! Argon2: our hashes beside those of the C reference, at our parameters, on one thread. The two take turns.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use shared::password::{Password, Passwords};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use crate::{
    Bench, Failure,
    report::{Figure, Target},
};

const NAME: &str = "argon2";
/// Hashes in one turn.
const HASHES: u32 = 20;
const TURNS: u32 = 10;

/// The C reference, as Python packs it: the bindings hold it, the package calls them.
const REQUIREMENTS: [&str; 2] = ["argon2-cffi==25.1.0", "argon2-cffi-bindings==25.1.0"];

/// Hashes as often as each line of its input says, at the parameters of a PHC string, and says how many seconds
/// that took.
const REFERENCE: &str = "
import sys, time
from argon2 import extract_parameters
from argon2.low_level import hash_secret
phc = sys.argv[1]
of = extract_parameters(phc)
for line in sys.stdin:
    begun = time.perf_counter()
    for _ in range(int(line)):
        hash_secret(b'opal-lantern-42', b'0123456789abcdef', of.time_cost, of.memory_cost, of.parallelism,
                    of.hash_len, of.type, of.version)
    print(time.perf_counter() - begun, flush=True)
";

pub(crate) async fn run(bench: &mut Bench) -> Result<(), Failure> {
    if !bench.choice.takes(NAME) {
        return Ok(());
    }
    let python = match reference().await {
        Ok(python) => Some(python),
        Err(failure) => {
            bench.report.note(format!(
                "The C reference of Argon2 is not to be had: {failure}"
            ));
            None
        }
    };
    let passwords = Passwords::new(1).map_err(|error| error.cause())?;
    let password = || Password::new("opal-lantern-42".to_owned());
    let hash = async || {
        passwords
            .hash(password())
            .await
            .map_err(|error| error.cause())
    };
    let phc = hash().await?;
    let mut theirs = match python {
        Some(python) => Some(Reference::start(&python, &phc)?),
        None => None,
    };
    let (mut our_time, mut their_time) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        let begun = Instant::now();
        for _ in 0..HASHES {
            hash().await?;
        }
        our_time += begun.elapsed();
        if let Some(theirs) = &mut theirs {
            their_time += theirs.hash().await?;
        }
    }
    let rate = |time: Duration| f64::from(HASHES * TURNS) / time.as_secs_f64();
    let mut figure = Figure::new(NAME, rate(our_time), "/s");
    if theirs.is_some() {
        figure = figure
            .against("C reference", rate(their_time))
            .aims(Target::AtLeast(1.0));
    }
    bench.report.add(figure);
    Ok(())
}

/// The C reference, in a process of its own.
struct Reference {
    _child: tokio::process::Child,
    input: tokio::process::ChildStdin,
    output: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Reference {
    fn start(python: &Path, phc: &str) -> Result<Self, Failure> {
        let mut child = Command::new(python)
            .args(["-c", REFERENCE, phc])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("there is no pipe")?;
        let output = child.stdout.take().ok_or("there is no pipe")?;
        Ok(Self {
            _child: child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    /// How long one turn took.
    async fn hash(&mut self) -> Result<Duration, Failure> {
        self.input
            .write_all(format!("{HASHES}\n").as_bytes())
            .await?;
        let line = self.output.next_line().await?;
        let seconds = line.ok_or("the C reference ended")?.parse()?;
        Ok(Duration::from_secs_f64(seconds))
    }
}

/// The Python of an environment that has the C reference, installed once.
async fn reference() -> Result<PathBuf, Failure> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("argon2-cffi");
    let (python, made_from) = (place.join("bin/python"), place.join("made-from.txt"));
    let requirements = REQUIREMENTS.join("\n");
    if fs::read_to_string(&made_from).is_ok_and(|text| text == requirements) {
        return Ok(python);
    }
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    execute(Command::new("python3").args(["-m", "venv"]).arg(&place)).await?;
    execute(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .arg("--disable-pip-version-check")
            .args(REQUIREMENTS),
    )
    .await?;
    fs::write(made_from, requirements)?;
    Ok(python)
}

async fn execute(command: &mut Command) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().to_owned().into())
}
