//! The command line of `cargo local`.

use std::fmt;

use migrate::Order;

use crate::settings::distance;

/// What `cargo local --help` says.
pub const USAGE: &str = "\
Serves the whole API on this machine.

Usage: cargo local [--fresh]   serve; --fresh starts with an empty private database
       cargo local migrate     bring the configured database to the current schema
       cargo local status      tell which migrations it has
       cargo local clean-up    delete what has expired from it
       cargo local adopt [--dry-run]
                               turn a database of the FastAPI service into one of this
                               service; --dry-run only tells what would happen
       cargo local env         print how functions reach the database, and the signing key,
                               for `cargo lambda watch --env-file`
       cargo local --version   tell the version

Settings come from the environment and from the file .env in the current folder, which
the environment overrides; .env.example lists them. With DATABASE_HOSTNAME set, that
database is used. Without it, a private PostgreSQL is used, whose data are kept in the
folder .local of the workspace, or in the one that LOCAL_DATA names.
";

/// What to do, from the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve the API.
    Serve {
        /// Delete the private database first.
        fresh: bool,
    },
    /// Do to the database what the migrate function would.
    Order(Order),
    /// Print how to reach the database.
    Environment,
    /// Print [`USAGE`].
    Help,
    /// Print the version.
    Version,
}

/// The commands, and the options of each.
const COMMANDS: [(&str, &[&str]); 7] = [
    ("", &["--fresh", "--help", "-h", "--version", "-V"]),
    ("migrate", &[]),
    ("status", &[]),
    ("clean-up", &[]),
    ("adopt", &["--dry-run"]),
    ("env", &[]),
    ("help", &[]),
];

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Misuse(String);

impl Command {
    /// Reads the arguments that follow the name of the program.
    ///
    /// # Errors
    ///
    /// There is no such command or option, or they do not go together.
    pub fn parse(arguments: &[&str]) -> Result<Self, Misuse> {
        Ok(match arguments {
            [] => Self::Serve { fresh: false },
            ["--fresh"] => Self::Serve { fresh: true },
            ["migrate"] => Self::Order(Order::Migrate),
            ["status"] => Self::Order(Order::Status),
            ["clean-up"] => Self::Order(Order::CleanUp),
            ["adopt"] => Self::Order(Order::Adopt { dry_run: false }),
            ["adopt", "--dry-run"] => Self::Order(Order::Adopt { dry_run: true }),
            ["env"] => Self::Environment,
            ["help" | "--help" | "-h"] => Self::Help,
            ["--version" | "-V"] => Self::Version,
            others => return Err(Misuse::of(others)),
        })
    }
}

impl Misuse {
    fn of(arguments: &[&str]) -> Self {
        let options = || {
            COMMANDS
                .iter()
                .flat_map(|(_, options)| options.iter().copied())
        };
        let commands = || {
            COMMANDS
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| !name.is_empty())
        };
        let is_option = |argument: &&&str| argument.starts_with('-');
        if let Some(option) = arguments
            .iter()
            .filter(is_option)
            .find(|option| !options().any(|known| known == **option))
        {
            return Self::unknown("option", option, options());
        }
        let mut names = arguments.iter().filter(|argument| !is_option(argument));
        let Some(name) = names.next() else {
            return Self(format!("these do not go together: {}", arguments.join(" ")));
        };
        if !commands().any(|known| known == *name) {
            return Self::unknown("command", name, commands());
        }
        if let Some(more) = names.next() {
            return Self(format!("`{name}` stands alone, without: {more}"));
        }
        let option = arguments.iter().find(is_option);
        Self(format!(
            "`{name}` has no option {}",
            option.copied().unwrap_or_default()
        ))
    }

    fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let near = known
            .map(|known| (distance(name, known), known))
            .filter(|(distance, known)| *distance <= 2 && known.len() > 3)
            .min();
        let hint = near.map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"));
        Self(format!("there is no {what} {name}{hint}"))
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
