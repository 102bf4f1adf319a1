//! The names of the settings, and names that somebody took for one of them.

/// Every setting of `cargo local`. A test holds this list against what is read, `.env.example` and the README.
pub const NAMES: [&str; 31] = [
    "ACCESS_TOKEN_EXPIRE_MINUTES",
    "ALGORITHM",
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "CORS_ORIGINS",
    "DATABASE_CA",
    "DATABASE_HOSTNAME",
    "DATABASE_NAME",
    "DATABASE_PASSWORD",
    "DATABASE_POOL_SIZE",
    "DATABASE_PORT",
    "DATABASE_PREPARED_STATEMENTS",
    "DATABASE_SECRET_ARN",
    "DATABASE_SSLMODE",
    "DATABASE_STATEMENT_TIMEOUT_SECONDS",
    "DATABASE_USERNAME",
    "HOST",
    "JWT_SECRET_ARN",
    "LOCAL_DATA",
    "LOCAL_POSTGRES",
    "PORT",
    "REFRESH_TOKEN_EXPIRE_DAYS",
    "REFRESH_TOKEN_REUSE_GRACE_SECONDS",
    "SECRET_KEY",
    "SECRET_KEY_PREVIOUS",
    "SIGN_UPS_PER_HOUR",
    "TRUSTED_PROXIES",
];

/// The words that begin the name of a setting of the database, ours first; all but two are those of other programs.
const DATABASE_WORDS: [&str; 6] = ["DATABASE", "DB", "POSTGRESQL", "POSTGRES", "PSQL", "PG"];
/// What follows such a word in the names that other services use, and the setting that it means here.
const DATABASE_PARTS: [(&[&str], &str); 7] = [
    (
        &["HOST", "HOSTNAME", "SERVER", "ADDRESS", "ADDR"],
        "DATABASE_HOSTNAME",
    ),
    (&["PORT"], "DATABASE_PORT"),
    (&["NAME", "DB", "DBNAME", "DATABASE"], "DATABASE_NAME"),
    (&["USER", "USERNAME", "LOGIN"], "DATABASE_USERNAME"),
    (&["PASSWORD", "PASS", "PASSWD", "PWD"], "DATABASE_PASSWORD"),
    (&["SSL", "SSLMODE"], "DATABASE_SSLMODE"),
    (
        &["URL", "URI", "DSN", "CONNECTION", "CONNECTIONSTRING"],
        "DATABASE_HOSTNAME, DATABASE_PORT, DATABASE_NAME, DATABASE_USERNAME and DATABASE_PASSWORD",
    ),
];
/// Other names of other services.
const ALIASES: [(&[&str], &str); 7] = [
    (
        &[
            "JWTSECRET",
            "JWTSECRETKEY",
            "JWTKEY",
            "SECRET",
            "APPSECRET",
            "APPSECRETKEY",
            "SIGNINGKEY",
            "TOKENSECRET",
        ],
        "SECRET_KEY",
    ),
    (&["JWTALGORITHM", "JWTALG"], "ALGORITHM"),
    (
        &[
            "JWTEXPIREMINUTES",
            "TOKENEXPIREMINUTES",
            "ACCESSTOKENLIFETIME",
        ],
        "ACCESS_TOKEN_EXPIRE_MINUTES",
    ),
    (
        &[
            "ALLOWEDORIGINS",
            "CORSALLOWEDORIGINS",
            "CORSALLOWORIGINS",
            "BACKENDCORSORIGINS",
        ],
        "CORS_ORIGINS",
    ),
    (
        &["TRUSTEDPROXY", "TRUSTPROXY", "FORWARDEDALLOWIPS"],
        "TRUSTED_PROXIES",
    ),
    (&["SERVERHOST", "LISTENHOST", "BINDHOST"], "HOST"),
    (&["SERVERPORT", "LISTENPORT", "BINDPORT"], "PORT"),
];
/// The environment is everybody's: there only names that begin like ours are looked at, and those a letter or two
/// away from a long one.
const OUR_PREFIXES: [&str; 8] = [
    "ACCESSTOKEN",
    "CORS",
    "DATABASE",
    "DB",
    "JWT",
    "REFRESHTOKEN",
    "SECRETKEY",
    "TRUSTED",
];
/// From this length on, two wrong letters are a slip, and a beginning of a name stands for it.
const LONG: usize = 8;

/// Where a variable was set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Environment,
    File,
}

/// What was meant by a name that is none of our settings but close to one.
pub(super) fn meant_by(name: &str, place: Place) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    if NAMES.contains(&name.as_str()) || name.starts_with("AWS_") {
        return None;
    }
    let name = plain(&name);
    let is_like_ours =
        place == Place::File || OUR_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if is_like_ours && let Some(meant) = of_others(&name) {
        return Some(meant);
    }
    NAMES
        .into_iter()
        .map(|setting| (distance(&name, &plain(setting)), setting))
        .filter(|(distance, setting)| {
            let is_long = plain(setting).len() >= LONG;
            *distance <= if is_long { 2 } else { 1 } && (is_long || place == Place::File)
        })
        .min()
        .map(|(_, setting)| setting)
        .or_else(|| {
            let is_beginning =
                |setting: &&str| name.len() > LONG && plain(setting).starts_with(&name);
            NAMES.into_iter().find(is_beginning)
        })
}

/// The setting that this name has in other services.
fn of_others(name: &str) -> Option<&'static str> {
    let name = name.strip_prefix("SQLALCHEMY").unwrap_or(name);
    let part = DATABASE_WORDS
        .iter()
        .find_map(|word| name.strip_prefix(word));
    let database = DATABASE_PARTS
        .iter()
        .find(|(parts, _)| part.is_some_and(|part| parts.contains(&part)));
    let other = ALIASES.iter().find(|(names, _)| names.contains(&name));
    database.or(other).map(|(_, meant)| *meant)
}

/// A name without what stands between its words.
fn plain(name: &str) -> String {
    name.replace(['_', '-', '.'], "")
}

/// How many letters are missing, too many, wrong or changed places (optimal string alignment).
pub fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, its) in other.iter().enumerate() {
            let mut cost = (last[j] + usize::from(letter != its))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *letter == other[j - 1] && one[i - 1] == *its {
                let swapped: usize = before_last[j - 1];
                cost = cost.min(swapped + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}
