//! The log of this process: JSON for programs, lines to read on a terminal.

use std::io::{self, IsTerminal, Write};

use serde_json::{Map, Value};
use shared::telemetry::Log;

/// Writes the log to standard output from now on. Called once.
pub fn init() {
    if io::stdout().is_terminal() {
        Log::PLAIN.init_to(|| Readable(io::stdout()));
    } else {
        Log::PLAIN.init();
    }
}

/// Writes each line of JSON that it gets as one to read.
struct Readable<W>(W);

impl<W: Write> Write for Readable<W> {
    /// Takes a whole line, as the log writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match serde_json::from_slice(line) {
            Ok(fields) => writeln!(self.0, "{}", readable(fields))?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `10:00:00 INFO GET /posts 200 in 1.8 ms user.id=3`, or `10:00:00 WARN a message target=shared::db`.
fn readable(mut fields: Map<String, Value>) -> String {
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let timestamp = text(&take("timestamp"));
    // Of 2026-02-01T10:00:00.123456Z.
    let time = timestamp.get(11..19).unwrap_or(&timestamp);
    let mut words = vec![time.to_owned(), text(&take("level"))];
    let duration = take("duration_ms").as_f64();
    let message = text(&take("message"));
    if let Some(duration) = duration {
        words.extend(["method", "route", "status"].map(|name| text(&take(name))));
        words.push(format!("in {duration:.1} ms"));
    }
    if duration.is_none() || message != "request" {
        words.push(message);
    }
    let others = fields
        .iter()
        .filter(|(_, value)| !value.is_null() && **value != Value::Bool(false));
    words.extend(others.map(|(name, value)| format!("{name}={}", text(value))));
    words.join(" ")
}

/// A value without quotes where it needs none. What could move the cursor or begin a line stays escaped.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) if !text.chars().any(char::is_control) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str) -> String {
        let mut out = Vec::new();
        Readable(&mut out).write_all(line.as_bytes()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_a_line_to_read() {
        let line = r#"{"timestamp":"2026-02-01T10:00:00.123456Z","level":"INFO","message":"request","method":"GET","route":"/posts/{id}","status":200,"duration_ms":1.8342,"cold_start":false,"outcome":null,"request.id":"abc","user.id":3}"#;
        let expected = "10:00:00 INFO GET /posts/{id} 200 in 1.8 ms request.id=abc user.id=3\n";
        assert_eq!(written(&format!("{line}\n")), expected);
    }

    #[test]
    fn a_fault_keeps_its_cause_and_its_message() {
        let line = r#"{"timestamp":"2026-02-01T10:00:00.123456Z","level":"ERROR","message":"request failed","method":"GET","route":"/posts","status":503,"duration_ms":20.0,"cause":"no\nanswer"}"#;
        let expected =
            "10:00:00 ERROR GET /posts 503 in 20.0 ms request failed cause=\"no\\nanswer\"\n";
        assert_eq!(written(&format!("{line}\n")), expected);
        let line = r#"{"timestamp":"2026-02-01T10:00:00.123456Z","level":"WARN","target":"local::server","message":"a connection could not be accepted","error":"24"}"#;
        let expected =
            "10:00:00 WARN a connection could not be accepted error=24 target=local::server\n";
        assert_eq!(written(&format!("{line}\n")), expected);
    }
}
