//! The settings: the only reader of the environment. Every value is checked here, at start.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use jsonwebtoken::Algorithm;

/// Fewest bytes of a signing key: the output of its hash function is the least that RFC 7518, section 3.2 allows.
const MIN_SECRET_KEY_BYTES: usize = 32;

/// A text that never shows itself in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text that is to be kept from logs.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A setting that is missing or makes no sense; the sentence names the variable and never repeats a secret.
#[derive(Debug)]
pub struct BadSetting(String);

impl BadSetting {
    /// A sentence for the person who set it.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSetting {}

/// Everything that a function needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database is; without one every request that needs it is a 503.
    pub database: Option<Database>,
    /// What signs and verifies access tokens.
    pub signing: Signing,
    /// How long an access token is accepted (`ACCESS_TOKEN_EXPIRE_MINUTES`, 30).
    pub access_token_life: Duration,
    /// How long a session lasts from its login (`REFRESH_TOKEN_EXPIRE_DAYS`, 30).
    pub session_life: Duration,
    /// How long a spent refresh token may be exchanged again for the same successor
    /// (`REFRESH_TOKEN_REUSE_GRACE_SECONDS`, 0 to 60, 0 by default).
    pub reuse_grace: Duration,
}

/// One database and how to reach it.
#[derive(Clone, Debug)]
pub struct Database {
    /// `DATABASE_HOSTNAME`
    pub hostname: String,
    /// `DATABASE_PORT`, 5432
    pub port: u16,
    /// `DATABASE_NAME`
    pub name: String,
    /// `DATABASE_USERNAME`
    pub username: String,
    /// `DATABASE_PASSWORD`
    pub password: Secret,
    /// Most connections of this process (`DATABASE_POOL_SIZE`, 1 to 200).
    pub pool_size: usize,
    /// Longest time one statement may take (`DATABASE_STATEMENT_TIMEOUT_SECONDS`, 1 to 25, 5 by default).
    pub statement_timeout: Duration,
}

/// The key of the access tokens.
#[derive(Clone, Debug)]
pub struct Signing {
    /// `ALGORITHM`: `HS256` (the default), `HS384` or `HS512`.
    pub algorithm: Algorithm,
    /// `SECRET_KEY`, at least 32 bytes.
    pub key: Secret,
    /// `SECRET_KEY_PREVIOUS`: a key that still verifies, while tokens that it signed live.
    pub previous_key: Option<Secret>,
}

/// What differs between a Lambda function, which serves one request at a time, and a process that serves many.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `DATABASE_POOL_SIZE` where it is not set.
    pub pool_size: usize,
}

impl Defaults {
    /// The defaults of a Lambda function.
    pub const LAMBDA: Self = Self { pool_size: 1 };
}

impl Config {
    /// Reads the process's environment, for a Lambda function.
    pub fn from_env() -> Result<Self, BadSetting> {
        Self::read(&Settings::from_env(), Defaults::LAMBDA)
    }

    /// Reads settings from wherever they are.
    pub fn read(settings: &Settings<'_>, defaults: Defaults) -> Result<Self, BadSetting> {
        Ok(Self {
            database: Database::read(settings, defaults)?,
            signing: Signing::read(settings)?,
            access_token_life: Duration::from_secs(
                60 * settings.number("ACCESS_TOKEN_EXPIRE_MINUTES", 1..=24 * 60, 30)?,
            ),
            session_life: Duration::from_secs(
                24 * 60 * 60 * settings.number("REFRESH_TOKEN_EXPIRE_DAYS", 1..=365, 30)?,
            ),
            reuse_grace: Duration::from_secs(settings.number(
                "REFRESH_TOKEN_REUSE_GRACE_SECONDS",
                0..=60,
                0,
            )?),
        })
    }
}

impl Database {
    /// The database that the settings name; `None` where they name none.
    pub fn read(settings: &Settings<'_>, defaults: Defaults) -> Result<Option<Self>, BadSetting> {
        let Some(hostname) = settings.get("DATABASE_HOSTNAME") else {
            return Ok(None);
        };
        Ok(Some(Self {
            hostname,
            port: settings.number("DATABASE_PORT", 1..=65535, 5432)?,
            name: settings.required("DATABASE_NAME")?,
            username: settings.required("DATABASE_USERNAME")?,
            password: Secret(settings.get("DATABASE_PASSWORD").unwrap_or_default()),
            pool_size: settings.number("DATABASE_POOL_SIZE", 1..=200, defaults.pool_size)?,
            statement_timeout: Duration::from_secs(settings.number(
                "DATABASE_STATEMENT_TIMEOUT_SECONDS",
                1..=25,
                5,
            )?),
        }))
    }
}

impl Signing {
    fn read(settings: &Settings<'_>) -> Result<Self, BadSetting> {
        let algorithm = match settings.get("ALGORITHM").as_deref() {
            None | Some("HS256") => Algorithm::HS256,
            Some("HS384") => Algorithm::HS384,
            Some("HS512") => Algorithm::HS512,
            Some(other) => {
                return Err(BadSetting(format!(
                    "ALGORITHM must be HS256, HS384 or HS512, not \"{other}\"."
                )));
            }
        };
        let key = |name: &str| match settings.get(name) {
            Some(key) if key.len() < MIN_SECRET_KEY_BYTES => Err(BadSetting(format!(
                "{name} must be at least {MIN_SECRET_KEY_BYTES} bytes long, not {}.",
                key.len()
            ))),
            key => Ok(key.map(Secret)),
        };
        Ok(Self {
            algorithm,
            key: key("SECRET_KEY")?
                .ok_or_else(|| BadSetting("SECRET_KEY is not set.".to_owned()))?,
            previous_key: key("SECRET_KEY_PREVIOUS")?,
        })
    }
}

/// Named texts, as the environment holds them. An empty one counts as not set.
pub struct Settings<'a>(Box<dyn Fn(&str) -> Option<String> + 'a>);

impl<'a> Settings<'a> {
    /// The process's environment.
    pub fn from_env() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that the ban leaves"
        )]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Settings that `lookup` finds by their names.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self(Box::new(lookup))
    }

    /// The setting, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The setting, which has no default.
    pub fn required(&self, name: &str) -> Result<String, BadSetting> {
        self.get(name)
            .ok_or_else(|| BadSetting(format!("{name} is not set.")))
    }

    /// A whole number within limits, or its default where it is not set.
    pub fn number<N>(
        &self,
        name: &str,
        limits: RangeInclusive<N>,
        default: N,
    ) -> Result<N, BadSetting>
    where
        N: FromStr + PartialOrd + fmt::Display,
    {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|number| limits.contains(number))
            .ok_or_else(|| {
                BadSetting(format!(
                    "{name} must be a whole number from {} to {}, not \"{text}\".",
                    limits.start(),
                    limits.end()
                ))
            })
    }

    /// A value that `what` describes, or its default where it is not set.
    pub fn parsed<T: FromStr>(&self, name: &str, what: &str, default: T) -> Result<T, BadSetting> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        text.parse()
            .map_err(|_| BadSetting(format!("{name} must be {what}, not \"{text}\".")))
    }
}
