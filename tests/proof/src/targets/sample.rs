//! Owns how bytes become the texts and events that targets take.

use bytes::Bytes;
use forebay_event::{ContentType, Position, ProposedEvent, RecordedEvent, Revision, StreamName, Timestamp};
use uuid::Uuid;

/// The text of the bytes; what is no text is replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bytes before and after the first line break.
pub(super) fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default())
}

/// An event with this data, of a stream and a type given as text.
pub(super) fn event(stream: &str, event_type: &str, content_type: ContentType, data: &[u8]) -> RecordedEvent {
    let proposed = ProposedEvent {
        id: Uuid::from_u128(7),
        event_type: if event_type.is_empty() { "T".to_owned() } else { event_type.to_owned() },
        content_type,
        data: Bytes::copy_from_slice(data),
        metadata: Bytes::copy_from_slice(data),
    };
    let stream = StreamName::new(stream).unwrap_or_else(|_| StreamName::new("s").expect("a name that is not empty"));
    RecordedEvent::record(&proposed, &stream, Revision::new(3), Position::new(9), Timestamp::from_ticks(17))
}

/// A JSON event of the stream `order-1`.
pub(super) fn json_event(data: &[u8]) -> RecordedEvent {
    event("order-1", "OrderPlaced", ContentType::Json, data)
}
