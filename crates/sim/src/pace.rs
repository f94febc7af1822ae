//! Owns the judgement of amounts: what passes per second, and how much a crash would repeat at any moment.
//!
//! | rule | what it refuses |
//! | --- | --- |
//! | rate | more records offered, in any stretch of time, than the rate and its burst allow |
//! | bound | a moment at which more confirmed records are in no checkpoint than the threshold and the gap allow |
//!
//! The bound follows from how checkpoints are promised to be written. One is due as soon as `threshold` records are settled
//! since the last one was begun; two are begun at least [`GAP_MS`] apart; one is written at a time, with all that is settled
//! when it is begun. A restart repeats what is settled and in no durable checkpoint, and what is in flight.
//!
//! ```text
//!            begun       answered   begun + gap        begun next          now
//!  ────────────┼────────────┼────────────┼─────────────────┼────────────────┼──▶
//!   in it      ┊ settled meanwhile, however much           ┊                ┊
//!              ┊                         ┊ fewer than the  ┊ settled while  ┊
//!              ┊                         ┊ threshold,      ┊ the next one   ┊
//!              ┊                         ┊ counted from    ┊ is stored      ┊
//!              ┊                         ┊ "begun" on      ┊                ┊
//! ```
//!
//! Let the last durable checkpoint of a run be begun at `b`, answered at `a`, and let `w` be the later of `a` and `b` + gap.
//! - Up to `w` none may be begun, so all that was settled behind `b` may be missing: n(b, w].
//! - Behind `w` the next one is begun as soon as the threshold is reached. While it is not, fewer than the threshold are
//!   missing, unless nothing was settled behind `w`: at most max(threshold − 1, n(b, w]).
//! - Once the next one is begun, what is settled from then on is missing too, until it is durable: n[next, now].
//! - What a sink has confirmed is settled when the run has taken note of it, which takes no simulated time but lies in some
//!   order within one instant. So what was confirmed in the instant of `b` may be missing, and what is confirmed now, being
//!   in flight: n{b} and n{now}.
//!
//! Together, at any moment: missing ≤ n{b} + max(threshold − 1, n(b, w]) + n[next, now], or n{now} when there is no next one.
//! Beside it a restart repeats what the target has and has not confirmed: what is in flight. That is not judged here.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::covers;
use crate::history::{Fact, Run, StoredCheckpoint};

/// Two checkpoints are begun at least so far apart, but for those that are due for another reason than the threshold.
const GAP_MS: u64 = 50;

/// The bounds that a run is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Records per second, and the milliseconds whose allowance may be used at once.
    pub(crate) rate: Option<(u64, u64)>,
    /// Records settled until a checkpoint is due.
    pub(crate) threshold: u64,
    /// Records on their way at once.
    pub(crate) in_flight_max: u64,
}

/// What is judged here.
#[derive(Debug)]
pub(crate) struct Pace {
    bounds: Bounds,
    runs: BTreeMap<Run, Meter>,
    /// The last durable checkpoint.
    checkpoint: StoredCheckpoint,
    /// Records that a sink has confirmed, in any run.
    confirmed: BTreeSet<u64>,
    repeats_most: u64,
}

#[derive(Debug)]
struct Meter {
    /// What may still be offered, in thousandths of a record.
    left_milli: i64,
    at_ms: u64,
    /// What was confirmed when, in order.
    confirmed: Vec<(u64, u64)>,
    /// Offered, though confirmed in an earlier run.
    repeated: BTreeSet<u64>,
    /// The checkpoints that it has begun, in order.
    writes: Vec<Write>,
    /// How many of them are durable: always the first ones.
    durable: usize,
    is_told: bool,
}

/// A checkpoint of a run.
#[derive(Clone, Copy, Debug)]
struct Write {
    id: u128,
    begun_ms: u64,
    answered_ms: Option<u64>,
}

impl Pace {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            runs: BTreeMap::new(),
            checkpoint: StoredCheckpoint::default(),
            confirmed: BTreeSet::new(),
            repeats_most: 0,
        }
    }

    /// The most that a run repeated of what was confirmed before it.
    pub(crate) fn repeats_most(&self) -> u64 {
        self.repeats_most
    }

    /// Judges the next fact: what is wrong with it.
    pub(crate) fn take_in(&mut self, at_ms: u64, fact: &Fact) -> Option<String> {
        match fact {
            Fact::Offered { run, positions, .. } => self.offered(at_ms, *run, positions),
            Fact::Marked { run, positions } => {
                self.confirmed.extend(positions);
                let meter = self.runs.entry(*run).or_default();
                meter.confirmed.extend(positions.iter().map(|position| (at_ms, *position)));
                self.bound(at_ms, *run)
            }
            Fact::Stores { run, id } => {
                let writes = &mut self.runs.entry(*run).or_default().writes;
                // The same one again, as its outcome is not known.
                if writes.last().is_none_or(|last| last.id != *id) {
                    writes.push(Write { id: *id, begun_ms: at_ms, answered_ms: None });
                }
                None
            }
            Fact::Stored { run, id } => {
                let writes = &mut self.runs.entry(*run).or_default().writes;
                if let Some(write) = writes.iter_mut().find(|write| write.id == *id) {
                    write.answered_ms.get_or_insert(at_ms);
                }
                None
            }
            Fact::Checkpoint(checkpoint) => {
                if let Some((_, meter)) = self.runs.iter_mut().find(|(run, _)| run.epoch == checkpoint.epoch) {
                    meter.durable += 1;
                }
                self.checkpoint = checkpoint.clone();
                None
            }
            _ => None,
        }
    }

    /// Whether more is missing in the last checkpoint than may be.
    fn bound(&mut self, now_ms: u64, run: Run) -> Option<String> {
        let (threshold, checkpoint) = (self.bounds.threshold, &self.checkpoint);
        let meter = self.runs.get_mut(&run)?;
        // What an owner of the past still delivers is no longer for its checkpoints to cover.
        if checkpoint.epoch > run.epoch || meter.is_told {
            return None;
        }
        // Until its first one is durable, all that it delivers is settled while that one is stored.
        let last = meter.durable.checked_sub(1).and_then(|last| meter.writes.get(last))?;
        let next = meter.writes.get(meter.durable);
        let count = |from_ms: u64, to_ms: u64| {
            meter.confirmed.iter().filter(|(at_ms, _)| (from_ms..=to_ms).contains(at_ms)).count() as u64
        };
        let until_ms = last.answered_ms.unwrap_or(now_ms).max(last.begun_ms + GAP_MS);
        let at_once = count(last.begun_ms, last.begun_ms);
        let due = count(last.begun_ms + 1, until_ms).max(threshold.saturating_sub(1));
        let on_the_way = count(next.map_or(now_ms, |next| next.begun_ms), now_ms);
        let missing_max = at_once + due + on_the_way;
        let missing = meter.confirmed.iter().filter(|(_, position)| !covers(checkpoint, *position)).count() as u64;
        meter.is_told = missing > missing_max;
        meter.is_told.then(|| {
            format!(
                "bound: {missing} records that {run:?} has delivered are in no checkpoint, {missing_max} at most may be: \
                 {at_once} when the last one was begun, {due} until the next one was due, {on_the_way} since"
            )
        })
    }

    fn offered(&mut self, at_ms: u64, run: Run, positions: &[u64]) -> Option<String> {
        let Bounds { rate, in_flight_max, .. } = self.bounds;
        let meter = self.runs.entry(run).or_default();
        let is_own = |position: &u64| meter.confirmed.iter().any(|(_, own)| own == position);
        let repeats = positions.iter().filter(|position| self.confirmed.contains(position) && !is_own(position));
        meter.repeated.extend(repeats.copied().collect::<Vec<_>>());
        self.repeats_most = self.repeats_most.max(meter.repeated.len() as u64);
        let (per_second, burst_ms) = rate?;
        // What was drawn may have waited for a lane's turn, so as much as can be in flight may come on top at once.
        let room_milli = signed(per_second * burst_ms + 1000 * (1 + in_flight_max));
        let gained = signed(per_second.saturating_mul(at_ms.saturating_sub(meter.at_ms) + 1));
        let left = meter.left_milli.saturating_add(gained).min(room_milli) - 1000 * signed(positions.len() as u64);
        (meter.left_milli, meter.at_ms) = (left, at_ms);
        (left < 0).then(|| format!("rate: {run:?} offers more than {per_second} records per second and their burst"))
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            left_milli: i64::MAX,
            at_ms: 0,
            confirmed: Vec::new(),
            repeated: BTreeSet::new(),
            writes: Vec::new(),
            durable: 0,
            is_told: false,
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Life;

    const RUN: Run = Run { life: Life { node: 0, number: 1 }, epoch: 1 };

    fn pace() -> Pace {
        Pace::new(Bounds { rate: None, threshold: 10, in_flight_max: 4 })
    }

    /// A checkpoint up to this position is begun, durable and answered at these times.
    fn store(pace: &mut Pace, upto: u64, (begun, durable, answered): (u64, u64, Option<u64>)) {
        let id = u128::from(begun);
        let checkpoint = StoredCheckpoint { mark: Some(upto), ranges: Vec::new(), epoch: 1 };
        pace.take_in(begun, &Fact::Stores { run: RUN, id });
        pace.take_in(durable, &Fact::Checkpoint(checkpoint));
        if let Some(answered) = answered {
            pace.take_in(answered, &Fact::Stored { run: RUN, id });
        }
    }

    /// Confirms positions one by one, one in a millisecond; answers at which one too many are missing.
    fn confirm(pace: &mut Pace, positions: std::ops::RangeInclusive<u64>, mut at_ms: u64) -> Option<u64> {
        positions.into_iter().find(|position| {
            at_ms += 1;
            pace.take_in(at_ms, &Fact::Marked { run: RUN, positions: vec![*position] }).is_some()
        })
    }

    #[test]
    fn behind_the_gap_fewer_than_the_threshold_and_what_is_in_flight_may_be_missing() {
        let mut pace = pace();
        store(&mut pace, 0, (0, 5, Some(5)));
        assert_eq!(confirm(&mut pace, 1..=5, 100), None);
        assert_eq!(confirm(&mut pace, 6..=30, 200), Some(11), "nine, and the one that makes it due");
    }

    #[test]
    fn what_the_gap_and_a_slow_store_let_pass_may_be_missing() {
        let mut first = pace();
        store(&mut first, 0, (100, 105, Some(105)));
        assert_eq!(confirm(&mut first, 1..=200, 100), Some(52), "fifty within the gap, and one");
        let mut slow = pace();
        store(&mut slow, 0, (100, 150, Some(400)));
        assert_eq!(confirm(&mut slow, 1..=400, 100), Some(302));
        let mut unanswered = pace();
        store(&mut unanswered, 0, (100, 150, None));
        assert_eq!(confirm(&mut unanswered, 1..=400, 100), None);
    }

    #[test]
    fn what_is_settled_while_the_next_one_is_stored_may_be_missing_and_what_came_before_may_not() {
        let mut pace = pace();
        store(&mut pace, 0, (0, 5, Some(5)));
        assert_eq!(confirm(&mut pace, 1..=10, 100), None);
        pace.take_in(110, &Fact::Stores { run: RUN, id: 7 });
        assert_eq!(confirm(&mut pace, 11..=90, 110), None);
        // It covers less than was settled when it was begun.
        pace.take_in(200, &Fact::Checkpoint(StoredCheckpoint { mark: Some(5), ranges: Vec::new(), epoch: 1 }));
        pace.take_in(200, &Fact::Stored { run: RUN, id: 7 });
        assert_eq!(confirm(&mut pace, 91..=95, 300), Some(91));
    }
}
