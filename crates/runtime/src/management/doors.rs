//! Owns the door for fuzzing: what the management reads back or is given, as bytes.

use forebay_event::RecordedEvent;
use serde_json::Value;

use super::ApplyError;
use super::declared;
use super::event::ManagementEvent;

/// Whether a stored event is one of a connector's life; fails with what is wrong with its body.
pub fn read_event(event: &RecordedEvent) -> Result<bool, String> {
    ManagementEvent::read(event).map(|read| read.is_some()).map_err(|error| error.to_string())
}

/// How many connectors a connector file declares.
pub fn read_declared(file: &Value) -> Result<usize, ApplyError> {
    declared::read(file).map(|declared| declared.len())
}
