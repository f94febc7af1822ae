//! Owns what the stations tell the one that keeps the account.

use forebay_connector::FailureClass;
use forebay_event::Timestamp;

use super::lanes::Tracked;
use super::run::PipelineFailure;
use super::tracker::{Mark, Slot};

/// How many reports may wait; a station that has more to say waits itself.
pub(super) const REPORTS_MAX: usize = 1_024;

/// What a station tells.
#[derive(Debug)]
pub(super) enum Report {
    /// The subscription is open.
    Reading,
    /// Events were read. Sent before any of them is handed on.
    Read(ReadChunk),
    /// History is finished.
    CaughtUp(Option<Mark>),
    /// A lane's sink answered the probe.
    LaneReady,
    /// Records are settled.
    Settled(Settlement),
    /// Attempts of a lane fail in this way, or no longer.
    Failing {
        /// Index of the lane.
        lane: usize,
        /// With what; none when an attempt succeeded.
        class: Option<FailureClass>,
    },
    /// The connector cannot go on.
    Fatal(PipelineFailure),
}

/// Events that were read together.
#[derive(Debug, Default)]
pub(super) struct ReadChunk {
    /// Those that go on to the lanes.
    pub(super) slots: Vec<Slot>,
    /// How many were read.
    pub(super) events: u64,
    /// How many of them go no further.
    pub(super) skipped: u64,
    /// How many of those an earlier run has settled, so that a checkpoint is due though nothing else happens.
    pub(super) settled_before: u64,
    /// The last place that was seen.
    pub(super) seen: Option<Mark>,
}

/// What became of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The sink confirmed them.
    Delivered,
    /// The transform dropped them.
    Skipped,
    /// They were set aside.
    Parked,
}

/// Records that are settled in the same way.
#[derive(Debug)]
pub(super) struct Settlement {
    /// What became of them.
    pub(super) fate: Fate,
    /// Their numbers in the order of reading.
    pub(super) seqs: Vec<u64>,
    /// The bytes they held in flight.
    pub(super) bytes: usize,
    /// When the newest of them was created.
    pub(super) created: Option<Timestamp>,
}

impl Settlement {
    pub(super) fn new(fate: Fate) -> Self {
        Self { fate, seqs: Vec::new(), bytes: 0, created: None }
    }

    pub(super) fn skipped() -> Self {
        Self::new(Fate::Skipped)
    }

    pub(super) fn add(&mut self, tracked: &Tracked) {
        self.add_parts(tracked.seq, tracked.bytes, tracked.record.event().created());
    }

    pub(super) fn add_parts(&mut self, seq: u64, bytes: usize, created: Timestamp) {
        self.seqs.push(seq);
        self.bytes += bytes;
        self.created = self.created.max(Some(created));
    }
}
