//! Owns how an event looks to people: one line.

use serde_json::Value;

use crate::failure::Failure;
use crate::numbers::{number, point};
use crate::output::Output;
use crate::table::shortened;

const DATA_CHARS_MAX: usize = 160;

/// Prints an event: as it came for programs, as one line for people.
pub(super) fn print_event(event: &str, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.line(&event);
    }
    let parsed = serde_json::from_str(event);
    let parsed = parsed.map_err(|error: serde_json::Error| Failure::Answer {
        action: "show an event".to_owned(),
        problem: error.to_string(),
    })?;
    output.text(&line_of(&parsed))
}

/// Position, stream and revision, type, and the beginning of the data.
fn line_of(event: &Value) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let data = match event.get("data") {
        Some(data) => data.to_string(),
        None => format!("base64:{}", text("dataBase64")),
    };
    let place = format!("{}@{}", text("stream"), number(event, "revision"));
    let data = shortened(&data, DATA_CHARS_MAX);
    format!(
        "{:>8}  {place}  {}  {data}\n",
        point(event, "position").unwrap_or_default(),
        shortened(text("type"), DATA_CHARS_MAX)
    )
}
