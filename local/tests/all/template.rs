//! What the template says of this repository is true of it.

use std::{fmt::Write, fs, path::Path};

use ring::digest::{SHA256, digest};

const TEMPLATE: &str = include_str!("../../../template.yaml");

/// CloudFormation asks for the migrations again when this property changes, and only then.
#[test]
fn the_migrations_of_the_template_are_those_that_are_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut content = Vec::new();
    for name in names {
        content.extend_from_slice(format!("{name}\n").as_bytes());
        content.extend(fs::read(folder.join(name)).unwrap());
    }
    let mut hex = String::new();
    for byte in digest(&SHA256, &content).as_ref() {
        write!(hex, "{byte:02x}").unwrap();
    }
    let (_, resource) = TEMPLATE.split_once("Type: Custom::Migrations\n").unwrap();
    let told = resource
        .lines()
        .find_map(|line| line.trim().strip_prefix("Migrations: "));
    assert_eq!(
        told,
        Some(format!("\"{hex}\"").as_str()),
        "the template's Migrations are to be this digest of migrations/"
    );
}
