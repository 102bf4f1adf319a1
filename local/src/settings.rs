//! The settings that only this process has, and where it finds all the others.

use std::{
    collections::HashMap,
    fmt, fs,
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use shared::config::{BadSetting, Defaults, Settings, Sslmode};
use tower_http::cors::AllowOrigin;

use crate::postgres::Source;

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
    pub cors_origins: AllowOrigin,
    /// `LOCAL_POSTGRES`: `search` (the default), `fetch`, or the folder of the server's programs.
    pub postgres: Source,
}

impl Local {
    /// Reads them, and says which one makes no sense.
    pub fn read(settings: &Settings<'_>) -> Result<Self, BadSetting> {
        Ok(Self {
            host: settings.parsed("HOST", "an IP address", IpAddr::from([127, 0, 0, 1]))?,
            port: settings.number("PORT", 0..=65535, 8000)?,
            cors_origins: match settings.get("CORS_ORIGINS").as_deref() {
                None | Some("*") => AllowOrigin::any(),
                Some(origins) => AllowOrigin::list(
                    origins
                        .split(',')
                        .map(|origin| {
                            let origin = origin.trim();
                            // Among others the wildcard means nothing.
                            let is_origin = !origin.is_empty() && origin != "*";
                            origin.parse().ok().filter(|_| is_origin)
                        })
                        .collect::<Option<Vec<_>>>()
                        .ok_or_else(|| {
                            BadSetting::new(
                                "CORS_ORIGINS must be origins with commas between them, or *.",
                            )
                        })?,
                ),
            },
            postgres: settings.parsed(
                "LOCAL_POSTGRES",
                "search, fetch or a folder",
                Source::Search,
            )?,
        })
    }
}

/// The variables of a `.env` file; none where there is no file. The environment goes before them.
pub fn read_dotenv(path: &Path) -> Result<HashMap<String, String>, BadSetting> {
    let cannot = |why: &dyn fmt::Display| {
        BadSetting::new(format!("{} cannot be read: {why}.", path.display()))
    };
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        text => text.map_err(|error| cannot(&error))?,
    };
    dotenvy::from_read_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| match error {
            // Its own words show the line, which may hold a secret.
            dotenvy::Error::LineParse(line, _) => {
                let number = line_number(&text, &line);
                cannot(&format_args!("line {number} is not NAME=value"))
            }
            error => cannot(&error),
        })
}

/// The number of the line that begins such a piece of the text, which ends with a line.
fn line_number(text: &str, piece: &str) -> usize {
    let mut start = 0;
    let is_it = |line: &str| {
        let rest = text[start..].strip_prefix(piece);
        start += line.len();
        rest.is_some_and(|rest| {
            rest.is_empty() || piece.ends_with('\n') || rest.starts_with(['\r', '\n'])
        })
    };
    1 + text
        .split_inclusive('\n')
        .position(is_it)
        .unwrap_or_default()
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
