//! How a person reaches the database: a line to paste into a shell.

use std::path::Path;

use local::postgres::Server;
use shared::config::Database;

/// The line for the private server. It reads the password from its file: the line itself is in logs.
pub(crate) fn of_server(server: &Server) -> String {
    let connection = server.connection();
    let beside_it = server.programs().join("psql");
    let program = if beside_it.is_file() {
        quoted(&beside_it)
    } else {
        "psql".to_owned()
    };
    format!(
        "PGPASSWORD=$(cat {}) {program} -h {} -p {} -U {} {}",
        quoted(&server.password_file()),
        connection.host,
        connection.port,
        connection.username,
        connection.database
    )
}

/// The line for a database that the settings name, where they say how to reach it. `psql` asks for the password.
pub(crate) fn of_database(database: &Database) -> Option<String> {
    let words = [&database.hostname, &database.username, &database.name].map(Path::new);
    let is_known = words.iter().all(|word| !word.as_os_str().is_empty());
    let [host, user, name] = words.map(quoted);
    is_known.then(|| format!("psql -h {host} -p {} -U {user} {name}", database.port))
}

/// A word for a shell, in quotes where it needs them.
fn quoted(word: &Path) -> String {
    let word = word.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:".contains(&byte);
    if word.bytes().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
