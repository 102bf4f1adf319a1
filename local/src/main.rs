//! `cargo local`: serves the whole API on this machine, or migrates its database.

mod psql;

use std::{
    env, error,
    future::{Future, pending},
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    pin::{Pin, pin},
    process::ExitCode,
    thread,
};

use local::{
    command::{Command, USAGE},
    data::Data,
    log,
    postgres::{self, Connection, Server},
    server,
    settings::{DEFAULTS, Found, Local},
};
use migrate::{Order, Report};
use shared::{
    App, app,
    config::{BadSetting, Config, Database, Settings, Sslmode, environment},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Stands for the signing key that is not made yet, while the other settings are judged.
const SUPPOSED_KEY: &str = "a key that signs nothing, 32 bytes";

/// One sentence for the person at the terminal.
type Failure = Box<dyn error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match Command::parse(&arguments) {
        Ok(Command::Serve { fresh }) => serve(fresh).await,
        Ok(Command::Order(order)) => obey(order).await,
        Ok(Command::Environment) => tell_environment(),
        Ok(Command::Help) => {
            say(USAGE.trim_end());
            Ok(())
        }
        Ok(Command::Version) => {
            say(concat!("cargo local ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Err(misuse) => {
            complain(&format!("{misuse}\n\n{USAGE}"));
            return ExitCode::from(2);
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
    let found = find()?;
    let local = Local::read(&found.settings())?;
    let data = Data::of(&found.settings());
    // Every setting is judged before anything is made or started.
    let database = found.database()?;
    found.config(|| Ok(SUPPOSED_KEY.to_owned()))?;
    if fresh && database.is_some() {
        let why = "--fresh is for the private database, and DATABASE_HOSTNAME names another one; nothing was deleted.";
        return Err(why.into());
    }
    let mut end = pin!(told_to_end()?);
    // The port first: it is sooner known to be taken than a database is made.
    let listener = TcpListener::bind((local.host, local.port))
        .await
        .map_err(|error| not_listening(&local, &error))?;

    if database.is_none() {
        found.ignored().iter().for_each(|ignored| warn(ignored));
        data.prepare_database(&mut say).await?;
    }
    let mut config = found.config(|| data.key())?;
    let mut private = None;
    if config.database.is_none() {
        let mut say = say;
        let home = data.database();
        let server = tokio::select! {
            server = Server::start(&home, &local.postgres, fresh, &mut say) => server?,
            () = &mut end => return Ok(()),
        };
        config.database = Some(reached_by(server.connection(), &found.settings())?);
        private = Some(server);
    }
    let psql = match (&private, &config.database) {
        (Some(server), _) => Some(psql::of_server(server)),
        (None, Some(database)) => psql::of_database(database),
        (None, None) => None,
    };
    let done = tokio::select! {
        done = migrate_and_serve(listener, &local, &config, psql, end) => done,
        failure = stopped(private.as_mut()) => Err(failure.into()),
    };
    if let Some(server) = private {
        server.stop().await?;
    }
    done
}

/// Why there is no listener, and which setting helps.
fn not_listening(local: &Local, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrNotAvailable => "set HOST to an address of this machine",
        io::ErrorKind::PermissionDenied => "set PORT to one from 1024 on",
        _ => "set PORT to another port",
    };
    let address = SocketAddr::new(local.host, local.port);
    format!("{address} cannot be listened on ({error}); {remedy}.")
}

async fn migrate_and_serve(
    listener: TcpListener,
    local: &Local,
    config: &Config,
    psql: Option<String>,
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
    log::init();
    let port = listener.local_addr()?.port();
    let hashes_at_once = thread::available_parallelism()?.get();
    let app = App::new(config, hashes_at_once).map_err(|error| error.cause())?;
    let served = app::service(local::router(), app);
    say(&format!("Documentation: http://localhost:{port}/docs"));
    if let Some(psql) = psql {
        say(&format!("Database: {psql}"));
    }
    say(&format!(
        "Serving on http://localhost:{port}/ until Ctrl-C."
    ));
    server::serve(
        listener,
        served,
        server::cors(local.cors_origins.clone()),
        local.trusted_proxies.clone(),
        end,
    )
    .await;
    Ok(())
}

/// Does to the configured database, or to the private one, what the migrate function would.
async fn obey(order: Order) -> Result<(), Failure> {
    let found = find()?;
    let local = Local::read(&found.settings())?;
    let mut private = None;
    let database = if let Some(database) = found.database()? {
        database
    } else {
        // Those that only serving needs too: nothing is started over a setting that makes no sense.
        found.config(|| Ok(SUPPOSED_KEY.to_owned()))?;
        found.ignored().iter().for_each(|ignored| warn(ignored));
        let data = Data::of(&found.settings());
        data.prepare_database(&mut say).await?;
        let home = data.database();
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
    let found = find()?;
    let data = Data::of(&found.settings());
    let database = if let Some(database) = found.database()? {
        database
    } else {
        let connection = postgres::running(&data.database())
            .ok_or("No private database runs; `cargo local` in another terminal starts it.")?;
        reached_by(&connection, &found.settings())?
    };
    let config = found.config(|| data.key())?;
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
        (
            "DATABASE_PREPARED_STATEMENTS",
            &database.prepared_statements.to_string(),
        ),
        ("SECRET_KEY", config.signing.key.reveal()),
    ] {
        say(&format!("{name}={value}"));
    }
    Ok(())
}

/// The settings of the environment, and of the `.env` file of the current folder behind it.
fn find() -> Result<Found, BadSetting> {
    let found = Found::read(environment(), Path::new(".env"))?;
    for warning in found.warnings() {
        warn(&warning);
    }
    Ok(found)
}

/// The private database in the words of a configured one.
fn reached_by(connection: &Connection, settings: &Settings<'_>) -> Result<Database, Failure> {
    let settings = Settings::from_lookup(|name| match name {
        "DATABASE_HOSTNAME" => Some(connection.host.to_string()),
        "DATABASE_PORT" => Some(connection.port.to_string()),
        "DATABASE_NAME" => Some(connection.database.clone()),
        "DATABASE_USERNAME" => Some(connection.username.clone()),
        "DATABASE_PASSWORD" => Some(connection.password.clone()),
        // Nothing stands between it and us.
        "DATABASE_PREPARED_STATEMENTS" => settings.get(name).or_else(|| Some("true".to_owned())),
        name => settings.get(name),
    });
    Database::read(&settings, DEFAULTS)?.ok_or_else(|| "There is no private database.".into())
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

fn warn(sentence: &str) {
    let _ = writeln!(io::stderr(), "warning: {sentence}");
}

fn complain(sentence: &str) {
    let _ = writeln!(io::stderr(), "error: {sentence}");
}
