//! Where `cargo local` finds its settings: the environment, a `.env` file, and names that are nearly right.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use local::{
    data::Data,
    settings::{DEFAULTS, Found, Local, NAMES},
};
use shared::config::{Config, Settings};

/// A `.env` file of a test's own.
fn file(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("found");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
    fs::write(&path, text).unwrap();
    path
}

fn variables(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn value_of(name: &str, text: &str) -> Option<String> {
    let path = file(text);
    Found::read([], &path).unwrap().settings().get(name)
}

fn refusal(environment: &[(&str, &str)], text: &str) -> String {
    let path = file(text);
    let refused = Found::read(variables(environment), &path).err();
    let sentence = refused.expect("it is refused").to_string();
    assert!(!sentence.contains("hunter2"), "{sentence}");
    sentence.replace(path.to_str().unwrap(), ".env")
}

#[test]
fn a_value_is_what_the_file_says() {
    for (line, value) in [
        ("SECRET_KEY=plain", "plain"),
        ("  export SECRET_KEY = plain  ", "plain"),
        ("SECRET_KEY=a#b", "a#b"),
        ("SECRET_KEY=#b", "#b"),
        ("SECRET_KEY=a # a comment", "a"),
        ("SECRET_KEY='a # b' # a comment", "a # b"),
        ("SECRET_KEY='$HOME ${HOME} \\n'", "$HOME ${HOME} \\n"),
        ("SECRET_KEY=\"a b\\n\\\"\\\\\\$HOME\"", "a b\n\"\\$HOME"),
        ("SECRET_KEY=\"two\nlines\"", "two\nlines"),
        ("SECRET_KEY=a'$b'\"c\"", "a$bc"),
        // A dollar sign that begins nothing.
        ("SECRET_KEY=100$", "100$"),
        ("SECRET_KEY=a$-b", "a$-b"),
        ("SECRET_KEY=\"$ 5\"", "$ 5"),
        ("SECRET_KEY=пароль", "пароль"),
        ("SECRET_KEY=one\nSECRET_KEY=two", "two"),
        ("\u{feff}SECRET_KEY=marked", "marked"),
        ("SECRET_KEY=ends\r\nPORT=1\r\n", "ends"),
        ("# SECRET_KEY=no\n\n\t\nSECRET_KEY=yes", "yes"),
    ] {
        assert_eq!(
            value_of("SECRET_KEY", line).as_deref(),
            Some(value),
            "{line}"
        );
    }
    for line in [
        "SECRET_KEY=",
        "SECRET_KEY= # a comment",
        "SECRET_KEY=''",
        "",
        "OTHER=1",
    ] {
        assert_eq!(value_of("SECRET_KEY", line), None, "{line}");
    }
}

#[test]
fn a_value_that_others_would_change_is_refused() {
    for value in [
        "$HOME",
        "hunter2$HOME",
        "hunter2${HOME}",
        "\"hunter2$HOME\"",
        "\"hunter2 ${HOME}\"",
        "hunter2$1",
        "hunter2$_x",
        "$(hunter2)",
        "hunter2$é",
        "'hunter2'$HOME",
        "${hunter2",
    ] {
        for name in ["SECRET_KEY", "secret_key", "Database_Password"] {
            assert_eq!(
                refusal(&[], &format!("PORT=1\n\n{name}={value}\n")),
                format!(
                    ".env, line 3: the value of {name} holds a $ that would be substituted; \
                     put the value in single quotes: {name}='…'."
                ),
                "{value}"
            );
        }
    }
    for value in [
        "hunter2\\n",
        "C:\\hunter2",
        "\"hunter2\\t\"",
        "hunter2\\$HOME",
        "a\\ hunter2",
    ] {
        assert_eq!(
            refusal(&[], &format!("DATABASE_PASSWORD={value}")),
            ".env, line 1: the value of DATABASE_PASSWORD holds a backslash that would be taken for \
             an escape; put the value in single quotes: DATABASE_PASSWORD='…'.",
            "{value}"
        );
    }
    // What is another program's may be as that likes it.
    assert_eq!(
        value_of("PORT", "PATHS=$HOME/a:\\b\nPORT=1").as_deref(),
        Some("1")
    );
}

#[test]
fn a_line_that_is_none_is_named_by_its_number() {
    for (text, line) in [
        ("PORT=1\nhunter2", 2),
        ("PORT=1\n\n'hunter2'=x", 3),
        ("A=\"one\ntwo\"\nSECRET_KEY=hunter2 hunter2", 3),
        ("SECRET_KEY='hunter2\n\n", 1),
        ("SECRET_KEY=\"hunter2\\", 1),
        ("export SECRET_KEY", 1),
        ("1KEY=hunter2", 1),
    ] {
        let expected = format!(".env cannot be read: line {line} is not NAME=value.");
        assert_eq!(refusal(&[], text), expected, "{text}");
    }
}

#[test]
fn names_count_in_any_case_and_the_exact_one_goes_first() {
    let read = |environment: &[(&str, &str)], text: &str| {
        let found = Found::read(variables(environment), &file(text)).unwrap();
        found.settings().get("SECRET_KEY")
    };
    for name in ["SECRET_KEY", "secret_key", "Secret_Key"] {
        assert_eq!(read(&[], &format!("{name}=file")).as_deref(), Some("file"));
        assert_eq!(
            read(&[(name, "environment")], "SECRET_KEY=file").as_deref(),
            Some("environment")
        );
    }
    for pair in [
        [("SECRET_KEY", "exact"), ("secret_key", "other")],
        [("secret_key", "other"), ("SECRET_KEY", "exact")],
    ] {
        assert_eq!(read(&pair, "secret_key=file").as_deref(), Some("exact"));
    }
    // An empty one counts as none.
    assert_eq!(
        read(&[("SECRET_KEY", ""), ("secret_key", "other")], "").as_deref(),
        Some("other")
    );
    assert_eq!(
        read(&[("SECRET_KEY", "")], "secret_key=file").as_deref(),
        Some("file")
    );

    assert_eq!(
        refusal(&[], "SECRET_KEY=hunter2\nsecret_key=hunter2"),
        ".env has both SECRET_KEY and secret_key, which are one setting; leave one of them."
    );
    assert_eq!(
        refusal(&[("secret_key", "hunter2"), ("Secret_Key", "hunter2!")], ""),
        "The environment has both secret_key and Secret_Key, which are one setting; leave one of them."
    );
    let not_utf8 = [("secret_key".into(), OsString::from_vec(vec![b'a', 0xff]))];
    let refused = Found::read(not_utf8, Path::new("/nowhere")).err().unwrap();
    assert_eq!(refused.to_string(), "secret_key is not UTF-8.");
}

/// What a URL of a database says here.
const ALL: &str =
    "DATABASE_HOSTNAME, DATABASE_PORT, DATABASE_NAME, DATABASE_USERNAME and DATABASE_PASSWORD";

fn warnings(environment: &[(&str, &str)], text: &str) -> Vec<String> {
    let found = Found::read(variables(environment), &file(text));
    found.unwrap().warnings()
}

#[test]
fn a_name_that_is_close_to_a_setting_is_a_warning() {
    for (name, meant) in [
        ("DATABSE_HOSTNAME", "DATABASE_HOSTNAME"),
        ("DATABASE_HOSTNMAE", "DATABASE_HOSTNAME"),
        ("DATABASE_HOST", "DATABASE_HOSTNAME"),
        ("database_host", "DATABASE_HOSTNAME"),
        ("DB_HOST", "DATABASE_HOSTNAME"),
        ("DB_HOSTNAME", "DATABASE_HOSTNAME"),
        ("DATABASE_URL", ALL),
        ("DB_URL", ALL),
        ("DATABASE_URI", ALL),
        ("DB_PORT", "DATABASE_PORT"),
        ("DB_NAME", "DATABASE_NAME"),
        ("DATABASE_USER", "DATABASE_USERNAME"),
        ("DB_USER", "DATABASE_USERNAME"),
        ("DB_PASSWORD", "DATABASE_PASSWORD"),
        ("DATABASE_PASS", "DATABASE_PASSWORD"),
        ("DATABASE_PASWORD", "DATABASE_PASSWORD"),
        ("SECRETKEY", "SECRET_KEY"),
        ("SECRET_KYE", "SECRET_KEY"),
        ("JWT_SECRET", "SECRET_KEY"),
        ("JWT_SECRET_KEY", "SECRET_KEY"),
        ("JWT_ALGORITHM", "ALGORITHM"),
        ("ALGORITM", "ALGORITHM"),
        ("ACCESS_TOKEN_EXPIRE_MINUTE", "ACCESS_TOKEN_EXPIRE_MINUTES"),
        ("ACCESS_TOKEN_EXPIRE", "ACCESS_TOKEN_EXPIRE_MINUTES"),
        ("REFRESH_TOKEN_EXPIRE_DAY", "REFRESH_TOKEN_EXPIRE_DAYS"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("CORS_ALLOWED_ORIGINS", "CORS_ORIGINS"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
    ] {
        let says = |place| {
            vec![format!(
                "{name} in {place} is not a setting and is ignored; did you mean {meant}?"
            )]
        };
        assert_eq!(
            warnings(&[], &format!("{name}=hunter2")),
            says("the .env file")
        );
        assert_eq!(warnings(&[(name, "hunter2")], ""), says("the environment"));
    }
}

#[test]
fn a_name_that_could_be_anybodys_is_none_in_the_environment() {
    // In a file that is for us also what would be anybody's in the environment.
    for (name, meant) in [
        ("PROT", "PORT"),
        ("POSTGRES_PASSWORD", "DATABASE_PASSWORD"),
        ("PGHOST", "DATABASE_HOSTNAME"),
        ("SQLALCHEMY_DATABASE_URL", ALL),
        ("SECRET", "SECRET_KEY"),
    ] {
        let expected = format!(
            "{name} in the .env file is not a setting and is ignored; did you mean {meant}?"
        );
        assert_eq!(warnings(&[], &format!("{name}=hunter2")), [expected]);
        assert_eq!(warnings(&[(name, "hunter2")], ""), Vec::<String>::new());
    }
    for name in [
        "PATH",
        "HOME",
        "HOSTNAME",
        "HOSTTYPE",
        "USER",
        "LANG",
        "SHELL",
        "TERM",
        "EDITOR",
        "PWD",
        "OLDPWD",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "CARGO_HOME",
        "RUST_LOG",
        "RUST_BACKTRACE",
        "VIRTUAL_ENV",
        "COMPOSE_PROJECT_NAME",
        "DATADOG_API_KEY",
        "GITHUB_TOKEN",
        "NODE_ENV",
        "DEBUG",
        "DISPLAY",
        "XDG_RUNTIME_DIR",
        "SSH_AUTH_SOCK",
        "LOGNAME",
        "APP_NAME",
        "REDIS_URL",
        "SENTRY_DSN",
        "DBUS_SESSION_BUS_ADDRESS",
    ] {
        assert_eq!(
            warnings(&[(name, "x")], &format!("{name}=x")),
            Vec::<String>::new(),
            "{name}"
        );
    }
    for name in NAMES {
        assert!(
            !warnings(&[(name, "1")], "")
                .concat()
                .contains("did you mean"),
            "{name}"
        );
    }
}

#[test]
fn settings_of_a_database_that_is_not_named_are_a_warning() {
    let ignored = |text: &str| Found::read([], &file(text)).unwrap().ignored();
    assert_eq!(
        ignored("DATABASE_NAME=social\ndatabase_password=hunter2").unwrap(),
        "DATABASE_HOSTNAME is not set: the private PostgreSQL is used, and DATABASE_NAME, DATABASE_PASSWORD ignored."
    );
    assert_eq!(ignored("DATABASE_POOL_SIZE=3"), None);
    assert_eq!(
        ignored("DATABASE_NAME=social\nDATABASE_HOSTNAME=localhost"),
        None
    );
}

#[test]
fn the_list_of_settings_is_what_is_read_and_documented() {
    let read = RefCell::new(BTreeSet::new());
    let settings = Settings::from_lookup(|name| {
        read.borrow_mut().insert(name.to_owned());
        // With secrets everything is asked for that is elsewhere.
        ["ARN", "REGION", "KEY_ID", "ACCESS_KEY"]
            .iter()
            .any(|end| name.ends_with(end))
            .then(|| "x".to_owned())
    });
    Config::read(&settings, DEFAULTS).unwrap();
    Local::read(&settings).unwrap();
    let _ = Data::of(&settings);
    let listed: BTreeSet<String> = NAMES.into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(*read.borrow(), listed);

    let readme = include_str!("../../../README.md");
    let example = include_str!("../../../.env.example");
    for name in NAMES.iter().filter(|name| !name.starts_with("AWS_")) {
        let short = name.strip_prefix("DATABASE").unwrap_or(name);
        let is_in_readme = [*name, short]
            .iter()
            .any(|name| readme.contains(&format!("`{name}`")));
        assert!(is_in_readme, "{name}");
        let is_of_aws = name.ends_with("_ARN");
        assert_eq!(
            example.contains(&format!("# {name}=")),
            !is_of_aws,
            "{name}"
        );
    }
}
