//! `cargo local`: serves the whole API on this machine, or migrates its database.

use std::{
    collections::HashMap,
    env, error,
    future::{Future, pending},
    io::{self, Write},
    path::{Path, PathBuf},
    pin::{Pin, pin},
    process::ExitCode,
    thread,
};

use local::{
    postgres::{self, Connection, Server},
    server,
    settings::{DEFAULTS, Local, development_key, read_dotenv},
};
use migrate::{Order, Report};
use shared::{
    App, app,
    config::{BadSetting, Config, Database, Settings, Sslmode},
    telemetry::Log,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

const USAGE: &str = "\
Serves the whole API on this machine.

Usage: cargo local [--fresh]   serve; --fresh starts with an empty private database
       cargo local migrate     bring the configured database to the current schema
       cargo local status      tell which migrations it has
       cargo local adopt [--dry-run]
                               turn a database of the FastAPI service into one of this
                               service; --dry-run only tells what would happen
       cargo local env         tell functions how to reach it, for `cargo lambda watch --env-file`

Settings come from the environment and from a .env file; .env.example lists them.
With DATABASE_HOSTNAME set, that database is used; without it, a private PostgreSQL
whose data stay in the target folder.
";

/// What to do, from the command line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Serve { fresh: bool },
    Order(Order),
    Environment,
    Help,
}

/// One sentence for the person at the terminal.
type Failure = Box<dyn error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let command = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => Command::Serve { fresh: false },
        ["--fresh"] => Command::Serve { fresh: true },
        ["migrate"] => Command::Order(Order::Migrate),
        ["status"] => Command::Order(Order::Status),
        ["adopt"] => Command::Order(Order::Adopt { dry_run: false }),
        ["adopt", "--dry-run"] => Command::Order(Order::Adopt { dry_run: true }),
        ["env"] => Command::Environment,
        ["help" | "--help" | "-h"] => Command::Help,
        _ => {
            complain(&format!(
                "there is no such command: {}\n\n{USAGE}",
                arguments.join(" ")
            ));
            return ExitCode::from(2);
        }
    };
    let done = match command {
        Command::Serve { fresh } => serve(fresh).await,
        Command::Order(order) => obey(order).await,
        Command::Environment => tell_environment(),
        Command::Help => {
            say(USAGE.trim_end());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Serves until it is told to end, then finishes what is under way and stops what it started.
async fn serve(fresh: bool) -> Result<(), Failure> {
    let found = Found::read()?;
    let local = Local::read(&found.settings())?;
    let mut config = found.config()?;
    if fresh && config.database.is_some() {
        let why = "--fresh is for the private database, and DATABASE_HOSTNAME names another one; nothing was deleted.";
        return Err(why.into());
    }
    let mut end = pin!(told_to_end()?);
    // The port first: it is sooner known to be taken than a database is made.
    let listener = TcpListener::bind((local.host, local.port))
        .await
        .map_err(|error| {
            format!(
                "{}:{} cannot be listened on ({error}); PORT names another port.",
                local.host, local.port
            )
        })?;

    let mut private = None;
    if config.database.is_none() {
        let home = target_folder().join("postgres");
        let mut say = say;
        let server = tokio::select! {
            server = Server::start(&home, &local.postgres, fresh, &mut say) => server?,
            () = &mut end => return Ok(()),
        };
        config.database = Some(reached_by(server.connection(), &found.settings())?);
        private = Some(server);
    }
    let done = tokio::select! {
        done = migrate_and_serve(listener, &local, &config, end) => done,
        failure = stopped(private.as_mut()) => Err(failure.into()),
    };
    if let Some(server) = private {
        server.stop().await?;
    }
    done
}

async fn migrate_and_serve(
    listener: TcpListener,
    local: &Local,
    config: &Config,
    mut end: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Failure> {
    let database = config
        .database
        .as_ref()
        .ok_or("No database is configured.")?;
    tokio::select! {
        migrated = migrate::carry_out(&Order::Migrate, database) => migrated?,
        () = &mut end => return Ok(()),
    };
    Log::PLAIN.init();
    let port = listener.local_addr()?.port();
    let hashes_at_once = thread::available_parallelism()?.get();
    let app = App::new(config, hashes_at_once).map_err(|error| error.cause())?;
    let served = app::service(local::router(), app);
    say(&format!(
        "Serving on http://localhost:{port}/ until Ctrl-C."
    ));
    server::serve(
        listener,
        served,
        server::cors(local.cors_origins.clone()),
        end,
    )
    .await;
    Ok(())
}

/// Does to the configured database, or to the private one, what the migrate function would.
async fn obey(order: Order) -> Result<(), Failure> {
    let found = Found::read()?;
    let local = Local::read(&found.settings())?;
    let home = target_folder().join("postgres");
    let mut private = None;
    let database = if let Some(database) = Database::read(&found.settings(), DEFAULTS)? {
        database
    } else {
        let connection = if let Some(connection) = postgres::running(&home) {
            connection
        } else {
            let server = Server::start(&home, &local.postgres, false, &mut say).await?;
            let connection = server.connection().clone();
            private = Some(server);
            connection
        };
        reached_by(&connection, &found.settings())?
    };
    let report = migrate::carry_out(&order, &database).await;
    if let Some(server) = private {
        server.stop().await?;
    }
    let report = report?;
    say(&serde_json::to_string_pretty(&report)?);
    match report {
        Report::Surveyed(survey) if !survey.can_proceed => {
            Err("The database cannot be adopted as it is; the reasons stand above.".into())
        }
        _ => Ok(()),
    }
}

/// Prints the database and the signing key as variables that a function reads.
fn tell_environment() -> Result<(), Failure> {
    let found = Found::read()?;
    let config = found.config()?;
    let database = if let Some(database) = config.database {
        database
    } else {
        let home = target_folder().join("postgres");
        let connection = postgres::running(&home)
            .ok_or("No private database runs; `cargo local` in another terminal starts it.")?;
        reached_by(&connection, &found.settings())?
    };
    let sslmode = match database.sslmode {
        Sslmode::Disable => "disable",
        Sslmode::Require => "require",
        Sslmode::VerifyFull => "verify-full",
    };
    for (name, value) in [
        ("DATABASE_HOSTNAME", database.hostname.as_str()),
        ("DATABASE_PORT", &database.port.to_string()),
        ("DATABASE_NAME", &database.name),
        ("DATABASE_USERNAME", &database.username),
        ("DATABASE_PASSWORD", database.password.reveal()),
        ("DATABASE_SSLMODE", sslmode),
        ("SECRET_KEY", config.signing.key.reveal()),
    ] {
        say(&format!("{name}={value}"));
    }
    Ok(())
}

/// The environment, and the `.env` file of the current folder behind it.
struct Found {
    dotenv: HashMap<String, String>,
}

impl Found {
    fn read() -> Result<Self, BadSetting> {
        Ok(Self {
            dotenv: read_dotenv(Path::new(".env"))?,
        })
    }

    fn settings(&self) -> Settings<'_> {
        let environment = Settings::from_env();
        Settings::from_lookup(move |name| {
            environment
                .get(name)
                .or_else(|| self.dotenv.get(name).cloned())
        })
    }

    /// The settings of the functions, with a signing key of our own where none is set.
    fn config(&self) -> Result<Config, Failure> {
        let settings = self.settings();
        let key = match settings.get("SECRET_KEY") {
            Some(key) => key,
            None if settings.get("JWT_SECRET_ARN").is_some() => String::new(),
            None => {
                let path = target_folder().join("local-secret-key");
                development_key(&path)
                    .map_err(|error| format!("{} cannot be used: {error}.", path.display()))?
            }
        };
        let settings = Settings::from_lookup(|name| match name {
            "SECRET_KEY" => Some(key.clone()),
            name => settings.get(name),
        });
        Ok(Config::read(&settings, DEFAULTS)?)
    }
}

/// The private database in the words of a configured one.
fn reached_by(connection: &Connection, settings: &Settings<'_>) -> Result<Database, Failure> {
    let settings = Settings::from_lookup(|name| match name {
        "DATABASE_HOSTNAME" => Some(connection.host.to_string()),
        "DATABASE_PORT" => Some(connection.port.to_string()),
        "DATABASE_NAME" => Some(connection.database.clone()),
        "DATABASE_USERNAME" => Some(connection.username.clone()),
        "DATABASE_PASSWORD" => Some(connection.password.clone()),
        name => settings.get(name),
    });
    Database::read(&settings, DEFAULTS)?.ok_or_else(|| "There is no private database.".into())
}

/// Where this program was built: `target/debug/local` belongs to `target`.
fn target_folder() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    program
        .ancestors()
        .nth(2)
        .map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// Waits for the private server to end by itself; for ever where there is none.
async fn stopped(private: Option<&mut Server>) -> postgres::Failure {
    match private {
        Some(server) => server.stopped().await,
        None => pending().await,
    }
}

/// Waits for Ctrl-C or SIGTERM.
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// A line for the person at the terminal. Whoever closed their end wants no more lines.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn complain(sentence: &str) {
    let _ = writeln!(io::stderr(), "error: {sentence}");
}
