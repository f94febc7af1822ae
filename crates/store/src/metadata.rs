//! Owns what a stream's metadata means.

use std::time::Duration;

use forebay_event::Revision;
use serde_json::{Map, Value};

/// Type of the events in a metadata stream.
pub const METADATA_TYPE: &str = "$metadata";
/// Type of the event that ends a stream for good.
pub const TOMBSTONE_TYPE: &str = "$streamDeleted";

/// Metadata of a stream: one JSON object, kept verbatim, with the keys that a store obeys.
///
/// Keys and their meaning are those of the EventStoreDB protocol. Values of the wrong type are ignored, as there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamMetadata {
    object: Map<String, Value>,
}

impl StreamMetadata {
    /// Takes a JSON object as it is.
    pub fn new(object: Map<String, Value>) -> Self {
        Self { object }
    }

    /// Reads the data of a metadata event; anything but a JSON object counts as empty.
    pub fn from_data(data: &[u8]) -> Self {
        match serde_json::from_slice(data) {
            Ok(Value::Object(object)) => Self { object },
            _ => Self::default(),
        }
    }

    /// The data of a metadata event.
    pub fn to_data(&self) -> Vec<u8> {
        Value::Object(self.object.clone()).to_string().into_bytes()
    }

    /// All keys, those of the store and the user's own.
    pub fn as_object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// `$maxCount`: only so many of the last events are visible.
    pub fn max_count(&self) -> Option<u64> {
        self.object.get("$maxCount").and_then(Value::as_u64).filter(|count| *count > 0)
    }

    /// `$maxAge`: events older than this are not visible.
    pub fn max_age(&self) -> Option<Duration> {
        self.object.get("$maxAge").and_then(Value::as_u64).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// `$tb`: events below this revision are not visible.
    pub fn truncate_before(&self) -> Option<Revision> {
        self.object.get("$tb").and_then(Value::as_u64).map(Revision::new)
    }

    /// The same metadata with another `$maxCount`.
    #[must_use]
    pub fn with_max_count(self, count: u64) -> Self {
        self.with("$maxCount", count)
    }

    /// The same metadata with another `$tb`.
    #[must_use]
    pub fn with_truncate_before(self, revision: Revision) -> Self {
        self.with("$tb", revision.get())
    }

    /// What a soft delete writes: nothing but a `$tb` above every revision.
    pub fn soft_deleted() -> Self {
        Self::default().with_truncate_before(Revision::MAX)
    }

    /// Whether the stream is soft-deleted.
    pub fn is_soft_deleted(&self) -> bool {
        self.truncate_before() == Some(Revision::MAX)
    }

    fn with(mut self, key: &str, value: u64) -> Self {
        self.object.insert(key.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_wrong_type_are_ignored_and_kept() {
        let metadata = StreamMetadata::from_data(br#"{"$maxCount":"ten","$maxAge":0,"$tb":3,"own":[1]}"#);
        assert_eq!((metadata.max_count(), metadata.max_age()), (None, None));
        assert_eq!(metadata.truncate_before(), Some(Revision::new(3)));
        assert_eq!(StreamMetadata::from_data(&metadata.to_data()), metadata);
    }

    #[test]
    fn what_is_not_an_object_is_empty() {
        assert_eq!(StreamMetadata::from_data(b"[1]"), StreamMetadata::default());
        assert!(StreamMetadata::soft_deleted().is_soft_deleted());
    }
}
