//! Owns what a pipeline has done so far.

use forebay_connector::FailureClass;
use forebay_event::{Position, Timestamp};

use super::BreakerState;

/// What a pipeline has done so far; status and metrics are made from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events handed out by the subscription.
    pub read: u64,
    /// Records the sink confirmed.
    pub delivered: u64,
    /// Events that filter or transform dropped, or that an earlier run had settled.
    pub skipped: u64,
    /// Records set aside.
    pub parked: u64,
    /// Everything at or below it is settled.
    pub settled: Option<Position>,
    /// When a record was last settled.
    pub last_progress: Option<Timestamp>,
    /// Whether history is finished.
    pub caught_up: bool,
    /// Since when attempts fail without a success in between, and with what.
    pub failing: Option<(Timestamp, FailureClass)>,
    /// Since when it is behind and nothing moves, once that has lasted too long.
    pub stalled: Option<Timestamp>,
    /// When the oldest event was created that is read and not settled.
    pub oldest: Option<Timestamp>,
    /// Whether its target is taken to be down.
    pub breaker: BreakerState,
}

impl Progress {
    /// Records read and not settled.
    pub fn in_flight(&self) -> u64 {
        self.read.saturating_sub(self.delivered + self.skipped + self.parked)
    }
}
