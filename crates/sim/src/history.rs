//! Owns the history of a run: every fact in the order it came about, its hash, and its tail for people to read.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::check::Checker;

/// How many facts are kept for people to read unless they ask for more.
pub(crate) const TAIL_MAX: usize = 60;

/// A life of a node: from its start to its end or crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life {
    /// Which node.
    pub(crate) node: usize,
    /// Counts its starts, from 1.
    pub(crate) number: u32,
}

/// Something that came about, as the world outside the connector sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fact {
    /// An event of a user is durable.
    Written { stream: String, position: u64 },
    /// A checkpoint is durable.
    Checkpoint(StoredCheckpoint),
    /// A run asks the store to keep a checkpoint, once more if the outcome is not known.
    Stores { run: Run, id: u128 },
    /// The run was answered that it is kept.
    Stored { run: Run, id: u128 },
    /// A lease is durable.
    Lease { holder: String, epoch: u64, released: bool },
    /// A record set aside is durable: the position of its event.
    Parked { position: u64, epoch: u64 },
    /// What tells of a record that was left out is durable: the position of its event.
    LeftOut { position: u64, epoch: u64 },
    /// Some other event of the connectors' own is durable.
    Bookkeeping { stream: String, event_type: String, position: u64 },
    /// A life was answered which checkpoint is the last.
    ReadCheckpoint { life: Life, checkpoint: Option<StoredCheckpoint> },
    /// A life was answered what is parked.
    ReadParked { life: Life },
    /// A sink was given records.
    Offered { run: Run, lane: u32, attempt: u32, positions: Vec<u64> },
    /// A record is durable at the target.
    Applied { position: u64 },
    /// An owner has claimed a lane of a transactional target.
    Claimed { lane: u32, epoch: u64 },
    /// A transaction of an owner is durable there.
    Committed { lane: u32, epoch: u64, records: usize },
    /// The sink has told the pipeline that records are delivered.
    Marked { run: Run, positions: Vec<u64> },
    /// A transactional target was asked by an epoch that is over, and refused.
    Refused { epoch: u64 },
    /// A life begins.
    Began { life: Life, drift_ppm: i64 },
    /// A node is up, runs, and reaches the store from now on; or not.
    Able { node: usize, is_able: bool },
    /// A life is asked to end.
    Closing { life: Life },
    /// A life ends where it stands.
    Crashed { life: Life },
    /// A life ends as asked.
    Closed { life: Life },
    /// Something that was done to the world.
    Fault { what: &'static str, node: usize, millis: u64 },
}

/// What a checkpoint says, as the checker reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct StoredCheckpoint {
    /// Everything up to here is settled; none for the beginning.
    pub(crate) mark: Option<u64>,
    /// Above the first, up to and including the second: settled as well.
    pub(crate) ranges: Vec<(u64, u64)>,
    /// Who wrote it.
    pub(crate) epoch: u64,
}

/// A run of a pipeline: a life under an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run {
    /// On which node, in which of its lives.
    pub(crate) life: Life,
    /// The epoch of its lease.
    pub(crate) epoch: u64,
}

/// The history so far.
#[derive(Debug)]
pub(crate) struct History {
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    checker: Checker,
    trace: Trace,
    facts: u64,
    tail: VecDeque<(u64, Fact)>,
    tail_max: usize,
}

impl History {
    /// An empty history, to be judged by a checker; it keeps so many facts for people to read.
    pub(crate) fn new(checker: Checker, tail_max: usize) -> Self {
        let state = State { checker, trace: Trace::new(), facts: 0, tail: VecDeque::new(), tail_max };
        Self { begun: Instant::now(), state: Mutex::new(state) }
    }

    /// Adds a fact.
    pub(crate) fn add(&self, fact: Fact) {
        let at_ms = self.at_ms();
        let mut state = self.state.lock();
        (at_ms, &fact).hash(&mut state.trace);
        state.facts += 1;
        let had = state.checker.violations().len();
        state.checker.take_in(at_ms, &fact);
        if had == 0 || state.tail.len() < state.tail_max {
            if state.tail.len() == state.tail_max {
                state.tail.pop_front();
            }
            state.tail.push_back((at_ms, fact));
        }
    }

    /// How long it is since the beginning, in milliseconds.
    pub(crate) fn at_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks the checker.
    pub(crate) fn checker<T>(&self, ask: impl FnOnce(&mut Checker) -> T) -> T {
        ask(&mut self.state.lock().checker)
    }

    /// The hash of the whole trace.
    pub(crate) fn trace_hash(&self) -> u64 {
        self.state.lock().trace.finish()
    }

    /// How many facts there are.
    pub(crate) fn len(&self) -> u64 {
        self.state.lock().facts
    }

    /// The last facts, up to the one that broke a rule first.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.state.lock().tail.iter().map(|(at_ms, fact)| format!("{at_ms:>9} ms  {fact:?}")).collect()
    }
}

/// FNV-1a over all that is written to it: the same in every build.
#[derive(Debug)]
struct Trace(u64);

impl Trace {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
