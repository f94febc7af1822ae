//! Owns the records that wait for another attempt, key by key.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;
use super::lanes::{BatchLimits, Tracked};

/// The keys of a lane that wait, each with its records in order.
#[derive(Debug, Default)]
pub(super) struct Held {
    keys: HashMap<Key, HeldKey>,
    /// Whether no record may pass another, whatever their keys.
    is_strict: bool,
}

#[derive(Debug)]
struct HeldKey {
    records: VecDeque<Tracked>,
    since: Instant,
    attempts: u32,
    due: Instant,
}

/// Records to try again.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) records: Vec<Tracked>,
    /// Which attempt it will be, counted from 1.
    pub(super) attempt: u32,
}

impl Held {
    /// For a lane whose target keeps its position: what waits goes again together, in log order, before anything else.
    pub(super) fn strict() -> Self {
        Self { is_strict: true, ..Self::default() }
    }

    /// Whether what waits blocks every other record of the lane.
    pub(super) fn blocks(&self) -> bool {
        self.is_strict && !self.keys.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether records of this key wait; later ones must wait behind them.
    pub(super) fn holds(&self, key: Key) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(&key)
    }

    /// Puts a record behind those of its key.
    pub(super) fn push(&mut self, record: Tracked) {
        if let Some(held) = self.keys.get_mut(&record.key) {
            held.records.push_back(record);
        }
    }

    /// Puts a record of a held key before those of it that wait.
    pub(super) fn unshift(&mut self, record: Tracked) {
        if let Some(held) = self.keys.get_mut(&record.key) {
            held.records.push_front(record);
        }
    }

    /// The attempts of a key that failed without a success in between, and the time since the first.
    pub(super) fn streak(&self, key: Key) -> (u32, Duration) {
        self.keys.get(&key).map_or((0, Duration::ZERO), |held| (held.attempts, held.since.elapsed()))
    }

    /// Puts records of one key, in order, before those of it that wait, and notes one more failed attempt.
    pub(super) fn put_back(&mut self, key: Key, records: Vec<Tracked>, delay: Duration) {
        let now = Instant::now();
        let held = self.keys.entry(key).or_insert_with(|| HeldKey {
            records: VecDeque::new(),
            since: now,
            attempts: 0,
            due: now,
        });
        held.attempts = held.attempts.saturating_add(1);
        held.due = now + delay;
        for record in records.into_iter().rev() {
            held.records.push_front(record);
        }
    }

    /// Ends the streak of a key that was tried again with success: what still waits of it is due at once.
    pub(super) fn succeeded(&mut self, key: Key) {
        let Some(held) = self.keys.get_mut(&key) else { return };
        if held.records.is_empty() {
            self.keys.remove(&key);
        } else {
            held.attempts = 0;
            held.since = Instant::now();
            held.due = held.since;
        }
    }

    /// Takes a key out with all that waits of it.
    pub(super) fn release(&mut self, key: Key) -> Vec<Tracked> {
        self.keys.remove(&key).map(|held| held.records.into()).unwrap_or_default()
    }

    /// Makes every key due now: the target answers again.
    pub(super) fn all_due(&mut self) {
        let now = Instant::now();
        for held in self.keys.values_mut() {
            held.due = held.due.min(now);
        }
    }

    /// When the next key is due; in a strict lane, when the first of its records is.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.is_strict {
            return self.keys.values().min_by_key(|held| held.order()).map(|held| held.due);
        }
        self.keys.values().map(|held| held.due).min()
    }

    /// Takes records to try again: those of the key that is due first. Keys that failed only once may have been merely
    /// behind another record in its batch, so they go together; a key that failed again goes alone and holds up nobody.
    ///
    /// The keys stay held until the attempt is answered.
    pub(super) fn take_due(&mut self, limits: &BatchLimits) -> Option<Again> {
        let now = Instant::now();
        if self.is_strict {
            return if self.next_due()? <= now { self.take_in_order(limits) } else { None };
        }
        let due = |held: &HeldKey| (held.due, held.records.front().map(|record| record.seq));
        let first = self.keys.iter().filter(|(_, held)| held.due <= now).min_by_key(|(_, held)| due(held));
        let (&first, held) = first?;
        let attempts = held.attempts;
        let mut keys = vec![first];
        if attempts == 1 {
            let others = self.keys.iter().filter(|(key, held)| held.due <= now && held.attempts == 1 && **key != first);
            let mut others: Vec<_> = others.map(|(key, held)| (due(held).1, *key)).collect();
            others.sort_unstable();
            keys.extend(others.into_iter().map(|(_, key)| key));
        }
        let (mut records, mut bytes) = (Vec::new(), 0);
        for key in keys {
            let Some(held) = self.keys.get_mut(&key) else { continue };
            while records.len() < limits.records && bytes < limits.bytes {
                let Some(record) = held.records.pop_front() else { break };
                bytes += record.bytes;
                records.push(record);
            }
        }
        if records.is_empty() {
            self.keys.remove(&first);
            return None;
        }
        records.sort_unstable_by_key(|record| record.seq);
        Some(Again { records, attempt: attempts.saturating_add(1) })
    }

    /// Takes records of all keys as they stand in the log.
    fn take_in_order(&mut self, limits: &BatchLimits) -> Option<Again> {
        let (mut records, mut bytes, mut attempts) = (Vec::new(), 0, 0);
        while records.len() < limits.records && bytes < limits.bytes {
            let Some(held) = self.keys.values_mut().min_by_key(|held| held.order()) else { break };
            let Some(record) = held.records.pop_front() else { break };
            attempts = attempts.max(held.attempts);
            bytes += record.bytes;
            records.push(record);
        }
        if records.is_empty() {
            self.keys.clear();
            return None;
        }
        Some(Again { records, attempt: attempts.saturating_add(1) })
    }
}

impl HeldKey {
    /// By its first record; a key without any comes last.
    fn order(&self) -> u64 {
        self.records.front().map_or(u64::MAX, |record| record.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::tracked;

    fn limits() -> BatchLimits {
        BatchLimits { records: 10, bytes: 1 << 20, age: Duration::ZERO }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_failed_once_go_together_in_order() {
        let mut held = Held::default();
        held.put_back(Key::of("a"), vec![tracked(3, "a"), tracked(5, "a")], Duration::from_secs(5));
        held.put_back(Key::of("b"), vec![tracked(4, "b")], Duration::from_secs(5));
        held.push(tracked(9, "a"));
        assert!(held.take_due(&limits()).is_none());
        tokio::time::advance(Duration::from_secs(5)).await;
        let again = held.take_due(&limits()).unwrap();
        assert_eq!(again.records.iter().map(|record| record.seq).collect::<Vec<_>>(), [3, 4, 5, 9]);
        assert_eq!(again.attempt, 2);
        assert!(held.holds(Key::of("a")) && held.holds(Key::of("b")));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_strict_lane_everything_goes_again_in_order_behind_the_first() {
        let mut held = Held::strict();
        held.put_back(Key::of("a"), vec![tracked(3, "a"), tracked(6, "a")], Duration::from_secs(5));
        held.put_back(Key::of("b"), vec![tracked(4, "b"), tracked(5, "b")], Duration::ZERO);
        assert!(held.blocks() && held.take_due(&limits()).is_none());
        assert_eq!(held.next_due(), Some(Instant::now() + Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(5)).await;
        let seqs = |again: Again| again.records.iter().map(|record| record.seq).collect::<Vec<_>>();
        let few = BatchLimits { records: 3, ..limits() };
        assert_eq!(seqs(held.take_due(&few).unwrap()), [3, 4, 5]);
        held.succeeded(Key::of("b"));
        assert_eq!(seqs(held.take_due(&few).unwrap()), [6]);
        held.succeeded(Key::of("a"));
        assert!(!held.blocks());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_failed_again_goes_alone() {
        let mut held = Held::default();
        for key in ["a", "b"] {
            held.put_back(Key::of(key), vec![tracked(u64::from(key.as_bytes()[0]), key)], Duration::ZERO);
        }
        let records = held.take_due(&limits()).unwrap().records;
        for record in records {
            held.put_back(record.key, vec![record.clone()], Duration::ZERO);
        }
        let again = held.take_due(&limits()).unwrap();
        assert_eq!((again.records.len(), again.attempt), (1, 3));
        held.succeeded(again.records[0].key);
        assert!(!held.holds(again.records[0].key) && !held.is_empty());
    }
}
