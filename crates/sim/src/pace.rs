//! Owns the judgement of amounts: what passes per second, and how much a new run repeats.
//!
//! | rule | what it refuses |
//! | --- | --- |
//! | rate | more records offered, in any stretch of time, than the rate and its burst allow |
//! | bound | a run that repeats more of what was confirmed before it than a checkpoint may lag behind |

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Fact, Run};

/// What is confirmed in so many milliseconds before an owner's end may be missing in its last checkpoint, beyond what was
/// not due yet: the gap between two checkpoints, and the time that writing one takes.
const WRITING_MS: u64 = 500;

/// The bounds that a run is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Records per second, and the milliseconds whose allowance may be used at once.
    pub(crate) rate: Option<(u64, u64)>,
    /// Records settled until a checkpoint is due.
    pub(crate) threshold: u64,
    /// Records on their way at once.
    pub(crate) in_flight_max: u64,
    /// Repeats are held to a bound: no owner goes on for long without reaching the store.
    pub(crate) repeats_are_bound: bool,
}

/// What is judged here.
#[derive(Debug)]
pub(crate) struct Pace {
    bounds: Bounds,
    runs: BTreeMap<Run, Meter>,
    /// Records that a sink has confirmed, in any run, and when it did first.
    confirmed: BTreeMap<u64, u64>,
    /// When the last was confirmed.
    confirmed_ms: u64,
    repeats_most: u64,
}

#[derive(Debug, Default)]
struct Meter {
    /// What may still be offered, in thousandths of a record.
    left_milli: i64,
    at_ms: u64,
    confirmed: BTreeSet<u64>,
    repeated: BTreeSet<u64>,
    /// What was confirmed before it, early enough to be in a checkpoint.
    early_until_ms: u64,
    is_told: bool,
}

impl Pace {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, runs: BTreeMap::new(), confirmed: BTreeMap::new(), confirmed_ms: 0, repeats_most: 0 }
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
                for position in positions {
                    self.confirmed.entry(*position).or_insert(at_ms);
                }
                self.confirmed_ms = at_ms;
                self.runs.entry(*run).or_default().confirmed.extend(positions);
                None
            }
            _ => None,
        }
    }

    fn offered(&mut self, at_ms: u64, run: Run, positions: &[u64]) -> Option<String> {
        let Bounds { rate, threshold, in_flight_max, repeats_are_bound } = self.bounds;
        let early_until_ms = self.confirmed_ms.saturating_sub(WRITING_MS);
        let meter = self.runs.entry(run).or_insert_with(|| Meter {
            left_milli: i64::MAX,
            at_ms,
            early_until_ms,
            ..Meter::default()
        });
        let is_early = |at: &u64| self.confirmed.get(at).is_some_and(|since| *since <= meter.early_until_ms);
        let repeats = positions.iter().filter(|at| is_early(at) && !meter.confirmed.contains(at));
        let repeats: Vec<u64> = repeats.copied().collect();
        meter.repeated.extend(repeats);
        let repeated = meter.repeated.len() as u64;
        let repeats_max = threshold + 2 * in_flight_max;
        self.repeats_most = self.repeats_most.max(repeated);
        if repeats_are_bound && repeated > repeats_max && !meter.is_told {
            meter.is_told = true;
            return Some(format!(
                "bound: {run:?} repeats {repeated} records that were confirmed long before it, of {repeats_max} at most"
            ));
        }
        let (per_second, burst_ms) = rate?;
        // What was drawn may have waited for a lane's turn, so as much as can be in flight may come on top at once.
        let room_milli = signed(per_second * burst_ms + 1000 * (1 + in_flight_max));
        let gained = signed(per_second.saturating_mul(at_ms.saturating_sub(meter.at_ms) + 1));
        let left = meter.left_milli.saturating_add(gained).min(room_milli) - 1000 * signed(positions.len() as u64);
        (meter.left_milli, meter.at_ms) = (left, at_ms);
        (left < 0).then(|| format!("rate: {run:?} offers more than {per_second} records per second and their burst"))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
