//! Owns subscriptions: reads that do not end.

use async_trait::async_trait;
use forebay_event::{Position, RecordedEvent, StreamName};

use crate::{EventFilter, LogPoint, PageLimit, ReadError, StreamPoint};

/// A subscription to the whole log.
#[derive(Clone, Debug)]
pub struct SubscribeAll {
    /// Begins behind this point.
    pub from: LogPoint,
    /// Which events.
    pub filter: EventFilter,
    /// The bounds of one hand-out.
    pub limit: PageLimit,
    /// With a filter: hands out a [`Notice::Checkpoint`] at the latest after so many events that did not match.
    pub checkpoint_every: usize,
}

/// A subscription to one stream.
#[derive(Clone, Debug)]
pub struct SubscribeStream {
    /// Which stream; it need not exist yet.
    pub stream: StreamName,
    /// Begins behind this point.
    pub from: StreamPoint,
    /// The bounds of one hand-out.
    pub limit: PageLimit,
}

/// What a subscription hands out.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The next events, in order; not empty.
    Events(Vec<RecordedEvent>),
    /// Everything up to and including this position was examined and nothing more of it will be handed out. Given only
    /// with a filter; rises strictly; never overtakes an event with a lower position.
    Checkpoint(Position),
    /// History is finished: what follows is live. Given once, and again only after the subscription fell behind.
    CaughtUp {
        /// Everything up to and including this position was examined; none when the log is empty.
        position: Option<Position>,
    },
}

/// A catch-up subscription: history first, then live, with neither gap nor repeat.
///
/// It is pulled: nothing is read ahead beyond one hand-out, so a slow reader costs its own page and nobody's speed.
/// Dropping it ends it. `next` is safe to cancel: whatever was not handed out is handed out by the next call.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next hand-out. An error ends the subscription; open a new one behind the last event seen.
    async fn next(&mut self) -> Result<Notice, SubscribeError>;
}

/// Why a subscription could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The stream is tombstoned.
    #[error("stream {stream} is deleted")]
    StreamDeleted {
        /// The stream.
        stream: StreamName,
    },
    /// The store ends before the position to begin behind: it was restored to an earlier state, or is another store.
    #[error("the store ends at {end}, before the position {from} to continue from")]
    BehindEnd {
        /// Where the subscription was to begin.
        from: Position,
        /// Where the store ends.
        end: Position,
    },
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
    /// A read failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}
