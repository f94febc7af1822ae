//! Owns the judgement of what becomes of parked records: a model of the parked stream that shares no code with the product.
//!
//! | rule | what it refuses |
//! | --- | --- |
//! | replay order | a parked record that is tried before an earlier one of its key, or reaches the target behind a later one |
//! | over | a parked record that is tried though the run knows that it was replayed or dropped |
//! | payload | a parked record that is tried with another payload than its last edit, or its event, has |
//! | vanished | a parked record noted as replayed that no sink of that run confirmed, or dropped though nobody asked |
//! | answer | an operator who is told of something that is not durable |
//! | end | a record that is nowhere, a replay that does not end, a node that shows other parked records than there are |
//!
//! That a transactional target has none twice is judged in `check`, with all its other records.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Fact, Life, Ordered, Payload, Run, Told, Tried};

/// What is judged here.
#[derive(Debug)]
pub(crate) struct Replayed {
    one_key: bool,
    wanted: &'static str,
    /// Counts the facts, to tell what a run can know.
    facts: usize,
    /// Counts the events of the parked stream: the next one's number.
    events: u64,
    keys: BTreeMap<u64, String>,
    applied: BTreeSet<u64>,
    left_out: BTreeSet<u64>,
    /// The last record of each key that has reached the target.
    reached: BTreeMap<String, u64>,
    parked: BTreeMap<u64, Parked>,
    /// The numbers of parked records by their position.
    numbers: BTreeMap<u64, u64>,
    confirmed: BTreeSet<(Run, u64)>,
    /// Keys that are ordered to be replayed.
    ordered: BTreeSet<String>,
    parked_read: BTreeMap<Life, usize>,
    asks: BTreeMap<u64, Ask>,
    counts: ReplayCounts,
}

/// A record that was parked.
#[derive(Debug)]
struct Parked {
    position: u64,
    key: String,
    /// What became of it, at which fact and in which epoch.
    over: Option<(Over, usize, u64)>,
    /// Its payloads since: at which fact, in which epoch.
    edits: Vec<(Payload, usize, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Replayed,
    Dropped,
}

/// A command of an operator.
#[derive(Debug)]
struct Ask {
    key: String,
    order: Ordered,
    at: usize,
    /// What was parked of the key then.
    standing: BTreeSet<u64>,
}

/// What happened how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayCounts {
    pub(crate) commands: u64,
    pub(crate) replayed: u64,
    pub(crate) dropped: u64,
    pub(crate) edited: u64,
}

impl Replayed {
    pub(crate) fn new(one_key: bool, wanted: &'static str) -> Self {
        Self {
            one_key,
            wanted,
            facts: 0,
            events: 0,
            keys: BTreeMap::new(),
            applied: BTreeSet::new(),
            left_out: BTreeSet::new(),
            reached: BTreeMap::new(),
            parked: BTreeMap::new(),
            numbers: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            ordered: BTreeSet::new(),
            parked_read: BTreeMap::new(),
            asks: BTreeMap::new(),
            counts: ReplayCounts::default(),
        }
    }

    pub(crate) fn counts(&self) -> ReplayCounts {
        self.counts
    }

    /// Whether what was parked from this position was replayed or dropped since.
    pub(crate) fn is_over(&self, position: u64) -> bool {
        let number = self.numbers.get(&position);
        number.and_then(|number| self.parked.get(number)).is_some_and(|parked| parked.over.is_some())
    }

    /// How many records of each key are parked.
    pub(crate) fn standing(&self) -> BTreeMap<String, u64> {
        let mut standing = BTreeMap::new();
        for parked in self.parked.values().filter(|parked| parked.over.is_none()) {
            *standing.entry(parked.key.clone()).or_default() += 1;
        }
        standing
    }

    /// Keys that are still to be replayed to their end.
    pub(crate) fn replaying(&self) -> Vec<String> {
        self.ordered.iter().filter(|key| self.stands_of(key).next().is_some()).cloned().collect()
    }

    /// Judges the next fact: what is wrong with it.
    pub(crate) fn take_in(&mut self, fact: &Fact) -> Vec<String> {
        self.facts += 1;
        match fact {
            Fact::Written { stream, position } if stream.starts_with(self.wanted) => {
                let key = self.key_of(stream);
                self.keys.insert(*position, key);
                Vec::new()
            }
            Fact::Applied { position } => self.applied(*position).into_iter().collect(),
            Fact::LeftOut { position, .. } => {
                self.left_out.insert(*position);
                Vec::new()
            }
            Fact::ReadParked { life } => {
                self.parked_read.insert(*life, self.facts);
                Vec::new()
            }
            Fact::Tried { run, records, .. } => self.tried(*run, records),
            Fact::Redelivered { run, numbers } => {
                self.confirmed.extend(numbers.iter().map(|number| (*run, *number)));
                Vec::new()
            }
            Fact::Asked { ask, key, order } => {
                let key = self.key_of(key);
                let standing = self.stands_of(&key).map(|(number, _)| *number).collect();
                self.counts.commands += 1;
                self.asks.insert(*ask, Ask { key, order: *order, at: self.facts, standing });
                Vec::new()
            }
            Fact::Answered { ask, answer } => self.answered(*ask, *answer).into_iter().collect(),
            stored => self.stored(stored),
        }
    }

    /// An event of the parked stream is durable: its number is its place there.
    fn stored(&mut self, fact: &Fact) -> Vec<String> {
        let wrong = match fact {
            Fact::Parked { position, .. } => {
                let key = self.keys.get(position).cloned().unwrap_or_default();
                let parked = Parked { position: *position, key, over: None, edits: Vec::new() };
                self.parked.insert(self.events, parked);
                self.numbers.insert(*position, self.events);
                Vec::new()
            }
            Fact::Replayed { numbers, epoch } => self.all_over(numbers, (Over::Replayed, *epoch)),
            Fact::Dropped { numbers, epoch } => self.all_over(numbers, (Over::Dropped, *epoch)),
            Fact::Edited { number, payload, epoch } => self.edited(*number, *payload, *epoch).into_iter().collect(),
            Fact::ReplayBegan { key, .. } => {
                let key = self.key_of(key);
                self.ordered.insert(key);
                Vec::new()
            }
            Fact::ReplayEnded { key, .. } => {
                let key = self.key_of(key);
                self.ordered.remove(&key);
                Vec::new()
            }
            Fact::Bookkeeping { stream, .. } if stream.ends_with("/parked") && !stream.starts_with("$$") => Vec::new(),
            _ => return Vec::new(),
        };
        self.events += 1;
        wrong
    }

    fn key_of(&self, stream: &str) -> String {
        if self.one_key { String::new() } else { stream.to_owned() }
    }

    fn stands_of(&self, key: &str) -> impl Iterator<Item = (&u64, &Parked)> {
        self.parked.iter().filter(move |(_, parked)| parked.over.is_none() && parked.key == key)
    }

    /// Whether a run knows of something that came about at a fact, in an epoch. Of what a later owner does it knows nothing,
    /// whatever the node reads for others meanwhile.
    fn knows(&self, run: Run, (at, epoch): (usize, u64)) -> bool {
        let has_read = || self.parked_read.get(&run.life).is_some_and(|read| at < *read);
        epoch == run.epoch || epoch < run.epoch && has_read()
    }

    fn tried(&self, run: Run, records: &[Tried]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (index, tried) in records.iter().enumerate() {
            let Some(parked) = self.parked.get(&tried.number).filter(|parked| parked.position == tried.position) else {
                wrong.push(format!("vanished: {run:?} tries {tried:?}, which was never parked"));
                continue;
            };
            if let Some((over, at, epoch)) = parked.over
                && self.knows(run, (at, epoch))
            {
                wrong.push(format!("over: {run:?} tries number {}, which it knows to be {over:?}", tried.number));
            }
            let is_with = |position: u64| records.iter().take(index).any(|other| other.position == position);
            let mut earlier = self.stands_of(&parked.key).filter(|(_, other)| other.position < tried.position);
            if let Some((_, other)) = earlier.find(|(_, other)| !is_with(other.position)) {
                wrong.push(format!(
                    "replay order: {run:?} tries the record at {} before the one at {}, parked of the same key",
                    tried.position, other.position
                ));
            }
            let known = parked.edits.iter().rev().find(|(_, at, epoch)| self.knows(run, (*at, *epoch)));
            let wanted = known.map_or_else(|| Payload::of(WRITTEN.as_bytes()), |(payload, ..)| *payload);
            if tried.payload != wanted {
                wrong.push(format!("payload: {run:?} tries {tried:?}, but its payload is {wanted:?}"));
            }
        }
        wrong
    }

    fn applied(&mut self, position: u64) -> Option<String> {
        let key = self.keys.get(&position)?;
        if !self.applied.insert(position) {
            return None;
        }
        let reached = self.reached.entry(key.clone()).or_default();
        let last = std::mem::replace(reached, position.max(*reached));
        // What was given up may still have been on its way.
        let number = self.numbers.get(&position).and_then(|number| self.parked.get(number));
        let is_dropped = number.is_some_and(|parked| matches!(parked.over, Some((Over::Dropped, ..))));
        (position < last && !is_dropped && !self.left_out.contains(&position)).then(|| {
            format!("replay order: the record at {position} reaches the target behind the one at {last} of its key")
        })
    }

    fn all_over(&mut self, numbers: &[u64], (over, epoch): (Over, u64)) -> Vec<String> {
        numbers.iter().filter_map(|number| self.is_now_over(*number, (over, epoch))).collect()
    }

    fn is_now_over(&mut self, number: u64, (over, epoch): (Over, u64)) -> Option<String> {
        let is_confirmed = self.confirmed.iter().any(|(run, known)| run.epoch == epoch && *known == number);
        let was_asked = |position: u64, key: &str| {
            self.left_out.contains(&position)
                || self.asks.values().any(|ask| {
                    let is_it = |only: Option<u64>| only.is_none_or(|only| only == number);
                    matches!(ask.order, Ordered::Drop { number } if is_it(number)) && ask.key == key
                })
        };
        let parked = self.parked.get(&number).filter(|parked| parked.over.is_none());
        let wrong = match parked {
            None => Some(format!("vanished: number {number} is noted as {over:?}, but is not parked")),
            Some(_) if over == Over::Replayed && !is_confirmed => Some(format!(
                "vanished: number {number} is noted as replayed, but no sink confirmed it in epoch {epoch}"
            )),
            Some(parked) if over == Over::Replayed && !self.applied.contains(&parked.position) => {
                Some(format!("vanished: number {number} is noted as replayed, but is not at the target"))
            }
            Some(parked) if over == Over::Dropped && !was_asked(parked.position, &parked.key) => {
                Some(format!("vanished: number {number} is dropped, but nobody asked for it"))
            }
            Some(_) => None,
        };
        let count = if over == Over::Replayed { &mut self.counts.replayed } else { &mut self.counts.dropped };
        *count += 1;
        if let Some(parked) = self.parked.get_mut(&number) {
            parked.over = Some((over, self.facts, epoch));
            let key = parked.key.clone();
            if self.stands_of(&key).next().is_none() {
                self.ordered.remove(&key);
            }
        }
        wrong
    }

    fn edited(&mut self, number: u64, payload: Payload, epoch: u64) -> Option<String> {
        self.counts.edited += 1;
        let was_asked = self.asks.values().any(|ask| ask.order == Ordered::Edit { number, payload });
        let parked = self.parked.get_mut(&number).filter(|parked| parked.over.is_none());
        let Some(parked) = parked else { return Some(format!("vanished: number {number} is edited, but not parked")) };
        parked.edits.push((payload, self.facts, epoch));
        (!was_asked).then(|| format!("payload: number {number} was given {payload:?}, which nobody asked for"))
    }

    /// What an operator is told is durable by then.
    fn answered(&mut self, ask: u64, answer: Told) -> Option<String> {
        let Ask { key, order, at, standing } = self.asks.get(&ask)?;
        let over_as = |number: &u64| self.parked.get(number).and_then(|parked| parked.over);
        let is_true = match (answer, order) {
            (Told::Dropped, Ordered::Drop { number: Some(number) }) => over_as(number).is_some(),
            (Told::Dropped, Ordered::Drop { number: None }) => standing.iter().all(|number| over_as(number).is_some()),
            // A replay may come to a record that its policy leaves out.
            (Told::Dropped, _) => true,
            (Told::Edited, Ordered::Edit { number, payload }) => {
                let edits = self.parked.get(number).map(|parked| parked.edits.as_slice()).unwrap_or_default();
                edits.iter().any(|(known, since, _)| known == payload && since > at)
            }
            (Told::Edited, _) => false,
            (Told::Delivered, _) => {
                let of_key = self.parked.values().filter(|parked| parked.key == *key);
                let mut over = of_key.filter_map(|parked| parked.over);
                over.any(|(over, since, _)| over == Over::Replayed && since > *at)
            }
            (Told::Waiting | Told::Refused | Told::Nothing, _) => true,
        };
        (!is_true).then(|| format!("answer: {order:?} of key {key:?} was answered {answer:?}, which is not so"))
    }

    /// What is wrong at the end: records that are nowhere, and replays that have not ended.
    pub(crate) fn at_rest(&self) -> Vec<String> {
        let is_parked = |position: &u64| self.numbers.contains_key(position);
        let is_there = |position: &u64| {
            let number = self.numbers.get(position);
            let over = number.and_then(|number| self.parked.get(number)).and_then(|parked| parked.over);
            let is_kept = is_parked(position) && !matches!(over, Some((Over::Replayed, ..)));
            self.applied.contains(position) || self.left_out.contains(position) || is_kept
        };
        let lost = self.keys.keys().find(|position| !is_there(position));
        let lost = lost.map(|position| format!("end: the record at {position} is nowhere"));
        let replaying = self.replaying();
        let endless = replaying.first().map(|key| format!("end: the replay of key {key:?} does not end"));
        lost.into_iter().chain(endless).collect()
    }

    /// Compares what a node shows as parked with what is.
    pub(crate) fn shown(&self, node: usize, shown: &BTreeMap<String, u64>) -> Option<String> {
        let shown: BTreeMap<_, _> = shown.iter().map(|(key, records)| (self.key_of(key), *records)).collect();
        let standing = self.standing();
        (shown != standing).then(|| format!("end: node {node} shows {shown:?} as parked, but {standing:?} is"))
    }
}

/// The payload of every event that users write.
pub(crate) const WRITTEN: &str = r#"{"simulated":true}"#;

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { life: Life { node: 0, number: 1 }, epoch: 1 };

    /// Two records of a key, at 1 and 2, are parked as numbers 0 and 1.
    fn parked() -> Replayed {
        let mut model = Replayed::new(false, "order-");
        for position in [1, 2] {
            assert!(model.take_in(&Fact::Written { stream: "order-1".to_owned(), position }).is_empty());
            assert!(model.take_in(&Fact::Parked { position, epoch: 1 }).is_empty());
        }
        model
    }

    fn tried(number: u64, payload: &str) -> Fact {
        let tried = Tried { number, position: number + 1, payload: Payload::of(payload.as_bytes()) };
        Fact::Tried { run: RUN, lane: 0, attempt: 1, records: vec![tried] }
    }

    fn asked(order: Ordered) -> Fact {
        Fact::Asked { ask: 1, key: "order-1".to_owned(), order }
    }

    fn rules(wrong: &[String]) -> Vec<&str> {
        wrong.iter().filter_map(|wrong| wrong.split(':').next()).collect()
    }

    #[test]
    fn a_replay_in_order_is_right_and_ends_empty() {
        let mut model = parked();
        for number in [0, 1] {
            assert_eq!(model.take_in(&tried(number, WRITTEN)), Vec::<String>::new());
            assert!(model.take_in(&Fact::Applied { position: number + 1 }).is_empty());
            assert!(model.take_in(&Fact::Redelivered { run: RUN, numbers: vec![number] }).is_empty());
            assert!(model.take_in(&Fact::Replayed { numbers: vec![number], epoch: 1 }).is_empty());
        }
        assert!(model.at_rest().is_empty() && model.standing().is_empty() && model.is_over(1));
    }

    #[test]
    fn a_later_record_first_is_out_of_order() {
        let mut model = parked();
        assert_eq!(rules(&model.take_in(&tried(1, WRITTEN))), ["replay order"]);
        assert!(model.take_in(&Fact::Applied { position: 2 }).is_empty());
        assert_eq!(rules(&model.take_in(&Fact::Applied { position: 1 })), ["replay order"]);
    }

    #[test]
    fn what_nobody_confirmed_or_asked_for_has_vanished() {
        let mut model = parked();
        assert_eq!(rules(&model.take_in(&Fact::Replayed { numbers: vec![0], epoch: 1 })), ["vanished"]);
        assert_eq!(rules(&model.take_in(&Fact::Dropped { numbers: vec![1], epoch: 1 })), ["vanished"]);
        assert_eq!(rules(&model.at_rest()), ["end"]);
    }

    #[test]
    fn an_edit_changes_what_is_to_be_tried() {
        let mut model = parked();
        let payload = Payload::of(b"new");
        model.take_in(&asked(Ordered::Edit { number: 0, payload }));
        assert_eq!(rules(&model.take_in(&Fact::Answered { ask: 1, answer: Told::Edited })), ["answer"]);
        assert!(model.take_in(&Fact::Edited { number: 0, payload, epoch: 1 }).is_empty());
        assert!(model.take_in(&Fact::Answered { ask: 1, answer: Told::Edited }).is_empty());
        assert!(model.take_in(&tried(0, "new")).is_empty());
        assert_eq!(rules(&model.take_in(&tried(0, WRITTEN))), ["payload"]);
    }

    #[test]
    fn a_dropped_record_is_not_tried_again() {
        let mut model = parked();
        model.take_in(&asked(Ordered::Drop { number: Some(0) }));
        assert!(model.take_in(&Fact::Dropped { numbers: vec![0], epoch: 1 }).is_empty());
        assert!(model.take_in(&Fact::Answered { ask: 1, answer: Told::Dropped }).is_empty());
        assert_eq!(rules(&model.take_in(&tried(0, WRITTEN))), ["over"]);
        assert!(model.take_in(&tried(1, WRITTEN)).is_empty());
        assert_eq!(model.shown(0, &BTreeMap::from([("order-1".to_owned(), 1)])), None);
        assert!(model.shown(0, &BTreeMap::new()).is_some());
    }
}
