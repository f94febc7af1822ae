//! Events, records and a store for the tests of this folder.

#[path = "../../tests/support/memory_store.rs"]
mod memory_store;

use bytes::Bytes;
use forebay_event::{EventParts, Position, ProposedEvent, Record, RecordedEvent, Revision, StreamName, Timestamp};
use uuid::Uuid;

pub(super) use memory_store::MemoryStore;

use super::key::Key;
use super::lanes::Tracked;

/// A JSON event at position 1.
pub(super) fn event(stream: &str, event_type: &str, data: &str, metadata: &str) -> RecordedEvent {
    let proposed = ProposedEvent {
        metadata: Bytes::copy_from_slice(metadata.as_bytes()),
        ..ProposedEvent::json(Uuid::from_u128(9), event_type, data.as_bytes().to_vec())
    };
    let stream = StreamName::new(stream).unwrap();
    RecordedEvent::record(&proposed, &stream, Revision::FIRST, Position::new(1), Timestamp::from_ticks(1))
}

/// An event at a position.
pub(super) fn event_at(position: u64) -> RecordedEvent {
    let parts = EventParts {
        id: Uuid::from_u128(u128::from(position)),
        revision: Revision::new(position),
        position: Position::new(position),
        created: Timestamp::from_ticks(1),
        content_type: forebay_event::ContentType::Json,
        stream: 0..1,
        event_type: 1..2,
        data: 2..2,
        metadata: 2..2,
    };
    RecordedEvent::from_buffer(Bytes::from_static(b"sT"), parts).unwrap()
}

/// A record that was read as this one, of this key.
pub(super) fn tracked(seq: u64, key: &str) -> Tracked {
    Tracked { seq, key: Key::of(key), bytes: 10, record: Record::of(event_at(seq + 1)), doomed: None }
}
