//! Owns an event in the plain JSON form; JSON payloads are passed on as they are, never parsed into values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_event::RecordedEvent;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::point::position_text;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventJson<'a> {
    id: Uuid,
    stream: &'a str,
    revision: u64,
    position: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    content_type: &'static str,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
}

/// Appends one event as JSON, on one line whatever its payload looks like.
pub(super) fn write_event(out: &mut Vec<u8>, event: &RecordedEvent) {
    let start = out.len();
    let data = raw_json(event.data_slice());
    let metadata = raw_json(event.metadata_slice());
    let json = EventJson {
        id: event.id(),
        stream: event.stream(),
        revision: event.revision().get(),
        position: position_text(event.position()),
        event_type: event.event_type(),
        content_type: event.content_type().media_type(),
        created: event.created().to_string(),
        data_base64: data.is_none().then(|| STANDARD.encode(event.data_slice())),
        data,
        metadata_base64: (metadata.is_none() && !event.metadata_slice().is_empty())
            .then(|| STANDARD.encode(event.metadata_slice())),
        metadata,
    };
    serde_json::to_writer(&mut *out, &json).expect("names and numbers are always written to memory");
    // Inside a JSON text a line break is escaped, so a bare one is white space and may become a space.
    for byte in out.iter_mut().skip(start) {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// The bytes as JSON, if that is what they are, whatever they are said to be.
pub(super) fn raw_json(bytes: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(bytes).ok()
}
