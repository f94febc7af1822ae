//! Owns the history of a run: every fact in the order it came about, its hash, and its tail for people to read.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::check::Checker;
use crate::scenario::connector_id;
use crate::spread::Spread;

/// How many facts are kept for people to read.
const TAIL_MAX: usize = 60;

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
    /// A sink was given parked records.
    Tried { run: Run, lane: u32, attempt: u32, records: Vec<Tried> },
    /// The sink has told the pipeline that parked records are delivered: their numbers.
    Redelivered { run: Run, numbers: Vec<u64> },
    /// That parked records were delivered is durable.
    Replayed { numbers: Vec<u64>, epoch: u64 },
    /// That parked records are given up is durable.
    Dropped { numbers: Vec<u64>, epoch: u64 },
    /// That a parked record has another payload is durable.
    Edited { number: u64, payload: Payload, epoch: u64 },
    /// The order to replay a key to its end is durable.
    ReplayBegan { key: String, epoch: u64 },
    /// The end of that order is durable.
    ReplayEnded { key: String, epoch: u64 },
    /// An operator gives a command, the so many-th.
    Asked { ask: u64, key: String, order: Ordered },
    /// An operator was answered.
    Answered { ask: u64, answer: Told },
    /// The target refuses fewer records from now on.
    Milder { forgiven_permille: u64 },
}

/// A parked record on its way to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tried {
    pub(crate) number: u64,
    pub(crate) position: u64,
    pub(crate) payload: Payload,
}

/// A payload, by the hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Payload(u64);

impl Payload {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut trace = Trace::new();
        trace.write(bytes);
        Self(trace.finish())
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0 >> 32)
    }
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ordered {
    Retry,
    Replay,
    Edit {
        number: u64,
        payload: Payload,
    },
    /// One record, or all of the key.
    Drop {
        number: Option<u64>,
    },
}

/// What an operator is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    Delivered,
    Waiting,
    Refused,
    Edited,
    Dropped,
    /// It was not carried out, or nobody knows whether it was.
    Nothing,
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
    /// One for each connector.
    checkers: Vec<Checker>,
    spread: Option<Spread>,
    trace: Trace,
    facts: u64,
    tail: VecDeque<(u64, Option<usize>, Fact)>,
}

impl History {
    /// An empty history, to be judged by a checker for each connector, and by one for all of them.
    pub(crate) fn new(checkers: Vec<Checker>, spread: Option<Spread>) -> Self {
        let state = State { checkers, spread, trace: Trace::new(), facts: 0, tail: VecDeque::new() };
        Self { begun: Instant::now(), state: Mutex::new(state) }
    }

    /// Adds a fact that concerns all connectors.
    pub(crate) fn add(&self, fact: Fact) {
        self.add_of(None, fact);
    }

    /// Adds a fact that concerns one connector, or all.
    pub(crate) fn add_of(&self, connector: Option<usize>, fact: Fact) {
        let at_ms = self.at_ms();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        (at_ms, &fact).hash(&mut state.trace);
        if let Some(connector) = connector.filter(|connector| *connector > 0) {
            connector.hash(&mut state.trace);
        }
        state.facts += 1;
        let had = state.has_violations();
        for (index, checker) in state.checkers.iter_mut().enumerate() {
            if connector.is_none_or(|connector| connector == index) {
                checker.take_in(at_ms, &fact);
            }
        }
        if let Some(spread) = &mut state.spread {
            spread.take_in(at_ms, connector, &fact);
        }
        if !had || state.tail.len() < TAIL_MAX {
            if state.tail.len() == TAIL_MAX {
                state.tail.pop_front();
            }
            state.tail.push_back((at_ms, connector, fact));
        }
    }

    /// How long it is since the beginning, in milliseconds.
    pub(crate) fn at_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks the checker of each connector.
    pub(crate) fn checkers<T>(&self, ask: impl FnOnce(&mut [Checker]) -> T) -> T {
        ask(&mut self.state.lock().checkers)
    }

    /// Asks the checker of one connector, if there is one.
    pub(crate) fn checker<T>(&self, connector: usize, ask: impl FnOnce(&mut Checker) -> T) -> Option<T> {
        self.state.lock().checkers.get_mut(connector).map(ask)
    }

    /// Asks the checker of all connectors, if there is one.
    pub(crate) fn spread<T>(&self, ask: impl FnOnce(&mut Spread) -> T) -> Option<T> {
        self.state.lock().spread.as_mut().map(ask)
    }

    /// All that was found to be wrong; of which connector, where there are several.
    pub(crate) fn violations(&self) -> Vec<String> {
        let state = self.state.lock();
        let is_one = state.checkers.len() == 1;
        let told = |(index, checker): (usize, &Checker)| {
            let name = if is_one { String::new() } else { format!("{}: ", connector_id(index)) };
            checker.violations().iter().map(|wrong| format!("{name}{wrong}")).collect::<Vec<_>>()
        };
        let of_all = state.spread.iter().flat_map(|spread| spread.violations().to_vec());
        state.checkers.iter().enumerate().flat_map(told).chain(of_all).collect()
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
        let state = self.state.lock();
        let is_one = state.checkers.len() == 1;
        let told = |(at_ms, connector, fact): &(u64, Option<usize>, Fact)| match connector {
            Some(connector) if !is_one => format!("{at_ms:>9} ms  #{connector} {fact:?}"),
            _ => format!("{at_ms:>9} ms  {fact:?}"),
        };
        state.tail.iter().map(told).collect()
    }
}

impl State {
    fn has_violations(&self) -> bool {
        self.checkers.iter().any(|checker| !checker.violations().is_empty())
            || self.spread.as_ref().is_some_and(|spread| !spread.violations().is_empty())
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
