//! Owns a batch: the records handed to a sink at once.

use std::fmt;
use std::sync::Arc;

use forebay_event::{Record, Timestamp};

/// The number of a lane within its connector. Lanes that are made anew after a change of their number get new ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u32);

/// The number that fences out an earlier holder of the connector's lease; a later holder has a higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a sink with transactions keeps of records that were parked, so that none is written twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedNumbers {
    /// The number of each record of the batch, in order; no other record of the connector ever has it.
    pub numbers: Arc<[u64]>,
    /// What was kept of lower numbers is of no use any more.
    pub oldest: u64,
}

/// Records handed to a sink at once: never empty, in log order.
///
/// The runtime bounds a batch by count, bytes and age before the sink sees it.
#[derive(Clone, Debug)]
pub struct Batch {
    lane: Lane,
    epoch: Epoch,
    attempt: u32,
    at: Timestamp,
    parked: Option<ParkedNumbers>,
    records: Arc<[Record]>,
}

impl Batch {
    /// Gathers records for their first attempt; none when there are no records.
    pub fn new(lane: Lane, epoch: Epoch, at: Timestamp, records: Vec<Record>) -> Option<Self> {
        if records.is_empty() {
            return None;
        }
        Some(Self { lane, epoch, attempt: 1, at, parked: None, records: records.into() })
    }

    /// The same records for one more attempt, made at another time.
    #[must_use]
    pub fn again(self, at: Timestamp) -> Self {
        Self { attempt: self.attempt.saturating_add(1), at, ..self }
    }

    /// The same records, counted as this attempt; from 1.
    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        Self { attempt: attempt.max(1), ..self }
    }

    /// The same records as ones that were parked and come after others of their lane.
    #[must_use]
    pub fn of_parked(self, parked: ParkedNumbers) -> Self {
        Self { parked: Some(parked), ..self }
    }

    /// Of records that were parked, their numbers; none for records that come in their turn. The positions of parked ones
    /// may lie below those that the lane delivered before, and say nothing about where the lane stands.
    pub fn parked(&self) -> Option<&ParkedNumbers> {
        self.parked.as_ref()
    }

    /// Which lane they belong to.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The epoch of the lease they are delivered under.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the attempt began.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The records, in log order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many records there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.records.len()
    }
}
