//! Owns the decision whether an append, delete or tombstone may go on, was made before, or is refused.

use forebay_event::{ExpectedRevision, Revision, StreamName};
use forebay_store::{AppendError, ReadError};
use uuid::Uuid;

use crate::engine::Placed;
use crate::states::StreamState;

/// What to do with an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Write the events.
    Write,
    /// All events are there already; the last of them lies here.
    Repeated(Placed),
}

/// What was recorded before, as far as it matters for repeated appends.
pub(crate) trait History {
    /// Id and place of the event of a stream at a revision.
    fn id_at(&self, stream: &StreamName, revision: u64) -> Result<Option<(Uuid, Placed)>, ReadError>;

    /// Where a recently recorded event of the stream lies.
    fn recent(&self, stream: &StreamName, id: Uuid) -> Result<Option<Placed>, ReadError>;
}

/// A stream, its state, and the condition set on it.
pub(crate) struct Condition<'a> {
    /// Which stream.
    pub(crate) stream: &'a StreamName,
    /// Where it is.
    pub(crate) state: &'a StreamState,
    /// Where it is expected to be.
    pub(crate) expected: ExpectedRevision,
}

/// How the state of a stream meets a condition.
enum Fit {
    /// It does, and the condition does not say where events would go.
    Loose,
    /// It does, exactly.
    Exact,
    /// The stream is further on; events from this revision on may be those of the same append.
    Further { from: u64 },
}

impl Condition<'_> {
    /// Decides on an append of events with these ids.
    pub(crate) fn append(&self, ids: &[Uuid], history: &dyn History) -> Result<Verdict, AppendError> {
        let fit = self.fit()?;
        if ids.is_empty() {
            return match fit {
                Fit::Further { .. } if !self.undeletes() => Err(self.wrong()),
                _ => Ok(Verdict::Write),
            };
        }
        match fit {
            Fit::Exact => Ok(Verdict::Write),
            Fit::Loose => self.loosely_repeated(ids, history),
            Fit::Further { from } => self.exactly_repeated(ids, from, history),
        }
    }

    /// Decides on a delete, or on a tombstone, which alone may be set on a stream that was never written.
    pub(crate) fn end(&self, is_tombstone: bool) -> Result<(), AppendError> {
        let fit = self.fit()?;
        let is_known = self.state.last.is_some() || self.state.metadata.is_some();
        match fit {
            Fit::Further { .. } if !self.undeletes() => Err(self.wrong()),
            _ if !is_known && !is_tombstone => Err(self.wrong()),
            _ => Ok(()),
        }
    }

    fn fit(&self) -> Result<Fit, AppendError> {
        let state = self.state;
        if state.is_tombstoned() {
            return Err(self.deleted());
        }
        match (self.expected, state.last) {
            (ExpectedRevision::Any, _) => Ok(Fit::Loose),
            (ExpectedRevision::NoStream, None) => Ok(Fit::Exact),
            (ExpectedRevision::NoStream, Some(_)) => Ok(Fit::Further { from: 0 }),
            (ExpectedRevision::StreamExists, _) if state.is_soft_deleted() => Err(self.deleted()),
            (ExpectedRevision::StreamExists, last) if last.is_some() || state.metadata.is_some() => Ok(Fit::Loose),
            (ExpectedRevision::Exact(revision), Some(last)) if revision.get() == last.revision => Ok(Fit::Exact),
            (ExpectedRevision::Exact(revision), Some(last))
                if revision.get() < last.revision && !state.is_soft_deleted() =>
            {
                Ok(Fit::Further { from: revision.get() + 1 })
            }
            _ => Err(self.wrong()),
        }
    }

    /// A soft-deleted stream counts as none for an append that expects none.
    fn undeletes(&self) -> bool {
        self.expected == ExpectedRevision::NoStream && self.state.is_soft_deleted()
    }

    fn exactly_repeated(&self, ids: &[Uuid], from: u64, history: &dyn History) -> Result<Verdict, AppendError> {
        let mut last = None;
        for (revision, id) in (from..).zip(ids) {
            let stored = history.id_at(self.stream, revision).map_err(unreadable)?;
            match stored.filter(|(stored, _)| stored == id) {
                Some((_, placed)) => last = Some(placed),
                None if last.is_none() && self.undeletes() => return Ok(Verdict::Write),
                None => return Err(self.wrong()),
            }
        }
        last.map(Verdict::Repeated).ok_or_else(|| self.wrong())
    }

    fn loosely_repeated(&self, ids: &[Uuid], history: &dyn History) -> Result<Verdict, AppendError> {
        let mut last = None;
        for id in ids {
            match history.recent(self.stream, *id).map_err(unreadable)? {
                Some(placed) => last = Some(placed),
                None if last.is_none() => return Ok(Verdict::Write),
                None => return Err(self.wrong()),
            }
        }
        last.map(Verdict::Repeated).ok_or_else(|| self.wrong())
    }

    fn wrong(&self) -> AppendError {
        AppendError::WrongExpectedRevision {
            stream: self.stream.clone(),
            expected: self.expected,
            current: self.state.last.map(|last| Revision::new(last.revision)),
        }
    }

    fn deleted(&self) -> AppendError {
        AppendError::StreamDeleted { stream: self.stream.clone() }
    }
}

/// The refusal of an append whose condition could not be looked up.
pub(crate) fn unreadable(error: ReadError) -> AppendError {
    AppendError::Unavailable { reason: error.to_string() }
}
