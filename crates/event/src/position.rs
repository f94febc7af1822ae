//! Owns an event's place in the whole log.

use std::fmt;

/// An event's place in the whole log: opaque, ordered, never reused.
///
/// The two numbers are those of the EventStoreDB protocol. They are equal in the embedded log; a cluster may hold old
/// transactions where they differ, which is why a prepare position is never derived from a commit position.
/// [`Position::START`] lies before every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    commit: u64,
    prepare: u64,
}

impl Position {
    /// Before every event.
    pub const START: Self = Self { commit: 0, prepare: 0 };

    /// A position whose two numbers are the same.
    pub const fn new(commit: u64) -> Self {
        Self { commit, prepare: commit }
    }

    /// A position as the protocol gives it.
    pub const fn from_parts(commit: u64, prepare: u64) -> Self {
        Self { commit, prepare }
    }

    /// The commit position: the number that users see as the log position.
    pub const fn commit(self) -> u64 {
        self.commit
    }

    /// The prepare position.
    pub const fn prepare(self) -> u64 {
        self.prepare
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.commit.fmt(f)
    }
}
