//! Owns a record: an event on its way through a connector, perhaps reshaped by a transform.

use bytes::Bytes;

use crate::RecordedEvent;

/// Metadata of a record as sinks see it: names and text values, in order.
pub type Headers = Vec<(String, String)>;

/// What a transform changed; absent parts are those of the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reshape {
    /// The new payload.
    pub data: Option<Bytes>,
    /// The new schema subject (the event's type until then).
    pub subject: Option<String>,
    /// The new headers (the event's metadata until then).
    pub headers: Option<Headers>,
}

/// An event on its way through a connector.
///
/// It keeps the event it came from, so coordinates and the original payload are never lost. Untransformed records cost
/// nothing beyond the event: data is the store's own buffer.
#[derive(Clone, Debug)]
pub struct Record {
    event: RecordedEvent,
    reshape: Option<Box<Reshape>>,
}

impl Record {
    /// The record of an event, unchanged.
    pub fn of(event: RecordedEvent) -> Self {
        Self { event, reshape: None }
    }

    /// The same record as a transform left it.
    #[must_use]
    pub fn reshaped(self, reshape: Reshape) -> Self {
        Self { event: self.event, reshape: Some(Box::new(reshape)) }
    }

    /// The event this record came from.
    pub fn event(&self) -> &RecordedEvent {
        &self.event
    }

    /// The payload to deliver.
    pub fn data(&self) -> Bytes {
        self.reshape.as_ref().and_then(|reshape| reshape.data.clone()).unwrap_or_else(|| self.event.data())
    }

    /// The payload to deliver, borrowed.
    pub fn data_slice(&self) -> &[u8] {
        self.reshape.as_ref().and_then(|reshape| reshape.data.as_deref()).unwrap_or_else(|| self.event.data_slice())
    }

    /// The schema subject: the event's type, unless a transform changed it.
    pub fn subject(&self) -> &str {
        self.reshape.as_ref().and_then(|reshape| reshape.subject.as_deref()).unwrap_or_else(|| self.event.event_type())
    }

    /// The headers a transform set, or nothing when they are the event's metadata.
    pub fn headers(&self) -> Option<&Headers> {
        self.reshape.as_ref().and_then(|reshape| reshape.headers.as_ref())
    }

    /// Whether a transform ran on it.
    pub fn is_transformed(&self) -> bool {
        self.reshape.is_some()
    }

    /// The bytes that bounds on batches count.
    pub fn size(&self) -> usize {
        let changed = self.reshape.as_ref().and_then(|reshape| reshape.data.as_ref()).map_or(0, Bytes::len);
        self.event.size() + changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, ProposedEvent, Revision, StreamName, Timestamp};
    use uuid::Uuid;

    #[test]
    fn a_transform_changes_only_what_it_says() {
        let proposed = ProposedEvent::json(Uuid::from_u128(1), "A", "1");
        let stream = StreamName::new("s").unwrap();
        let event = RecordedEvent::record(&proposed, &stream, Revision::FIRST, Position::new(1), Timestamp::default());
        let record = Record::of(event);
        assert!(!record.is_transformed());
        let record = record.reshaped(Reshape { data: Some("2".into()), ..Reshape::default() });
        assert_eq!((record.data_slice(), record.subject(), record.event().data_slice()), (&b"2"[..], "A", &b"1"[..]));
    }
}
