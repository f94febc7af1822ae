//! Owns the simulated target: what is durable there, and every way in which it answers badly.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Failure, FailureClass};
use forebay_event::Position;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::history::{Fact, History};
use crate::ledger::Ledger;

/// The target that all lanes of a connector deliver to, on all nodes.
#[derive(Debug)]
pub(crate) struct Receiver {
    connector: usize,
    pub(crate) chance: Chance,
    pub(crate) ledger: Arc<Ledger>,
    history: Arc<History>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    down_until: Option<Instant>,
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
    /// The target of a connector.
    pub(crate) fn new(seed: u64, connector: usize, history: Arc<History>) -> Self {
        let ledger = Arc::new(Ledger::new(connector, Arc::clone(&history)));
        let chance = match connector {
            0 => Chance::of(seed, "target"),
            other => Chance::of(seed, &format!("target {other}")),
        };
        Self { connector, chance, ledger, history, state: Mutex::default() }
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

    /// Takes a record.
    pub(crate) fn take(&self, position: Position) {
        self.history.add_of(Some(self.connector), Fact::Applied { position: position.commit() });
    }
}
