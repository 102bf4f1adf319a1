//! What the README says to paste works as it stands there.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{Door, World};

const README: &str = include_str!("../../../README.md");

#[tokio::test]
async fn the_tour_works_when_it_is_pasted() {
    let world = World::new(Door::Http).await;
    let (_, tour) = README.split_once("## A tour\n\n```sh\n").unwrap();
    let (tour, _) = tour.split_once("```").unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tour");
    fs::create_dir_all(&folder).unwrap();
    let script = tour
        .replace(
            "http://localhost:8000",
            &format!("http://{}", world.address()),
        )
        .replace("/tmp/pair.json", "pair.json")
        // Each line's answer on a line of its own, to be read below.
        .replace('\n', "\necho\n");
    let run = Command::new("bash")
        .args(["-e", "-c", &script])
        .current_dir(&folder)
        .output()
        .await
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let said = String::from_utf8(run.stdout).unwrap();
    let answers: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let [user, pair, post, vote, list] = answers.as_slice() else {
        panic!("{said}");
    };
    assert_eq!(user["email"], "ann@example.com");
    assert_eq!(pair["token_type"], "bearer");
    assert_eq!(post["title"], "Hello");
    assert_eq!(*vote, json!({ "message": "Successfully added vote" }));
    assert_eq!(list[0]["votes"], 1);
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
}

#[test]
fn every_setting_is_in_the_readme_and_in_the_example_file() {
    let example = include_str!("../../../.env.example");
    let named = example
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        });
    for name in named {
        let short = name.strip_prefix("DATABASE").unwrap_or(name);
        assert!(
            README.contains(&format!("`{name}`")) || README.contains(&format!("`{short}`")),
            "{name}"
        );
    }
}
