//! Owns the judgement of a run: what a target saw, held against what should have reached it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A record by its key and its number within the key, both counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Which key.
    pub key: u64,
    /// Which record of the key.
    pub number: u64,
}

/// A request that reached the target whole.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The record that it carried.
    pub id: Id,
    /// Whether the target had taken it when it began to answer.
    pub accepted: bool,
    /// When it was there.
    pub at: Instant,
}

/// What should have happened.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// How many keys there are.
    pub keys: u64,
    /// How many records each key has.
    pub per_key: u64,
    /// How many arrivals there may be beyond one for each record that was taken.
    pub repeats_max: u64,
    /// Whether the connector ran without a restart: then a key never goes back to an earlier record.
    pub is_one_run: bool,
}

/// Everything that is wrong with a run; empty when nothing is.
pub fn violations(arrivals: &[Arrival], parked: &[Id], expected: Expected) -> Vec<String> {
    let mut wrong = in_order(arrivals, expected.is_one_run);
    wrong.extend(parked_tails(parked));
    let accepted: BTreeSet<Id> = arrivals.iter().filter(|arrival| arrival.accepted).map(|arrival| arrival.id).collect();
    let aside: BTreeSet<Id> = parked.iter().copied().collect();
    if aside.len() != parked.len() {
        wrong.push(format!("{} records are parked {} times", aside.len(), parked.len()));
    }
    let all = (0..expected.keys).flat_map(|key| (0..expected.per_key).map(move |number| Id { key, number }));
    for id in all {
        match (accepted.contains(&id), aside.contains(&id)) {
            (false, false) => wrong.push(format!("{id:?} is lost")),
            (true, true) => wrong.push(format!("{id:?} is both taken and parked")),
            _ => {}
        }
    }
    let repeats = (arrivals.len() as u64).saturating_sub(accepted.len() as u64);
    if repeats > expected.repeats_max {
        wrong.push(format!("{repeats} repeats, more than {}", expected.repeats_max));
    }
    wrong
}

/// A record arrives only when every earlier one of its key was taken.
fn in_order(arrivals: &[Arrival], is_one_run: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    let mut highest: BTreeMap<u64, u64> = BTreeMap::new();
    for arrival in arrivals {
        let Id { key, number } = arrival.id;
        let next = taken.entry(key).or_default();
        if number > *next {
            wrong.push(format!("{:?} arrived while {next} was the next of its key", arrival.id));
        }
        if arrival.accepted && number == *next {
            *next += 1;
        }
        let highest = highest.entry(key).or_default();
        if is_one_run && number < *highest {
            wrong.push(format!("{:?} arrived again after {highest}", arrival.id));
        }
        *highest = number.max(*highest);
    }
    wrong
}

/// Parked records of a key follow each other without a gap.
fn parked_tails(parked: &[Id]) -> Vec<String> {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for id in parked {
        if let Some(before) = last.insert(id.key, id.number)
            && id.number != before + 1
        {
            wrong.push(format!("{id:?} is parked behind {before}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_OF_THREE: Expected = Expected { keys: 2, per_key: 3, repeats_max: 0, is_one_run: true };

    fn id(key: u64, number: u64) -> Id {
        Id { key, number }
    }

    fn arrivals(seen: &[(u64, u64, bool)]) -> Vec<Arrival> {
        let at = Instant::now();
        seen.iter().map(|(key, number, accepted)| Arrival { id: id(*key, *number), accepted: *accepted, at }).collect()
    }

    fn first_violation(seen: &[(u64, u64, bool)], parked: &[Id]) -> String {
        violations(&arrivals(seen), parked, TWO_OF_THREE).into_iter().next().unwrap_or_default()
    }

    #[test]
    fn a_run_in_order_passes() {
        let seen = [(0, 0, true), (1, 0, true), (1, 1, true), (0, 1, true), (0, 2, true)];
        assert_eq!(first_violation(&seen, &[id(1, 2)]), "");
    }

    #[test]
    fn each_thing_that_may_go_wrong_is_named() {
        let lost = [(0, 0, true), (1, 0, true), (1, 1, true), (0, 1, true), (0, 2, true)];
        assert!(first_violation(&lost, &[]).contains("number: 2 } is lost"));
        let early = [(0, 0, false), (0, 1, true), (0, 0, true)];
        assert!(first_violation(&early, &[]).contains("arrived while 0 was the next"));
        let back = [(0, 0, true), (0, 1, true), (0, 0, true)];
        assert!(first_violation(&back, &[]).contains("arrived again after 1"));
        let whole = [(0, 0, true), (0, 1, true), (0, 2, true), (1, 0, true), (1, 1, true), (1, 2, true)];
        assert!(first_violation(&whole, &[id(1, 2)]).contains("both taken and parked"));
        assert!(first_violation(&whole[..3], &[id(1, 0), id(1, 2)]).contains("is parked behind 0"));
        let twice = [(0, 0, false), (0, 0, true), (0, 1, true), (0, 2, true)];
        assert!(first_violation(&twice, &[id(1, 0), id(1, 1), id(1, 2)]).contains("1 repeats, more than 0"));
    }
}
