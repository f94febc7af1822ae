//! Owns the simulated target: what is durable there, and every way in which it answers badly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Batch, Failure, FailureClass};
use forebay_event::{Position, RecordedEvent};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::history::{Fact, History};

/// The target that all lanes of all nodes deliver to.
#[derive(Debug)]
pub(crate) struct Receiver {
    seed: u64,
    pub(crate) chance: Chance,
    history: Arc<History>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    down_until: Option<Instant>,
    /// For each lane of a transactional target: epoch and position, stored with the data.
    rows: BTreeMap<u32, Row>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    epoch: u64,
    position: u64,
}

/// How an attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Everything is taken and confirmed.
    Kind,
    /// Nothing is taken.
    Refuses,
    /// The first so many are taken and confirmed, the rest is not.
    Breaks(usize),
    /// Records of some keys are not taken, all others are; keys whose number leaves this remainder.
    Picks(u64),
    /// So many are taken, but the answer is lost.
    AnswerLost(usize),
    /// So many are taken, those are confirmed if it says so, and then nothing comes for ever.
    Hangs(usize, bool),
    /// It is taken as a whole, but long after the answer that it was not.
    Late,
    /// It says that a person must act.
    Stops,
}

impl Receiver {
    pub(crate) fn new(seed: u64, history: Arc<History>) -> Self {
        Self { seed, chance: Chance::of(seed, "target"), history, state: Mutex::default() }
    }

    /// Takes nothing until then.
    pub(crate) fn go_down(&self, until: Instant) {
        self.state.lock().down_until = Some(until);
    }

    /// Whether it answers at all.
    pub(crate) fn is_down(&self) -> bool {
        self.state.lock().down_until.is_some_and(|until| until > Instant::now())
    }

    /// How the next attempt at so many records goes.
    pub(crate) fn mood(&self, records: usize, (trouble, stop): (u64, u64)) -> Mood {
        if self.is_down() {
            return Mood::Refuses;
        }
        if self.chance.hits(stop) {
            return Mood::Stops;
        }
        if !self.chance.hits(trouble) {
            return Mood::Kind;
        }
        let part = self.chance.size(0, records);
        match self.chance.between(0, 7) {
            0 | 1 => Mood::Refuses,
            2 => Mood::Breaks(part),
            3 => Mood::Picks(self.chance.between(0, 2)),
            4 => Mood::AnswerLost(part),
            5 => Mood::Hangs(part, true),
            6 => Mood::Hangs(part, false),
            _ => Mood::Late,
        }
    }

    /// A failure that may pass, of any class, sometimes with a time to wait.
    pub(crate) fn failure(&self) -> Failure {
        let (class, reason) = match self.chance.between(0, 4) {
            0 => (FailureClass::Connect, "refused by the simulated target"),
            1 => (FailureClass::Timeout, "the simulated target is slow"),
            2 => (FailureClass::Status(429), "the simulated target is busy"),
            3 => (FailureClass::Local, "the simulated disk is full"),
            _ => (FailureClass::Status(503), "the simulated target is not ready"),
        };
        let failure = Failure::retry(class, reason);
        match self.chance.between(0, 9) {
            0 => failure.after(self.chance.millis(0, 3_000)),
            1 => failure.after(Duration::from_secs(86_400 * 365)),
            _ => failure,
        }
    }

    /// Whether it never takes this record.
    pub(crate) fn never_takes(&self, event: &RecordedEvent, permille: u64) -> bool {
        Chance::of(self.seed ^ event.position().commit(), "refused").hits(permille)
    }

    /// Takes a record.
    pub(crate) fn take(&self, position: Position) {
        self.history.add(Fact::Applied { position: position.commit() });
    }

    /// Where a lane stands, according to the target.
    pub(crate) fn standing(&self, lane: u32) -> Option<Position> {
        self.state.lock().rows.get(&lane).map(|row| Position::new(row.position))
    }

    /// Takes the first so many records of a batch in one transaction with the lane's position, those that it has left out;
    /// refuses an epoch that is over.
    pub(crate) fn transact(&self, batch: &Batch, count: usize) -> Result<(), Failure> {
        let mut state = self.state.lock();
        let newest = state.rows.values().map(|row| row.epoch).max().unwrap_or_default();
        let epoch = batch.epoch().0;
        if epoch < newest {
            drop(state);
            self.history.add(Fact::Refused { epoch });
            return Err(Failure::stop(FailureClass::Unauthorised, "a newer owner has written"));
        }
        let row = state.rows.entry(batch.lane().0).or_default();
        row.epoch = epoch;
        let mut taken = Vec::new();
        for record in batch.records().iter().take(count) {
            let position = record.event().position();
            if position.commit() > row.position {
                row.position = position.commit();
                taken.push(position);
            }
        }
        drop(state);
        taken.into_iter().for_each(|position| self.take(position));
        Ok(())
    }
}
