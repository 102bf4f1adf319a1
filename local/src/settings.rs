//! The settings that only this process has, and where it finds all the others.

mod dotenv;
mod names;
mod origins;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use shared::config::{BadSetting, Config, Database, Defaults, Settings, Sslmode};

use crate::{postgres::Source, proxies::TrustedProxies};
use dotenv::Dotenv;
use names::{Place, meant_by};

pub use names::{NAMES, distance};
pub use origins::Origins;

/// The defaults of a process that serves many requests at a time.
pub const DEFAULTS: Defaults = Defaults {
    pool_size: 16,
    sslmode: Sslmode::Disable,
};

/// How this process is reached, and where its PostgreSQL comes from.
pub struct Local {
    /// `HOST`, 127.0.0.1
    pub host: IpAddr,
    /// `PORT`, 8000; 0 for any that is free.
    pub port: u16,
    /// `CORS_ORIGINS`: origins with commas between them, or `*`, the default.
    pub cors_origins: Origins,
    /// `LOCAL_POSTGRES`: `search` (the default), `fetch`, or the folder of the server's programs.
    pub postgres: Source,
    /// `TRUSTED_PROXIES`: addresses and networks with commas between them, none by default.
    pub trusted_proxies: TrustedProxies,
}

impl Local {
    /// Reads them, and says which one makes no sense.
    pub fn read(settings: &Settings<'_>) -> Result<Self, BadSetting> {
        Ok(Self {
            host: settings.parsed("HOST", "an IP address", IpAddr::from([127, 0, 0, 1]))?,
            port: settings.number("PORT", 0..=65535, 8000)?,
            cors_origins: settings
                .get("CORS_ORIGINS")
                .map_or(Ok(Origins::Any), |origins| Origins::parse(&origins))?,
            postgres: settings.parsed(
                "LOCAL_POSTGRES",
                "search, fetch or a folder",
                Source::Search,
            )?,
            trusted_proxies: match settings.get("TRUSTED_PROXIES") {
                None => TrustedProxies::default(),
                Some(proxies) => proxies
                    .parse()
                    .map_err(|why| BadSetting::new(format!("TRUSTED_PROXIES {why}")))?,
            },
        })
    }
}

/// The environment, and a `.env` file behind it. Names count in any case, as they did for the FastAPI service; the
/// exact one goes first.
pub struct Found {
    environment: BTreeMap<String, Variable>,
    dotenv: Dotenv,
}

struct Variable {
    name: String,
    value: String,
}

impl Found {
    /// Reads the file, if there is one, and the variables of an environment.
    ///
    /// # Errors
    ///
    /// The file cannot be read or holds a value that would be substituted; a setting of ours is not UTF-8, or is there
    /// in two spellings.
    pub fn read(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        dotenv: &Path,
    ) -> Result<Self, BadSetting> {
        let mut environment = BTreeMap::<String, Variable>::new();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            let known = name.to_ascii_uppercase();
            let is_ours = NAMES.contains(&known.as_str());
            let value = match value.into_string() {
                Ok(value) if value.is_empty() => continue,
                Ok(value) => value,
                Err(_) if is_ours => {
                    return Err(BadSetting::new(format!("{name} is not UTF-8.")));
                }
                Err(_) => continue,
            };
            if let Some(other) = environment.get(&known)
                && other.name == known
            {
                continue;
            }
            if let Some(other) = environment.get(&known)
                && is_ours
                && name != known
                && other.value != value
            {
                return Err(BadSetting::new(format!(
                    "The environment has both {} and {name}, which are one setting; leave one of them.",
                    other.name
                )));
            }
            environment.insert(known, Variable { name, value });
        }
        Ok(Self {
            environment,
            dotenv: Dotenv::read(dotenv)?,
        })
    }

    /// What is set.
    pub fn settings(&self) -> Settings<'_> {
        Settings::from_lookup(|name| {
            let variable = self.environment.get(&name.to_ascii_uppercase());
            variable
                .map(|variable| variable.value.clone())
                .or_else(|| self.dotenv.get(name).map(ToOwned::to_owned))
        })
    }

    /// A sentence for each name that is close to the name of a setting but is not one.
    pub fn warnings(&self) -> Vec<String> {
        let in_environment = self
            .environment
            .values()
            .map(|variable| (variable.name.as_str(), Place::Environment));
        let in_file = self.dotenv.names().map(|name| (name, Place::File));
        let all = in_environment.chain(in_file);
        all.filter_map(|(name, place)| {
            let meant = meant_by(name, place)?;
            let place = match place {
                Place::Environment => "the environment",
                Place::File => "the .env file",
            };
            Some(format!(
                "{name} in {place} is not a setting and is ignored; did you mean {meant}?"
            ))
        })
        .collect()
    }

    /// Which settings of a database are ignored because none is named, in a sentence.
    pub fn ignored(&self) -> Option<String> {
        let settings = self.settings();
        let is_set = |name: &&str| settings.get(name).is_some();
        let names = ["DATABASE_HOSTNAME", "DATABASE_SECRET_ARN"];
        if names.iter().any(is_set) {
            return None;
        }
        let ignored = [
            "DATABASE_PORT",
            "DATABASE_NAME",
            "DATABASE_USERNAME",
            "DATABASE_PASSWORD",
        ];
        let ignored: Vec<_> = ignored.into_iter().filter(|name| is_set(name)).collect();
        (!ignored.is_empty()).then(|| {
            format!(
                "DATABASE_HOSTNAME is not set: the private PostgreSQL is used, and {} ignored.",
                ignored.join(", ")
            )
        })
    }

    /// The settings of the functions, with a signing key from `key` where none is set.
    ///
    /// # Errors
    ///
    /// One of them makes no sense, or the key cannot be had.
    pub fn config(
        &self,
        key: impl FnOnce() -> Result<String, BadSetting>,
    ) -> Result<Config, BadSetting> {
        let settings = self.settings();
        let key = match settings.get("SECRET_KEY") {
            Some(key) => key,
            None if settings.get("JWT_SECRET_ARN").is_some() => String::new(),
            None => key()?,
        };
        let settings = Settings::from_lookup(|name| match name {
            "SECRET_KEY" => Some(key.clone()),
            name => settings.get(name),
        });
        Config::read(&settings, DEFAULTS)
    }

    /// The database that the settings name; `None` where that is to be the private one.
    ///
    /// # Errors
    ///
    /// A setting makes no sense, also one that waits for the private database to be started.
    pub fn database(&self) -> Result<Option<Database>, BadSetting> {
        let settings = self.settings();
        if let Some(database) = Database::read(&settings, DEFAULTS)? {
            return Ok(Some(database));
        }
        let supposed = Settings::from_lookup(|name| match name {
            "DATABASE_HOSTNAME" => Some("127.0.0.1".to_owned()),
            "DATABASE_NAME" | "DATABASE_USERNAME" => {
                settings.get(name).or_else(|| Some(name.to_owned()))
            }
            name => settings.get(name),
        });
        let supposed = Database::read(&supposed, DEFAULTS)?;
        if supposed.is_some_and(|supposed| supposed.sslmode != Sslmode::Disable) {
            return Err(BadSetting::new(
                "DATABASE_SSLMODE must be disable for the private PostgreSQL, which has no TLS; DATABASE_HOSTNAME names another database.",
            ));
        }
        Ok(None)
    }
}

/// A signing key for development, made once and kept in a file that only its owner reads, so that tokens
/// outlive a restart.
pub fn development_key(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            SystemRandom::new()
                .fill(&mut bytes)
                .map_err(|_| io::Error::other("no random bytes"))?;
            let key = URL_SAFE_NO_PAD.encode(bytes);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(key.as_bytes())?;
            Ok(key)
        }
        key => key,
    }
}
