//! Owns how an event looks: as it came for programs, as one line for people.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::Failure;
use crate::numbers::point_of;
use crate::output::Output;
use crate::table::shortened;

const DATA_CHARS_MAX: usize = 160;

/// The members of an event that people are shown; data is kept as it came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    revision: Value,
    #[serde(default)]
    position: Value,
    #[serde(default, rename = "type")]
    event_type: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

/// Prints an event.
pub(super) fn print_event(event: &str, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.line(&event);
    }
    let shown: Shown<'_> = serde_json::from_str(event)
        .map_err(|error| Failure::Answer { action: "show an event".to_owned(), problem: error.to_string() })?;
    output.text(&shown.line())
}

impl Shown<'_> {
    /// Position, stream and revision, type, and the beginning of the data.
    fn line(&self) -> String {
        let number = |value: &Value| point_of(value).unwrap_or_default();
        let data = match (self.data, &self.data_base64) {
            (Some(data), _) => data.get().to_owned(),
            (None, Some(base64)) => format!("base64:{base64}"),
            (None, None) => String::new(),
        };
        let place = shortened(&format!("{}@{}", self.stream, number(&self.revision)), DATA_CHARS_MAX);
        let event_type = shortened(&self.event_type, DATA_CHARS_MAX);
        let data = shortened(&data, DATA_CHARS_MAX);
        format!("{:>8}  {place}  {event_type}  {data}\n", number(&self.position))
    }
}
