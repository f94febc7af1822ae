//! Owns reading recorded events: from the parts of a message into one buffer of the event's own.
//!
//! The payload is copied here, once: an event that is kept must not keep the whole message it came in.

use std::ops::Range;

use forebay_event::{ContentType, EventParts, Position, RecordedEvent, Revision, Timestamp};
use forebay_wire::event_store::client::streams::read_resp::ReadEvent;
use forebay_wire::event_store::client::streams::read_resp::read_event::RecordedEvent as WireEvent;

use crate::small::read_id;

/// What stands for a position that the server does not know.
const NO_POSITION: u64 = u64::MAX;

/// Why an event that a server sent cannot be handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Something that every event has is missing or malformed.
    #[error("revision {revision} of stream {stream} comes without {lacking}")]
    Malformed {
        /// The stream, as far as it can be read.
        stream: String,
        /// The event's number in it.
        revision: u64,
        /// What is missing.
        lacking: &'static str,
    },
    /// The server is too old to tell where in the log the events of a stream lie.
    #[error(
        "the server does not tell positions of events in streams, which are needed: expected version 22.6 or newer"
    )]
    NoPositions,
}

/// Reads the event of a message; what links point to is not asked for, so the record itself is the event.
pub(crate) fn read(message: ReadEvent) -> Result<RecordedEvent, Unreadable> {
    match message.event.or(message.link) {
        Some(event) => recorded(&event),
        None => Err(Unreadable::Malformed { stream: String::new(), revision: 0, lacking: "an event" }),
    }
}

fn recorded(event: &WireEvent) -> Result<RecordedEvent, Unreadable> {
    let stream = event.stream_identifier.as_ref().map(|identifier| &*identifier.stream_name).unwrap_or_default();
    let revision = event.stream_revision;
    let lacks =
        |lacking| Unreadable::Malformed { stream: String::from_utf8_lossy(stream).into_owned(), revision, lacking };
    let property = |name: &str| event.metadata.get(name);
    let event_type = property("type").ok_or_else(|| lacks("a type"))?;
    let created = property("created").and_then(|ticks| ticks.parse().ok()).ok_or_else(|| lacks("its time"))?;
    let id = read_id(event.id.as_ref()).ok_or_else(|| lacks("an id"))?;
    if event.commit_position == NO_POSITION {
        return Err(Unreadable::NoPositions);
    }
    let content_type = property("content-type").map_or(ContentType::Bytes, |media| ContentType::from_media_type(media));
    let variable = [stream, event_type.as_bytes(), &event.data, &event.custom_metadata];
    let mut buffer = Vec::with_capacity(variable.iter().map(|part| part.len()).sum());
    let [stream_at, type_at, data_at, metadata_at] = variable.map(|part| push(&mut buffer, part));
    let parts = EventParts {
        id,
        revision: Revision::new(revision),
        position: Position::from_parts(event.commit_position, event.prepare_position),
        created: Timestamp::from_ticks(created),
        content_type,
        stream: stream_at,
        event_type: type_at,
        data: data_at,
        metadata: metadata_at,
    };
    RecordedEvent::from_buffer(buffer.into(), parts).map_err(|_| lacks("a stream's name or a type that is text"))
}

#[expect(clippy::expect_used, reason = "messages are bounded far below this")]
fn push(buffer: &mut Vec<u8>, part: &[u8]) -> Range<u32> {
    let number = |length: usize| u32::try_from(length).expect("a message is smaller than 4 GiB");
    let start = number(buffer.len());
    buffer.extend_from_slice(part);
    start..number(buffer.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small::{identifier, write_id};
    use forebay_event::StreamName;
    use uuid::Uuid;

    fn message() -> WireEvent {
        let properties = [("type", "Größe"), ("created", "17637120000000001"), ("content-type", "application/json")];
        WireEvent {
            id: Some(write_id(Uuid::from_u128(7))),
            stream_identifier: Some(identifier(&StreamName::new("s-1").unwrap())),
            stream_revision: 4,
            prepare_position: 99,
            commit_position: 100,
            metadata: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            custom_metadata: "m".into(),
            data: "{}".into(),
        }
    }

    #[test]
    fn every_part_arrives() {
        let event = recorded(&message()).unwrap();
        assert_eq!((event.stream(), event.event_type(), event.revision().get()), ("s-1", "Größe", 4));
        assert_eq!(event.position(), Position::from_parts(100, 99));
        assert_eq!((event.data_slice(), event.metadata_slice()), (&b"{}"[..], &b"m"[..]));
        assert_eq!((event.id(), event.created().ticks()), (Uuid::from_u128(7), 17_637_120_000_000_001));
        assert_eq!(event.content_type(), ContentType::Json);
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        let mut without_type = message();
        without_type.metadata.remove("type");
        assert_eq!(recorded(&without_type).unwrap_err().to_string(), "revision 4 of stream s-1 comes without a type");
        let without_position = WireEvent { commit_position: u64::MAX, ..message() };
        assert_eq!(recorded(&without_position).unwrap_err(), Unreadable::NoPositions);
    }
}
