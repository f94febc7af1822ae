//! Owns the check that a history is linearizable: that every operation can have taken effect at one moment between its
//! invocation and its return, so that all answers are those of one register with compare-and-set.
//!
//! It searches for an order, as Wing and Gong did, and remembers where it has been, as Lowe added. Two things keep the
//! search short, and lose nothing. An operation that changes nothing and whose answer fits takes effect as soon as it
//! may. An operation whose outcome nobody heard of is tried only where it would change the register; otherwise it may as
//! well come last.

use std::collections::{BTreeMap, HashSet};

use crate::operations::{Call, End, Expected, Operation, PutAnswer};

/// So many choices are tried before the question is left open.
const CHOICES_MAX: usize = 1_000_000;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none: the operations that nothing can explain, of the order that got furthest.
    Impossible(String),
    /// The search was given up.
    Undecided,
}

/// Judges the operations on one register, given in the order of their invocation.
pub(crate) fn judge(operations: &[Operation]) -> Verdict {
    Search::new(operations).run()
}

struct Search<'a> {
    operations: &'a [Operation],
    /// Operations that nobody heard of and that may put a value, by the length at which they can.
    unheard: BTreeMap<u64, Vec<usize>>,
    unheard_anywhere: Vec<usize>,
    is_done: Vec<bool>,
    /// Everything before it is done or nobody heard of it.
    low: usize,
    /// The values of the register, in their order.
    values: Vec<u128>,
    /// What was done, in order.
    done: Vec<usize>,
    /// The hash of what is done and of the values: the order in which it was done plays no part.
    mark: u64,
    been: HashSet<(u64, usize)>,
    furthest: (usize, usize),
}

/// A place in the search where one of several operations comes next.
struct Choice {
    done: usize,
    values: usize,
    low: usize,
    mark: u64,
    left: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let mut unheard: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut unheard_anywhere = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            match operation.call {
                Call::Put { expected: Expected::Length(length), answer: None, .. } => {
                    unheard.entry(length).or_default().push(index);
                }
                Call::Put { answer: None, .. } => unheard_anywhere.push(index),
                _ => {}
            }
        }
        Self {
            operations,
            unheard,
            unheard_anywhere,
            is_done: vec![false; operations.len()],
            low: 0,
            values: Vec::new(),
            done: Vec::new(),
            mark: 0,
            been: HashSet::new(),
            furthest: (0, 0),
        }
    }

    fn run(mut self) -> Verdict {
        let mut choices: Vec<Choice> = Vec::new();
        for _ in 0..CHOICES_MAX {
            self.do_what_changes_nothing();
            if self.low == self.operations.len() {
                return Verdict::Linearizable;
            }
            self.furthest = self.furthest.max((self.done.len(), self.low));
            if self.been.insert((self.mark, self.values.len())) {
                let left = self.next_ones();
                let Self { done, values, low, mark, .. } = &self;
                choices.push(Choice { done: done.len(), values: values.len(), low: *low, mark: *mark, left });
            }
            let next = loop {
                let Some(choice) = choices.last_mut() else { return Verdict::Impossible(self.stuck()) };
                if let Some(next) = choice.left.pop() {
                    let (done, values, low, mark) = (choice.done, choice.values, choice.low, choice.mark);
                    self.go_back(done, values);
                    (self.low, self.mark) = (low, mark);
                    break next;
                }
                choices.pop();
            };
            self.put(next);
        }
        Verdict::Undecided
    }

    fn go_back(&mut self, done: usize, values: usize) {
        for index in self.done.drain(done..) {
            if let Some(is_done) = self.is_done.get_mut(index) {
                *is_done = false;
            }
        }
        self.values.truncate(values);
    }

    /// Operations that may be next: invoked before the first return of one that is not done.
    fn window(&self) -> impl Iterator<Item = usize> + '_ {
        let bound = self.bound();
        let rest = self.operations.iter().enumerate().skip(self.low);
        rest.take_while(move |(_, operation)| operation.invoked.tick < bound)
            .map(|(index, _)| index)
            .filter(|index| !self.is_done(*index))
    }

    /// The first return of an operation that is not done.
    fn bound(&self) -> u64 {
        let mut bound = u64::MAX;
        for (index, operation) in self.operations.iter().enumerate().skip(self.low) {
            if operation.invoked.tick > bound {
                break;
            }
            if let (Some(returned), false) = (operation.returned, self.is_done(index)) {
                bound = bound.min(returned.tick);
            }
        }
        bound
    }

    fn is_done(&self, index: usize) -> bool {
        self.is_done.get(index).copied().unwrap_or(true)
    }

    fn do_what_changes_nothing(&mut self) {
        loop {
            self.advance();
            let found: Vec<usize> = self.window().filter(|index| self.fits_without_change(*index)).collect();
            if found.is_empty() {
                return;
            }
            found.into_iter().for_each(|index| self.mark_done(index));
        }
    }

    fn advance(&mut self) {
        let passes = |(index, operation): (usize, &Operation)| operation.returned.is_none() || self.is_done(index);
        let rest = self.operations.iter().enumerate().skip(self.low);
        self.low += rest.take_while(|(index, operation)| passes((*index, operation))).count();
    }

    fn fits_without_change(&self, index: usize) -> bool {
        let length = self.values.len() as u64;
        match self.operations.get(index).map(|operation| &operation.call) {
            Some(Call::Look { answer: Some(answer) }) => {
                let end = self.values.last().map(|value| End { revision: length - 1, value: *value });
                *answer == end
            }
            Some(Call::Put { expected, value, answer: Some(answer) }) => match answer {
                PutAnswer::Refused(there) => *there == length && !holds(*expected, length) && self.at(*value).is_none(),
                PutAnswer::Stored(revision) => self.at(*value) == Some(*revision),
            },
            _ => false,
        }
    }

    /// Operations that may be next and would change the register, with an answer that fits.
    fn next_ones(&self) -> Vec<usize> {
        let (length, bound) = (self.values.len() as u64, self.bound());
        let unheard = self.unheard.get(&length).into_iter().flatten().chain(&self.unheard_anywhere).copied();
        let unheard = unheard
            .filter(|index| self.operations.get(*index).is_some_and(|operation| operation.invoked.tick < bound))
            .filter(|index| !self.is_done(*index));
        let heard = self.window().filter(|index| {
            self.operations.get(*index).is_some_and(|operation| {
                matches!(operation.call, Call::Put { answer: Some(PutAnswer::Stored(revision)), .. } if revision == length)
            })
        });
        // The last is tried first: what somebody heard of is the likelier one.
        unheard.chain(heard).filter(|index| self.may_put(*index)).collect()
    }

    fn may_put(&self, index: usize) -> bool {
        match self.operations.get(index).map(|operation| &operation.call) {
            Some(Call::Put { expected, value, .. }) => {
                holds(*expected, self.values.len() as u64) && self.at(*value).is_none()
            }
            _ => false,
        }
    }

    fn put(&mut self, index: usize) {
        if let Some(Call::Put { value, .. }) = self.operations.get(index).map(|operation| &operation.call) {
            self.values.push(*value);
            self.mark_done(index);
            // A value that came about otherwise is another state.
            self.mark ^= spread(index as u64 ^ (self.values.len() as u64) << 32);
        }
    }

    fn mark_done(&mut self, index: usize) {
        if let Some(is_done) = self.is_done.get_mut(index) {
            *is_done = true;
            self.done.push(index);
            self.mark ^= spread(index as u64 ^ 1 << 63);
        }
    }

    fn at(&self, value: u128) -> Option<u64> {
        self.values.iter().rposition(|known| *known == value).map(|index| index as u64)
    }

    /// The operations that were waited for where the search got furthest.
    fn stuck(&self) -> String {
        let rest = self.operations.iter().skip(self.furthest.1).filter(|operation| operation.returned.is_some());
        let tell = |operation: &Operation| {
            let Operation { node, invoked, returned, call, .. } = operation;
            let returned_ms = returned.map_or(invoked.at_ms, |returned| returned.at_ms);
            format!("node {node}, {} to {returned_ms} ms: {call:?}", invoked.at_ms)
        };
        let told: Vec<_> = rest.take(3).map(tell).collect();
        format!("{} operations in, nothing explains {}", self.furthest.0, told.join("; "))
    }
}

fn holds(expected: Expected, length: u64) -> bool {
    match expected {
        Expected::Anything => true,
        Expected::Something => length > 0,
        Expected::Length(wanted) => wanted == length,
    }
}

fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::{Moment, Register};

    fn operation(invoked: u64, returned: Option<u64>, call: Call) -> Operation {
        let moment = |tick| Moment { tick, at_ms: tick };
        Operation { register: Register::Lease, node: 0, invoked: moment(invoked), returned: returned.map(moment), call }
    }

    fn put(at: (u64, Option<u64>), length: u64, value: u128, answer: Option<PutAnswer>) -> Operation {
        operation(at.0, at.1, Call::Put { expected: Expected::Length(length), value, answer })
    }

    fn look(at: (u64, u64), answer: Option<(u64, u128)>) -> Operation {
        let answer = Some(answer.map(|(revision, value)| End { revision, value }));
        operation(at.0, Some(at.1), Call::Look { answer })
    }

    const STORED_0: Option<PutAnswer> = Some(PutAnswer::Stored(0));
    const STORED_1: Option<PutAnswer> = Some(PutAnswer::Stored(1));

    #[test]
    fn one_after_the_other_is_linearizable() {
        let history = [
            look((1, 2), None),
            put((3, Some(4)), 0, 7, STORED_0),
            look((5, 6), Some((0, 7))),
            put((7, Some(8)), 0, 8, Some(PutAnswer::Refused(1))),
            put((9, Some(10)), 0, 7, STORED_0),
        ];
        assert_eq!(judge(&history), Verdict::Linearizable);
    }

    #[test]
    fn two_that_both_win_are_impossible() {
        let history = [put((1, Some(4)), 0, 7, STORED_0), put((2, Some(3)), 0, 8, STORED_0)];
        assert!(matches!(judge(&history), Verdict::Impossible(_)));
    }

    #[test]
    fn a_stale_answer_is_impossible() {
        let put = put((1, Some(2)), 0, 7, STORED_0);
        assert!(matches!(judge(&[put.clone(), look((3, 4), None)]), Verdict::Impossible(_)));
        let together = look((1, 4), None);
        assert_eq!(judge(&[together, put]), Verdict::Linearizable);
    }

    #[test]
    fn what_nobody_heard_of_may_have_come_about_late_or_never() {
        let unheard = put((1, None), 0, 7, None);
        assert_eq!(judge(&[unheard.clone(), look((2, 3), None), look((4, 5), Some((0, 7)))]), Verdict::Linearizable);
        assert_eq!(judge(&[unheard.clone(), put((2, Some(3)), 0, 8, STORED_0)]), Verdict::Linearizable);
        let came_and_went = [unheard, look((2, 3), Some((0, 7))), look((4, 5), None)];
        assert!(matches!(judge(&came_and_went), Verdict::Impossible(_)));
    }

    #[test]
    fn the_right_one_of_many_that_nobody_heard_of_is_found() {
        let mut history: Vec<_> = (0..200).map(|value| put((value + 1, None), 0, u128::from(value), None)).collect();
        history.push(put((300, Some(301)), 1, 999, STORED_1));
        history.push(look((302, 303), Some((1, 999))));
        history.push(put((304, Some(305)), 0, 77, STORED_0));
        assert_eq!(judge(&history), Verdict::Linearizable);
        history.push(put((306, Some(307)), 0, 78, STORED_0));
        assert!(matches!(judge(&history), Verdict::Impossible(_)));
    }

    #[test]
    fn a_lost_value_is_impossible() {
        let history = [
            put((1, Some(2)), 0, 7, STORED_0),
            put((3, Some(4)), 0, 8, Some(PutAnswer::Refused(2))),
            look((5, 6), Some((0, 7))),
        ];
        assert!(matches!(judge(&history), Verdict::Impossible(_)));
    }
}
