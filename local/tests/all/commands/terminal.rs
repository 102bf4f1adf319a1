//! What a person at a terminal sees: where everything is, and lines to read.

use serde_json::json;
use tokio::process::Command;

use super::{Program, finish, lines_of};
use crate::world::{PASSWORD, Request};

#[tokio::test]
async fn the_line_for_psql_reaches_the_private_database_and_holds_no_password() {
    let program = Program::new("psql-that's quoted");
    let served = program.serve(&[]).await;
    let account = json!({ "email": "ann@example.com", "password": PASSWORD });
    let user = served.send(Request::post("/users/").json(&account)).await;
    assert_eq!(user.status, 201);

    let documentation = format!(
        "Documentation: http://localhost:{}/docs",
        served.address.port()
    );
    assert_eq!(served.said[1], documentation);
    let line = served.said[2].strip_prefix("Database: ").unwrap();
    let password = std::fs::read_to_string(program.folder.home().join("database/password"));
    assert!(!line.contains(&password.unwrap()), "{line}");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{line} -Atc 'select email from users'")])
        .env_remove("PGPASSWORD");
    let output = finish(shell).await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ann@example.com\n",
        "{output:?}"
    );
    served.stop().await;

    let output = program.run(&["clean-up"]).await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, report) = said.split_once('\n').unwrap();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert!(report.is_object(), "{report}");
}

#[tokio::test]
async fn on_a_terminal_the_log_is_lines_to_read() {
    let program = Program::new("readable");
    let mut inside = program.command(&[]);
    inside.env("PORT", "0");
    // The same command with a terminal of its own in between.
    let mut command = Command::new("python3");
    command
        .args([
            "-c",
            "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)",
        ])
        .arg(inside.as_std().get_program())
        .current_dir(program.here())
        .env_clear()
        .envs(
            inside
                .as_std()
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let mut lines = lines_of(&mut process);
    let mut next = async || {
        let line = tokio::time::timeout(super::PATIENCE, lines.recv()).await;
        line.unwrap().unwrap()
    };
    let port = loop {
        let line = next().await;
        if let Some(rest) = line.strip_prefix("Serving on http://localhost:") {
            break rest.split('/').next().unwrap().parse::<u16>().unwrap();
        }
    };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let answer = crate::world::send_http(address, Request::get("/posts")).await;
    assert_eq!(answer.status, 200);
    let line = next().await;
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        words[1..6],
        ["INFO", "GET", "/posts", "200", "in"],
        "{line}"
    );
    assert_eq!((words[0].len(), words[7]), (8, "ms"), "{line}");
    drop(process);
}
