//! Owns what both clients can do, in terms that belong to neither.

use std::future::Future;

use serde_json::{Map, Value};
use uuid::Uuid;

/// On what condition something is done to a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Any,
    NoStream,
    Exists,
    At(u64),
}

/// Why something was not done, as far as both clients can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The stream is not where it was expected to be, but there, if it exists.
    Revision(Option<u64>),
    NotFound,
    Deleted,
    /// Anything else, in the client's own words: it never happens here.
    Other(String),
}

/// What was told.
pub(super) type Told<T> = Result<T, Wrong>;

/// An event to append.
#[derive(Clone, Debug)]
pub(super) struct New {
    pub(super) id: Uuid,
    pub(super) event_type: String,
    pub(super) is_json: bool,
    pub(super) data: Vec<u8>,
    pub(super) metadata: Vec<u8>,
}

/// An event as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) position: (u64, u64),
    pub(super) id: Uuid,
    pub(super) event_type: String,
    pub(super) is_json: bool,
    pub(super) data: Vec<u8>,
    pub(super) metadata: Vec<u8>,
    /// Seconds since 1970: what both clients keep of it.
    pub(super) created_s: u64,
}

/// Which way to read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// From this revision on, or from the beginning.
    Forward(Option<u64>),
    /// From this revision down, or from the end.
    Backward(Option<u64>),
}

/// Which events of the whole log.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// Of streams that begin so.
    Streams(String),
    /// Of types that begin so.
    Types(String),
    /// Of streams that match.
    StreamsLike(String),
}

/// A followed stream or log.
pub(super) trait Followed: Send {
    /// The next event, or none for the moment when history is finished.
    fn next(&mut self) -> impl Future<Output = Told<Option<Seen>>> + Send;
}

/// A client.
pub(super) trait Peer {
    type Followed: Followed;

    /// Appends; answers the last revision and the position of the last event.
    async fn append(&self, stream: &str, expected: Expected, events: &[New]) -> Told<(u64, u64)>;
    async fn delete(&self, stream: &str, expected: Expected) -> Told<()>;
    async fn tombstone(&self, stream: &str, expected: Expected) -> Told<()>;
    async fn set_metadata(&self, stream: &str, expected: Expected, metadata: &Map<String, Value>) -> Told<()>;
    async fn metadata(&self, stream: &str) -> Told<Map<String, Value>>;
    async fn read(&self, stream: &str, way: Way, count: usize) -> Told<Vec<Seen>>;
    /// Reads all that is kept, from the beginning or from the end.
    async fn read_all(&self, forward: bool, kept: &Kept) -> Told<Vec<Seen>>;
    /// Follows a stream from the beginning, or behind a revision.
    async fn follow(&self, stream: &str, behind: Option<u64>) -> Told<Self::Followed>;
    /// Follows what is kept of the log from the beginning.
    async fn follow_all(&self, kept: &Kept) -> Told<Self::Followed>;
}
