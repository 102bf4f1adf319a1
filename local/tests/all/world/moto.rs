//! Moto, which speaks Secrets Manager: installed once under `target/`, one server for each test process.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, PipeWriter},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread,
};

const REQUIREMENTS: &str = include_str!("moto/requirements.txt");

/// The shell keeps the server on a leash: it reads from a pipe of ours, which ends when we do, whatever ends
/// us, and then it ends the server.
const ON_A_LEASH: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
read -r nothing <&3
kill "$!"
"#;

struct Moto {
    address: SocketAddr,
    _shell: Child,
    /// Closed by the kernel when this process ends.
    _leash: PipeWriter,
}

static MOTO: LazyLock<Moto> = LazyLock::new(|| start(&installed()));

/// Where moto listens; installed and started by whoever asks first.
pub(super) async fn address() -> SocketAddr {
    tokio::task::spawn_blocking(|| MOTO.address).await.unwrap()
}

/// The Python of an environment that has moto. Complete is what says in the end what it was made from; what a
/// killed run left half done is made anew.
fn installed() -> PathBuf {
    let shelf = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = shelf.join("moto");
    let lock = File::create(shelf.join("moto.lock")).unwrap();
    lock.lock().unwrap();
    let python = place.join("bin/python");
    let made_from = place.join("made-from.txt");
    if fs::read_to_string(&made_from).is_ok_and(|text| text == REQUIREMENTS) {
        return python;
    }
    if place.exists() {
        fs::remove_dir_all(&place).unwrap();
    }
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&place),
        "python3 with its module venv is needed: python3 and python3-venv on Debian, python3 elsewhere",
    );
    let requirements = place.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).unwrap();
    run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--requirement"])
            .arg(&requirements),
        "pip has to be able to fetch it, once",
    );
    fs::rename(requirements, made_from).unwrap();
    python
}

#[track_caller]
fn run(command: &mut Command, advice: &str) {
    let failed = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => [output.stdout, output.stderr]
            .map(|said| String::from_utf8_lossy(&said).into_owned())
            .concat(),
        Err(error) => error.to_string(),
    };
    panic!(
        "Moto, which these tests take their secrets from, could not be installed ({command:?}): {failed}\n{advice}."
    );
}

/// Starts the server on a port that the kernel chooses, and waits until it says which.
fn start(python: &Path) -> Moto {
    let (reader, leash) = io::pipe().unwrap();
    let mut shell = Command::new("sh")
        .args(["-c", ON_A_LEASH, "sh"])
        .arg(python)
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut words = BufReader::new(shell.stderr.take().unwrap());
    let address = loop {
        let before = said.len();
        assert_ne!(
            words.read_line(&mut said).unwrap(),
            0,
            "moto did not start: {said}"
        );
        if let Some((_, address)) = said[before..].split_once("Running on http://") {
            break address.trim().parse().unwrap();
        }
    };
    // It goes on talking, and would wait for somebody to listen.
    thread::spawn(move || io::copy(&mut words, &mut io::sink()));
    Moto {
        address,
        _shell: shell,
        _leash: leash,
    }
}
