//! Owns an event: proposed by a writer, recorded by a store.

use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

use crate::{Position, Revision, StreamName, Timestamp};

/// What an event's data is said to be. Nobody checks that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`.
    Json,
    /// `application/octet-stream`: anything else.
    Bytes,
}

impl ContentType {
    /// The media type, as headers carry it.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Bytes => "application/octet-stream",
        }
    }

    /// JSON for exactly `application/json`, bytes for everything else, as the protocol has it.
    pub fn from_media_type(text: &str) -> Self {
        if text == "application/json" { Self::Json } else { Self::Bytes }
    }
}

/// An event that a writer wants to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedEvent {
    /// The writer's name for this event; an append repeated with the same ids writes nothing twice.
    pub id: Uuid,
    /// What happened, such as `OrderPlaced`; not empty.
    pub event_type: String,
    /// What the data is said to be.
    pub content_type: ContentType,
    /// The payload; may be empty.
    pub data: Bytes,
    /// The writer's metadata; may be empty.
    pub metadata: Bytes,
}

impl ProposedEvent {
    /// A JSON event without metadata.
    pub fn json(id: Uuid, event_type: &str, data: impl Into<Bytes>) -> Self {
        Self {
            id,
            event_type: event_type.to_owned(),
            content_type: ContentType::Json,
            data: data.into(),
            metadata: Bytes::new(),
        }
    }

    /// The size by which limits on appends are counted: data, metadata, and twice the type's UTF-16 units.
    pub fn size(&self) -> usize {
        self.data.len() + self.metadata.len() + 2 * self.event_type.encode_utf16().count()
    }
}

/// Where the parts of a [`RecordedEvent`] lie in its buffer, and the facts that are not in it.
#[derive(Clone, Debug)]
pub struct EventParts {
    /// The event's id.
    pub id: Uuid,
    /// Its number in its stream.
    pub revision: Revision,
    /// Its place in the log.
    pub position: Position,
    /// When the store recorded it.
    pub created: Timestamp,
    /// What the data is said to be.
    pub content_type: ContentType,
    /// Where the stream's name lies.
    pub stream: Range<u32>,
    /// Where the event's type lies.
    pub event_type: Range<u32>,
    /// Where the data lies.
    pub data: Range<u32>,
    /// Where the metadata lies.
    pub metadata: Range<u32>,
}

/// An event as a store recorded it: a fact that never changes.
///
/// All variable parts are ranges of one shared buffer. Cloning costs one reference count; [`RecordedEvent::data`] and
/// [`RecordedEvent::metadata`] are slices of what the store read, not copies.
#[derive(Clone, Debug)]
pub struct RecordedEvent {
    buffer: Bytes,
    parts: EventParts,
}

impl RecordedEvent {
    /// Takes a buffer and where the parts lie in it; fails when a range leaves the buffer or a name is not UTF-8.
    #[inline(always)]
    pub fn from_buffer(buffer: Bytes, parts: EventParts) -> Result<Self, MalformedEvent> {
        for (part, range) in [("data", &parts.data), ("metadata", &parts.metadata)] {
            if range.start > range.end || range.end as usize > buffer.len() {
                return Err(MalformedEvent { part });
            }
        }
        for (part, range) in [("stream name", &parts.stream), ("event type", &parts.event_type)] {
            let text = buffer.get(range.start as usize..range.end as usize).ok_or(MalformedEvent { part })?;
            if text.is_empty() || !is_text(text) {
                return Err(MalformedEvent { part });
            }
        }
        Ok(Self { buffer, parts })
    }

    /// Records a proposed event by copying its parts into one buffer: for tests and for stores that have no such buffer.
    #[expect(clippy::expect_used, reason = "the ranges are made here, from lengths that were checked")]
    pub fn record(
        proposed: &ProposedEvent,
        stream: &StreamName,
        revision: Revision,
        position: Position,
        created: Timestamp,
    ) -> Self {
        let mut buffer = Vec::new();
        let mut push = |bytes: &[u8]| {
            let start = u32::try_from(buffer.len()).expect("an event is smaller than 4 GiB");
            buffer.extend_from_slice(bytes);
            start..u32::try_from(buffer.len()).expect("an event is smaller than 4 GiB")
        };
        let parts = EventParts {
            id: proposed.id,
            revision,
            position,
            created,
            content_type: proposed.content_type,
            stream: push(stream.as_str().as_bytes()),
            event_type: push(proposed.event_type.as_bytes()),
            data: push(&proposed.data),
            metadata: push(&proposed.metadata),
        };
        Self { buffer: buffer.into(), parts }
    }

    /// The writer's id of this event.
    pub fn id(&self) -> Uuid {
        self.parts.id
    }

    /// The stream's name as text.
    pub fn stream(&self) -> &str {
        self.text(&self.parts.stream)
    }

    /// The stream's name as its own value; allocates.
    #[expect(clippy::expect_used, reason = "checked when the event was made")]
    pub fn stream_name(&self) -> StreamName {
        StreamName::new(self.stream()).expect("a recorded event has a stream")
    }

    /// What happened.
    pub fn event_type(&self) -> &str {
        self.text(&self.parts.event_type)
    }

    /// The event's number in its stream.
    pub fn revision(&self) -> Revision {
        self.parts.revision
    }

    /// The event's place in the log.
    pub fn position(&self) -> Position {
        self.parts.position
    }

    /// When the store recorded it.
    pub fn created(&self) -> Timestamp {
        self.parts.created
    }

    /// What the data is said to be.
    pub fn content_type(&self) -> ContentType {
        self.parts.content_type
    }

    /// The payload, sharing the store's buffer.
    pub fn data(&self) -> Bytes {
        self.slice(&self.parts.data)
    }

    /// The payload, borrowed.
    pub fn data_slice(&self) -> &[u8] {
        self.borrowed(&self.parts.data)
    }

    /// The writer's metadata, sharing the store's buffer.
    pub fn metadata(&self) -> Bytes {
        self.slice(&self.parts.metadata)
    }

    /// The writer's metadata, borrowed.
    pub fn metadata_slice(&self) -> &[u8] {
        self.borrowed(&self.parts.metadata)
    }

    /// The bytes that bounds on pages and batches count: all variable parts.
    #[inline]
    pub fn size(&self) -> usize {
        let len = |range: &Range<u32>| (range.end - range.start) as usize;
        len(&self.parts.data) + len(&self.parts.metadata) + len(&self.parts.stream) + len(&self.parts.event_type)
    }

    /// Whether the type begins with `$`: events that the store writes for itself.
    pub fn is_system(&self) -> bool {
        self.borrowed(&self.parts.event_type).first() == Some(&b'$')
    }

    fn slice(&self, range: &Range<u32>) -> Bytes {
        self.buffer.slice(range.start as usize..range.end as usize)
    }

    fn borrowed(&self, range: &Range<u32>) -> &[u8] {
        self.buffer.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    #[expect(clippy::expect_used, reason = "checked when the event was made")]
    fn text(&self, range: &Range<u32>) -> &str {
        std::str::from_utf8(self.borrowed(range)).expect("names were checked to be UTF-8 when the event was made")
    }
}

/// Whether the bytes are UTF-8. Names are short and mostly ASCII, which is told faster.
#[inline]
fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// A buffer does not hold the event it is said to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {part} of a stored event is missing or not readable")]
pub struct MalformedEvent {
    part: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RecordedEvent {
        let proposed = ProposedEvent {
            metadata: Bytes::from_static(b"{\"k\":1}"),
            ..ProposedEvent::json(Uuid::from_u128(7), "OrderPlaced", "{\"total\":3}")
        };
        let stream = StreamName::new("order-1").unwrap();
        RecordedEvent::record(&proposed, &stream, Revision::new(4), Position::new(9), Timestamp::from_ticks(1))
    }

    #[test]
    fn parts_come_back_as_they_went_in() {
        let event = sample();
        assert_eq!(event.stream(), "order-1");
        assert_eq!(event.event_type(), "OrderPlaced");
        assert_eq!(event.data(), "{\"total\":3}");
        assert_eq!(event.metadata_slice(), b"{\"k\":1}");
        assert_eq!(event.size(), 7 + 11 + 11 + 7);
        assert!(!event.is_system());
    }

    #[test]
    fn data_shares_the_buffer() {
        let event = sample();
        assert_eq!(event.data().as_ptr(), event.clone().data().as_ptr());
    }

    #[test]
    fn ranges_outside_the_buffer_are_refused() {
        let event = sample();
        let outside = EventParts { data: 0..1000, ..event.parts.clone() };
        assert_eq!(
            RecordedEvent::from_buffer(event.buffer.clone(), outside).unwrap_err(),
            MalformedEvent { part: "data" }
        );
        let empty = EventParts { stream: 3..3, ..event.parts.clone() };
        assert!(RecordedEvent::from_buffer(event.buffer, empty).is_err());
    }
}
