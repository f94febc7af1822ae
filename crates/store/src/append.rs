//! Owns what an append asks, answers and refuses.

use forebay_event::{ExpectedRevision, Position, ProposedEvent, Revision, StreamName};
use uuid::Uuid;

/// Events to append to one stream, all or none.
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// Where to.
    pub stream: StreamName,
    /// On what condition.
    pub expected: ExpectedRevision,
    /// The events, in order; may be empty, which checks the condition and writes nothing.
    pub events: Vec<ProposedEvent>,
}

/// An append is durable, or was found to have been made before with the same event ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Revision of the last event of the append; of the stream when the append was empty; none when it has no events.
    pub last_revision: Option<Revision>,
    /// Position of the last event of the append (of the original one when repeated); none when the append was empty.
    pub position: Option<Position>,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream is not at the revision the append expects.
    #[error("stream {stream} was expected to be at {expected} but is at {}", current_text(.current))]
    WrongExpectedRevision {
        /// The stream.
        stream: StreamName,
        /// What the append expected.
        expected: ExpectedRevision,
        /// Where the stream is; none when it has no events.
        current: Option<Revision>,
    },
    /// The stream was tombstoned (or soft-deleted, where the append demanded that it exists).
    #[error("stream {stream} is deleted")]
    StreamDeleted {
        /// The stream.
        stream: StreamName,
    },
    /// The events together are larger than an append may be.
    #[error("the append holds {size} bytes, more than the limit of {limit}")]
    AppendTooLarge {
        /// What they add up to, in bytes.
        size: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// One event is larger than an event may be.
    #[error("event {id} holds {size} bytes, more than the limit of {limit}")]
    EventTooLarge {
        /// Which one.
        id: Uuid,
        /// Its size in bytes.
        size: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// An event or the target is one that no store takes.
    #[error("the append is not valid: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The store cannot write: full disk, failed sync, shut down. The append was not acknowledged; after a lost
    /// connection its outcome is unknown, and repeating it with the same ids is safe.
    #[error("the store cannot write: {reason}")]
    Unavailable {
        /// Why, in the store's words.
        reason: String,
    },
}

fn current_text(current: &Option<Revision>) -> String {
    current.map_or_else(|| "no stream".to_owned(), |revision| format!("revision {revision}"))
}
