//! Secrets that Secrets Manager keeps and rotates: the database's login, and the keys of access tokens.

mod database;
mod keys;

use shared::config::{Config, Defaults, Settings};

use crate::world::SECRET_KEY;

#[test]
fn a_secret_needs_the_settings_that_reach_it() {
    let database = [("DATABASE_SECRET_ARN", "arn"), ("SECRET_KEY", SECRET_KEY)];
    let keys = [("JWT_SECRET_ARN", "arn")];
    let aws = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    for named in [&database[..], &keys] {
        for missing in aws {
            let present = aws.iter().filter(|name| **name != missing);
            let settings: Vec<_> = present
                .map(|name| (*name, "value"))
                .chain(named.iter().copied())
                .collect();
            assert_eq!(
                read(&settings).unwrap_err(),
                format!("{missing} is not set.")
            );
        }
        let settings: Vec<_> = aws.iter().map(|name| (*name, "value")).collect();
        read(&[&settings, named].concat()).unwrap();
    }
    // Without a secret nothing of AWS is asked for.
    read(&[("SECRET_KEY", SECRET_KEY)]).unwrap();
}

fn read(settings: &[(&str, &str)]) -> Result<Config, String> {
    let settings = Settings::from_lookup(|wanted| {
        let found = settings.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| (*value).to_owned())
    });
    Config::read(&settings, Defaults::LAMBDA).map_err(|error| error.to_string())
}
