//! `local adopt`: what a terminal shows of it, and how it ends.

use serde_json::{Value, json};

use super::{Program, assert_complaint};
use crate::world::{Door, World};

#[tokio::test]
async fn adopting_from_a_terminal_ends_well_when_it_is_done_or_was_done() {
    let world = World::old(Door::Event).await;
    let program = Program::new("adopt").with_database(world.database());
    for (arguments, member, told) in [
        (&["adopt", "--dry-run"][..], "can_proceed", json!(true)),
        (
            &["adopt"],
            "taken_over",
            json!({ "users": 6, "posts": 5, "votes": 5, "sessions": 37 }),
        ),
        (
            &["adopt"],
            "nothing_to_do",
            json!("The database has this service's schema already."),
        ),
        (
            &["adopt", "--dry-run"],
            "nothing_to_do",
            json!("The database has this service's schema already."),
        ),
    ] {
        let output = program.run(arguments).await;
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report[member], told);
    }
}

#[tokio::test]
async fn adopting_from_a_terminal_fails_with_the_reason() {
    let world = World::old(Door::Event).await;
    let insert = "insert into users (email, password) values ('ANN@example.com', '')";
    world.sql.batch_execute(insert).await.unwrap();
    let program = Program::new("adopt-refused").with_database(world.database());
    let reason = "Several users have the same address but for its case (1 in all, by id 1 and 8): \
                  give each one of their own, or delete all of them but one; `--dry-run` lists \
                  them.";

    let output = program.run(&["adopt", "--dry-run"]).await;
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: The database cannot be adopted as it is; the reasons stand above.\n"
    );
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["reasons"], json!([reason]));

    let refused = format!("The database cannot be adopted, and nothing was changed. {reason}");
    assert_complaint(&program.run(&["adopt"]).await, &refused);
    // Nor is it served.
    let leave = "This is a database of the FastAPI service, and nothing was changed: `adopt` \
                 takes it over, `migrate` would not.";
    let port = super::free_port().to_string();
    assert_complaint(&program.run_with(&[], "PORT", &port).await, leave);
}
