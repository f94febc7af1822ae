//! Owns what a read of one page asks, answers and refuses.

use forebay_event::{Position, RecordedEvent, Revision, StreamName};

use crate::EventFilter;

/// Which way a read goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards newer events.
    Forward,
    /// Towards older events.
    Backward,
}

/// Where in the log a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPoint {
    /// Before the first event.
    Start,
    /// Behind the last event.
    End,
    /// At a position. A forward read includes an event there, a backward read does not, a subscription begins behind it.
    At(Position),
}

/// Where in a stream a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPoint {
    /// At the first visible event.
    Start,
    /// At the last event when reading backward; behind it when reading forward or subscribing.
    End,
    /// At a revision. Reads include it, a subscription begins behind it.
    At(Revision),
}

/// The bounds of one page. A page holds at least one event if there is one, however large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// At most so many events.
    pub events: usize,
    /// Ends at the first event that reaches so many bytes (as [`RecordedEvent::size`] counts them).
    pub bytes: usize,
}

impl PageLimit {
    /// So many events, and at most 4 MiB.
    pub const fn events(events: usize) -> Self {
        Self { events, bytes: 4 << 20 }
    }
}

/// A read of one page of a stream.
#[derive(Clone, Debug)]
pub struct ReadStream {
    /// Which stream.
    pub stream: StreamName,
    /// Which way.
    pub direction: Direction,
    /// From where.
    pub from: StreamPoint,
    /// How much.
    pub limit: PageLimit,
}

/// One page of a stream; events hidden by its metadata are left out.
#[derive(Clone, Debug)]
pub struct StreamPage {
    /// The events, in the order of reading.
    pub events: Vec<RecordedEvent>,
    /// Where the next page begins; none when the read has reached the end (or the beginning, backward).
    pub next: Option<Revision>,
    /// The stream's last revision at the time of reading.
    pub last_revision: Revision,
}

/// A read of one page of the whole log.
#[derive(Clone, Debug)]
pub struct ReadAll {
    /// Which way.
    pub direction: Direction,
    /// From where.
    pub from: LogPoint,
    /// How much to answer. The store bounds by itself how much it examines for it.
    pub limit: PageLimit,
    /// Which events.
    pub filter: EventFilter,
}

/// One page of the whole log.
#[derive(Clone, Debug)]
pub struct AllPage {
    /// The matching events, in the order of reading.
    pub events: Vec<RecordedEvent>,
    /// Where the next page begins, in the terms of the same read. With a filter it moves on even if nothing matched.
    pub next: LogPoint,
    /// Whether the read has reached the end (or the beginning, backward); a page may be empty without it.
    pub at_end: bool,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such stream, or it is soft-deleted.
    #[error("stream {stream} is not found")]
    StreamNotFound {
        /// The stream.
        stream: StreamName,
    },
    /// The stream is tombstoned.
    #[error("stream {stream} is deleted")]
    StreamDeleted {
        /// The stream.
        stream: StreamName,
    },
    /// What the store holds is damaged. Nothing damaged is ever handed out or passed over.
    #[error("the store is damaged at {place}: {reason}")]
    Damaged {
        /// File or key, and where in it.
        place: String,
        /// What was found.
        reason: String,
    },
    /// The store cannot be read now.
    #[error("the store cannot be read: {reason}")]
    Unavailable {
        /// Why, in the store's words.
        reason: String,
    },
}
