//! Owns the port itself.

use async_trait::async_trait;
use forebay_event::{ExpectedRevision, Position, Revision, StreamName, Timestamp};

use crate::{
    AllPage, AppendError, AppendRequest, Appended, ReadAll, ReadError, ReadStream, StreamMetadata, StreamPage,
    SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};

/// An event store, as everything above it sees one.
///
/// Calls may overlap freely. Appends to one stream take effect one after the other; an append is visible to every read
/// that begins after its answer. Dropping the future of an append does not undo it: its outcome is then unknown.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Appends events to one stream, all or none, and answers when they are durable. Repeating an append with the same
    /// event ids writes nothing and answers as the first time.
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError>;

    /// Soft-deletes a stream: its events are no longer read, and a later append continues its numbering. Answers the
    /// position of the metadata event that says so.
    async fn delete(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError>;

    /// Ends a stream for good. Answers the position of the tombstone.
    async fn tombstone(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError>;

    /// Reads one page of a stream.
    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError>;

    /// Reads one page of the whole log; nothing in it is hidden by any stream's metadata.
    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError>;

    /// Opens a subscription to the whole log.
    async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError>;

    /// Opens a subscription to one stream.
    async fn subscribe_stream(&self, subscribe: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError>;

    /// The newest metadata of a stream and its revision; empty and none when nothing was written.
    async fn metadata(&self, stream: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError>;

    /// Writes the metadata of a stream, replacing what was there.
    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError>;

    /// Position of the last event; none when the log is empty.
    async fn head(&self) -> Result<Option<Position>, ReadError>;

    /// Since when and why the store is away, as far as that is known without asking; none when it answers. A store that
    /// is never away by itself says nothing.
    fn outage(&self) -> Option<Outage> {
        None
    }
}

/// A store is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Since when, by this machine's clock.
    pub since: Timestamp,
    /// Why, as far as it is known.
    pub reason: String,
}
