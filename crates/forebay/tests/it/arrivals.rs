//! Owns the check of what has arrived: per stream no gap, no disorder, and only such repeats as a crash explains.

use std::collections::BTreeMap;

/// So many problems are told.
const PROBLEMS_MAX: usize = 10;

/// What has arrived, and what was wrong with it.
#[derive(Default)]
pub(crate) struct Arrivals {
    streams: BTreeMap<String, Track>,
    fresh: u64,
    epochs: Vec<u64>,
    repeats: u64,
    problems: Vec<String>,
    last_position: u64,
    rewinds: u64,
}

#[derive(Default)]
struct Track {
    /// How many different revisions have arrived: 0 up to this one.
    length: u64,
    /// The revision that comes next unless there is a repeat.
    next: u64,
}

impl Arrivals {
    /// Counts one delivery. A repeat may go back, and goes on from there; nothing may skip ahead.
    pub(crate) fn arrive(&mut self, stream: &str, revision: u64, position: u64) {
        let track = self.streams.entry(stream.to_owned()).or_default();
        if revision > track.next && self.problems.len() < PROBLEMS_MAX {
            self.problems.push(format!("{stream}@{revision} arrived when {stream}@{} was next", track.next));
        }
        track.next = revision + 1;
        if revision < track.length {
            self.repeats += 1;
        } else {
            track.length = revision + 1;
            self.fresh += 1;
        }
        if position <= self.last_position {
            self.rewinds += 1;
        }
        self.last_position = position;
    }

    /// A crash happened: repeats that follow are counted for it.
    pub(crate) fn crash(&mut self) {
        self.epochs.push(self.repeats);
        self.repeats = 0;
    }

    /// How many different events have arrived.
    pub(crate) fn fresh(&self) -> u64 {
        self.fresh
    }

    /// How many of one stream have arrived.
    pub(crate) fn length(&self, stream: &str) -> u64 {
        self.streams.get(stream).map_or(0, |track| track.length)
    }

    /// The repeats after each crash; the first number is of the time before any.
    pub(crate) fn repeats(&self) -> Vec<u64> {
        let mut repeats = self.epochs.clone();
        repeats.push(self.repeats);
        repeats
    }

    /// How often a delivery came from further back in the log than the one before it.
    pub(crate) fn rewinds(&self) -> u64 {
        self.rewinds
    }

    /// Fails the test when anything was out of order.
    pub(crate) fn assert_in_order(&self) {
        assert!(self.problems.is_empty(), "{}", self.problems.join("\n"));
    }
}

#[test]
fn the_checker_finds_what_it_must() {
    let after = |revisions: &[u64]| {
        let mut arrivals = Arrivals::default();
        (0..).zip(revisions).for_each(|(position, revision)| arrivals.arrive("a", *revision, position + 1));
        arrivals
    };
    assert!(after(&[0, 1, 2, 1, 2, 3]).problems.is_empty());
    assert_eq!(after(&[0, 1, 2, 1, 2, 3]).repeats(), [2]);
    assert_eq!(after(&[0, 1, 2, 1, 2, 3]).fresh(), 4);
    assert_eq!(after(&[0, 2]).problems, ["a@2 arrived when a@1 was next"]);
    assert_eq!(after(&[0, 1, 2, 0, 2]).problems, ["a@2 arrived when a@1 was next"]);
    assert_eq!(after(&[1]).problems.len(), 1);
}
