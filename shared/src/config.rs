//! The settings: the only reader of the environment. Every value is checked here, at start.

use std::{fmt, fs, net::Ipv6Addr, ops::RangeInclusive, str::FromStr, time::Duration};

use jsonwebtoken::Algorithm;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::Deserialize;

use crate::{
    secrets::{SecretValue, Secrets},
    telemetry::{Log, Severity},
};

/// Fewest bytes of a signing key: the output of its hash function is the least that RFC 7518, section 3.2 allows.
pub const MIN_SECRET_KEY_BYTES: usize = 32;

/// Most connections of one managed instance, where `DATABASE_POOL_SIZE` is not set.
const MOST_CONNECTIONS: usize = 16;

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
    /// (`REFRESH_TOKEN_REUSE_GRACE_SECONDS`, 0 to 60, 10 by default).
    pub reuse_grace: Duration,
    /// Most sign-ups an hour from one source (`SIGN_UPS_PER_HOUR`, 100; 0 for no limit).
    pub sign_ups_per_hour: i32,
}

/// One database and how to reach it.
#[derive(Clone, Debug)]
pub struct Database {
    /// `DATABASE_HOSTNAME`, without the port that it may have; empty where `secret` says it.
    pub hostname: String,
    /// `DATABASE_PORT`, or that of `DATABASE_HOSTNAME`, 5432; 0 where `secret` may say it.
    pub port: u16,
    /// `DATABASE_NAME`; empty where `secret` says it.
    pub name: String,
    /// `DATABASE_USERNAME`; empty where `secret` says it.
    pub username: String,
    /// `DATABASE_PASSWORD`; empty where `secret` says it.
    pub password: Secret,
    /// `DATABASE_SECRET_ARN`: where the login is, and whatever of the above is not set.
    pub secret: Option<ManagedSecret>,
    /// `DATABASE_SSLMODE`: `disable`, `require` or `verify-full`, the last by default on Lambda.
    pub sslmode: Sslmode,
    /// `DATABASE_CA`: certificates to trust besides the web's, as PEM text or as the name of a file of it.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Most connections of this process (`DATABASE_POOL_SIZE`, 1 to 200).
    pub pool_size: usize,
    /// Longest time one statement may take (`DATABASE_STATEMENT_TIMEOUT_SECONDS`, 1 to 15, 5 by default).
    pub statement_timeout: Duration,
    /// Whether statements that come again are prepared by name (`DATABASE_PREPARED_STATEMENTS`, `false` by default).
    /// Behind a pooler that does not track names, a name means whatever another process prepared by it.
    pub prepared_statements: bool,
}

/// How the connection to the database is protected, in libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sslmode {
    /// Not at all.
    Disable,
    /// Encrypted, with whoever answers.
    Require,
    /// Encrypted, with the server whose certificate names the host.
    VerifyFull,
}

/// The key of the access tokens.
#[derive(Clone, Debug)]
pub struct Signing {
    /// `ALGORITHM`: `HS256` (the default), `HS384` or `HS512`.
    pub algorithm: Algorithm,
    /// `SECRET_KEY`, at least 32 bytes; empty where `secret` holds it.
    pub key: Secret,
    /// `SECRET_KEY_PREVIOUS`: a key that still verifies, while tokens that it signed live.
    pub previous_key: Option<Secret>,
    /// `JWT_SECRET_ARN`: a secret whose current value signs, and whose previous one still verifies.
    pub secret: Option<ManagedSecret>,
}

/// A secret that Secrets Manager keeps and rotates.
#[derive(Clone, Debug)]
pub struct ManagedSecret {
    /// What fetches it.
    pub secrets: Secrets,
    /// Which one it is.
    pub arn: String,
}

/// What differs between a Lambda function, which serves one request at a time, and a process that serves many.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `DATABASE_POOL_SIZE` where it is not set.
    pub pool_size: usize,
    /// `DATABASE_SSLMODE` where it is not set.
    pub sslmode: Sslmode,
}

impl Defaults {
    /// The defaults of a Lambda function.
    pub const LAMBDA: Self = Self {
        pool_size: 1,
        sslmode: Sslmode::VerifyFull,
    };
}

/// What Lambda tells a function about itself.
#[derive(Clone, Debug)]
pub struct Lambda {
    /// `AWS_LAMBDA_MAX_CONCURRENCY`: how many requests come at once, 1 but on a managed instance.
    pub concurrency: usize,
    /// `AWS_LAMBDA_LOG_LEVEL`, `AWS_LAMBDA_LOG_FORMAT` (JSON where it is not set), `AWS_LAMBDA_FUNCTION_NAME`.
    pub log: Log,
}

impl Lambda {
    /// Reads them, and says which one makes no sense.
    pub fn read(settings: &Settings<'_>) -> Result<Self, BadSetting> {
        Ok(Self {
            concurrency: settings.number("AWS_LAMBDA_MAX_CONCURRENCY", 1..=10_000, 1)?,
            log: Log {
                level: match settings.get("AWS_LAMBDA_LOG_LEVEL").as_deref() {
                    None | Some("TRACE" | "DEBUG" | "INFO") => Severity::Info,
                    Some("WARN") => Severity::Warn,
                    Some("ERROR") => Severity::Error,
                    Some("FATAL") => Severity::Fatal,
                    Some(other) => {
                        return Err(BadSetting(format!(
                            "AWS_LAMBDA_LOG_LEVEL must be TRACE, DEBUG, INFO, WARN, ERROR or FATAL, not \"{other}\"."
                        )));
                    }
                },
                is_json: settings.get("AWS_LAMBDA_LOG_FORMAT").as_deref() != Some("Text"),
                function: settings.get("AWS_LAMBDA_FUNCTION_NAME"),
            },
        })
    }

    /// The defaults of this function: a connection for each request at once, up to as many as its share of
    /// a server allows. A request waits for one only as long as a statement takes.
    pub fn defaults(&self) -> Defaults {
        Defaults {
            pool_size: self.concurrency.min(MOST_CONNECTIONS),
            ..Defaults::LAMBDA
        }
    }
}

impl Config {
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
                10,
            )?),
            sign_ups_per_hour: settings.number("SIGN_UPS_PER_HOUR", 0..=1_000_000, 100)?,
        })
    }
}

impl Database {
    /// The database that the settings name; `None` where they name none.
    pub fn read(settings: &Settings<'_>, defaults: Defaults) -> Result<Option<Self>, BadSetting> {
        let secret = ManagedSecret::read(settings, "DATABASE_SECRET_ARN")?;
        let hostname = settings.get("DATABASE_HOSTNAME");
        if hostname.is_none() && secret.is_none() {
            return Ok(None);
        }
        let (hostname, its_port) = host_and_port(hostname.unwrap_or_default())?;
        let port = match settings.get("DATABASE_PORT") {
            None => its_port,
            Some(_) => Some(settings.number("DATABASE_PORT", 1..=65535, 5432)?),
        };
        if let (Some(port), Some(its_port)) = (port, its_port)
            && port != its_port
        {
            return Err(BadSetting(format!(
                "DATABASE_HOSTNAME says port {its_port} and DATABASE_PORT says {port}; leave one of them."
            )));
        }
        let required = |name| match &secret {
            Some(_) => Ok(settings.get(name).unwrap_or_default()),
            None => settings.required(name),
        };
        Ok(Some(Self {
            hostname,
            port: port.unwrap_or(if secret.is_some() { 0 } else { 5432 }),
            name: required("DATABASE_NAME")?,
            username: required("DATABASE_USERNAME")?,
            password: Secret(settings.get("DATABASE_PASSWORD").unwrap_or_default()),
            sslmode: match settings.get("DATABASE_SSLMODE").as_deref() {
                None => defaults.sslmode,
                Some("disable") => Sslmode::Disable,
                Some("require") => Sslmode::Require,
                Some("verify-full") => Sslmode::VerifyFull,
                Some(other) => {
                    return Err(BadSetting(format!(
                        "DATABASE_SSLMODE must be disable, require or verify-full, not \"{other}\"."
                    )));
                }
            },
            certificates: certificates(settings.get("DATABASE_CA"))?,
            pool_size: settings.number("DATABASE_POOL_SIZE", 1..=200, defaults.pool_size)?,
            statement_timeout: Duration::from_secs(settings.number(
                "DATABASE_STATEMENT_TIMEOUT_SECONDS",
                1..=15,
                5,
            )?),
            prepared_statements: settings.parsed(
                "DATABASE_PREPARED_STATEMENTS",
                "true or false",
                false,
            )?,
            secret,
        }))
    }

    /// The same database with the login of a secret in the form that RDS manages: an object with `username`
    /// and `password`, and perhaps `host`, `port` and `dbname`. What the settings say goes before it: they
    /// may name a proxy where the secret names the server.
    pub fn with_login(&self, secret: &SecretValue) -> Result<Self, BadSetting> {
        #[derive(Deserialize)]
        struct Login {
            username: String,
            password: String,
            host: Option<String>,
            port: Option<u16>,
            dbname: Option<String>,
        }
        let login: Login = serde_json::from_str(secret.text.reveal()).map_err(|_| {
            BadSetting("The database's secret is not the JSON of a login.".to_owned())
        })?;
        let or = |set: &str, else_: Option<String>, name: &str| match (
            set,
            else_.filter(|said| !said.is_empty()),
        ) {
            ("", Some(value)) => Ok(value),
            ("", None) => Err(BadSetting(format!(
                "{name} is not set, nor does the secret say it."
            ))),
            (set, _) => Ok(set.to_owned()),
        };
        Ok(Self {
            hostname: or(&self.hostname, login.host, "DATABASE_HOSTNAME")?,
            port: if self.port == 0 {
                login.port.unwrap_or(5432)
            } else {
                self.port
            },
            name: or(&self.name, login.dbname, "DATABASE_NAME")?,
            username: login.username,
            password: Secret(login.password),
            ..self.clone()
        })
    }
}

/// A host, and the port that may follow it: `db.example.com:6432`, `[2001:db8::1]:6432`. An address of IPv6 needs no
/// brackets where no port follows. The setting is not repeated: somebody may have put a URL there, with a password.
fn host_and_port(setting: String) -> Result<(String, Option<u16>), BadSetting> {
    let bad = |what: &str| BadSetting(format!("DATABASE_HOSTNAME must be {what}."));
    if setting.contains("://") || setting.contains('@') {
        return Err(bad(
            "a host, perhaps with a port, and not a URL; the user, the password and the name have settings of their own",
        ));
    }
    let is_v6 = |host: &str| {
        let address = host
            .split_once('%')
            .map_or(host, |(address, _zone)| address);
        address.parse::<Ipv6Addr>().is_ok()
    };
    let (host, port) = if let Some(bracketed) = setting.strip_prefix('[') {
        match bracketed.split_once(']') {
            Some((host, "")) if is_v6(host) => return Ok((host.to_owned(), None)),
            Some((host, rest)) if is_v6(host) && rest.starts_with(':') => (host, &rest[1..]),
            _ => return Err(bad("an address of IPv6 where it begins with a bracket")),
        }
    } else {
        match setting.split_once(':') {
            // A folder of sockets may have a colon in its name.
            _ if is_v6(&setting) || setting.starts_with('/') => return Ok((setting, None)),
            None => return Ok((setting, None)),
            Some((host, port)) => (host, port),
        }
    };
    let port = port.parse().ok().filter(|port| *port != 0);
    match port {
        Some(port) if !host.is_empty() => Ok((host.to_owned(), Some(port))),
        _ => Err(bad(
            "a host, perhaps with a colon and a port from 1 to 65535",
        )),
    }
}

impl ManagedSecret {
    fn read(settings: &Settings<'_>, name: &str) -> Result<Option<Self>, BadSetting> {
        let Some(arn) = settings.get(name) else {
            return Ok(None);
        };
        Ok(Some(Self {
            secrets: Secrets::read(settings)?,
            arn,
        }))
    }
}

/// Certificates in PEM, as text or in a file.
fn certificates(setting: Option<String>) -> Result<Vec<CertificateDer<'static>>, BadSetting> {
    let Some(setting) = setting else {
        return Ok(Vec::new());
    };
    let text = if setting.contains("-----BEGIN") {
        setting
    } else {
        fs::read_to_string(&setting).map_err(|error| {
            BadSetting(format!(
                "DATABASE_CA names a file that cannot be read: {error}."
            ))
        })?
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| BadSetting("DATABASE_CA is not PEM.".to_owned()))?;
    if certificates.is_empty() {
        return Err(BadSetting("DATABASE_CA holds no certificate.".to_owned()));
    }
    let mut readable = RootCertStore::empty();
    for certificate in &certificates {
        readable.add(certificate.clone()).map_err(|_| {
            BadSetting("DATABASE_CA holds a certificate that cannot be read.".to_owned())
        })?;
    }
    Ok(certificates)
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
        let secret = ManagedSecret::read(settings, "JWT_SECRET_ARN")?;
        let key_or_none = key("SECRET_KEY")?;
        if key_or_none.is_none() && secret.is_none() {
            return Err(BadSetting("SECRET_KEY is not set.".to_owned()));
        }
        Ok(Self {
            algorithm,
            key: key_or_none.unwrap_or_else(|| Secret(String::new())),
            previous_key: key("SECRET_KEY_PREVIOUS")?,
            secret,
        })
    }
}

/// Named texts, as the environment holds them. An empty one counts as not set.
pub struct Settings<'a>(Box<Lookup<'a>>);

/// Every variable of the process's environment, for a process that looks at names too.
pub fn environment() -> std::env::VarsOs {
    std::env::vars_os()
}

type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

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
