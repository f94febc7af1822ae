//! Owns lanes and batches: records of one key stay in one lane, a lane gathers batches by count, bytes and age.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_connector::Failure;
use forebay_event::Record;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::key::Key;
use crate::settings::BatchSettings;

/// A record in flight, with what the pipeline knows about it.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    /// Its number in the order of reading.
    pub(super) seq: u64,
    /// What it must keep its order with.
    pub(super) key: Key,
    /// The bytes it was counted with when it was read.
    pub(super) bytes: usize,
    /// The record.
    pub(super) record: Record,
    /// Why it can never be delivered, when that is known already.
    pub(super) doomed: Option<Box<Failure>>,
}

/// The bounds of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    /// At most so many records.
    pub(super) records: usize,
    /// Ends at the record that reaches so many bytes.
    pub(super) bytes: usize,
    /// Waits so long to be filled.
    pub(super) age: Duration,
}

impl BatchLimits {
    pub(super) fn new(settings: &BatchSettings, records_default: usize) -> Self {
        Self {
            records: settings.batch_size.map_or(records_default, |size| size as usize).max(1),
            bytes: settings.batch_bytes as usize,
            age: settings.batch_timeout_ms.0,
        }
    }
}

/// Spreads records over lanes.
///
/// A lane's queue has room for all that can be in flight, so a lane that waits never holds up the others; what bounds
/// them all together is the window.
#[derive(Clone, Debug)]
pub(super) struct Router {
    lanes: Vec<mpsc::Sender<Vec<Tracked>>>,
}

/// All lanes are gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct LanesClosed;

impl Router {
    /// Makes the queues of so many lanes, for at most so many records in flight.
    pub(super) fn new(lanes: usize, in_flight_max: usize) -> (Self, Vec<mpsc::Receiver<Vec<Tracked>>>) {
        let (senders, receivers) = (0..lanes).map(|_| mpsc::channel(in_flight_max)).unzip();
        (Self { lanes: senders }, receivers)
    }

    /// Hands records to their lanes, in order.
    pub(super) async fn send(&self, records: Vec<Tracked>) -> Result<(), LanesClosed> {
        if let [only] = self.lanes.as_slice() {
            return if records.is_empty() { Ok(()) } else { only.send(records).await.map_err(|_| LanesClosed) };
        }
        let mut parts: Vec<Vec<Tracked>> = self.lanes.iter().map(|_| Vec::new()).collect();
        for record in records {
            if let Some(part) = parts.get_mut(record.key.lane(self.lanes.len())) {
                part.push(record);
            }
        }
        for (lane, part) in self.lanes.iter().zip(parts) {
            if !part.is_empty() {
                lane.send(part).await.map_err(|_| LanesClosed)?;
            }
        }
        Ok(())
    }
}

/// Records of a lane that were not tried yet, in order.
#[derive(Debug)]
pub(super) struct Pending {
    limits: BatchLimits,
    records: VecDeque<Tracked>,
    bytes: usize,
    since: Instant,
}

/// What the first record waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ripe {
    /// There is none.
    Empty,
    /// A batch is full, or old enough.
    Now,
    /// It becomes old enough then.
    At(Instant),
}

impl Pending {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self { limits, records: VecDeque::new(), bytes: 0, since: Instant::now() }
    }

    /// Takes what was handed to the lane.
    pub(super) fn take_in(&mut self, records: Vec<Tracked>) {
        if self.records.is_empty() {
            self.since = Instant::now();
        }
        self.bytes += records.iter().map(|record| record.bytes).sum::<usize>();
        self.records.extend(records);
    }

    /// Whether a batch can be taken.
    pub(super) fn ripe(&self) -> Ripe {
        if self.records.is_empty() {
            return Ripe::Empty;
        }
        let full = self.records.len() >= self.limits.records || self.bytes >= self.limits.bytes;
        let due = self.since + self.limits.age;
        if full || self.limits.age.is_zero() || due <= Instant::now() { Ripe::Now } else { Ripe::At(due) }
    }

    /// Whether a lane holds as much as a batch can take, so that looking for more is no use.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= self.limits.records || self.bytes >= self.limits.bytes
    }

    /// The next record.
    pub(super) fn front(&self) -> Option<&Tracked> {
        self.records.front()
    }

    /// Takes the next record out.
    pub(super) fn pop(&mut self) -> Option<Tracked> {
        let record = self.records.pop_front()?;
        self.bytes = self.bytes.saturating_sub(record.bytes);
        Some(record)
    }

    /// Says that a batch was taken: what is left begins to wait now.
    pub(super) fn taken(&mut self) {
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::tracked;

    fn limits(records: usize, bytes: usize, age_ms: u64) -> BatchLimits {
        BatchLimits { records, bytes, age: Duration::from_millis(age_ms) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_ripe_by_count_bytes_or_age() {
        let mut pending = Pending::new(limits(2, 1 << 20, 10));
        assert_eq!(pending.ripe(), Ripe::Empty);
        pending.take_in(vec![tracked(0, "a")]);
        let due = Instant::now() + Duration::from_millis(10);
        assert_eq!(pending.ripe(), Ripe::At(due));
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(pending.ripe(), Ripe::Now);
        pending.pop();
        pending.take_in(vec![tracked(1, "a"), tracked(2, "a")]);
        assert_eq!(pending.ripe(), Ripe::Now);
        let mut small = Pending::new(limits(100, 1, 10));
        small.take_in(vec![tracked(0, "a")]);
        assert_eq!(small.ripe(), Ripe::Now);
    }

    #[tokio::test]
    async fn records_of_a_key_share_a_lane_and_keep_their_order() {
        let (router, mut lanes) = Router::new(4, 100);
        let records = (0..40).map(|seq| tracked(seq, &format!("s-{}", seq % 10))).collect();
        router.send(records).await.unwrap();
        let mut seen = std::collections::BTreeMap::new();
        for (index, lane) in lanes.iter_mut().enumerate() {
            let part = lane.try_recv().unwrap_or_default();
            assert!(part.is_sorted_by_key(|record| record.seq));
            for record in part {
                assert_eq!(*seen.entry(record.key).or_insert(index), index);
            }
        }
        assert_eq!(seen.len(), 10);
    }
}
