//! Owns the world of one run: the store, the target, the nodes' ways to them, and the faults that are on.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::clock::NodeClock;
use crate::history::{Fact, History, Life};
use crate::mercy::Mercy;
use crate::operations::Operations;
use crate::scenario::Scenario;
use crate::store::Store;
use crate::target::Receiver;

thread_local! {
    /// The world of the run on this thread: what a catalogue's plain functions reach sinks by.
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// All that a run consists of besides the code that is tested.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) history: Arc<History>,
    pub(crate) store: Arc<Store>,
    /// The target of each connector.
    pub(crate) receivers: Vec<Arc<Receiver>>,
    pub(crate) mercy: Mercy,
    /// What was asked of the streams of each connector that decide who owns what.
    pub(crate) operations: Vec<Operations>,
    pub(crate) nodes: Vec<Arc<Node>>,
    /// Faults come about; switched off at the end, so that everything can come to rest.
    is_hostile: AtomicBool,
}

/// One node: its clocks, its life, and its way to the store.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) clock: Arc<NodeClock>,
    pub(crate) chance: Chance,
    history: Arc<History>,
    state: Mutex<NodeState>,
    /// Told when this life has crashed.
    pub(crate) crashed: Notify,
    /// Told when a freeze may be over.
    thawed: Notify,
}

#[derive(Debug, Default)]
struct NodeState {
    life: u32,
    is_alive: bool,
    /// It crashes when it has taken so many more steps.
    steps_left: Option<u64>,
    cut_until: Option<Instant>,
    cut_from_target_until: Option<Instant>,
    is_frozen: bool,
    /// Its connectors are open and were not asked to close.
    is_open: bool,
    /// It was told to be able.
    is_able: bool,
}

impl World {
    /// Makes the world of a scenario and makes it the current one of this thread.
    pub(crate) fn new(scenario: Scenario, history: Arc<History>) -> Arc<Self> {
        let seed = scenario.seed;
        let nodes = (0..scenario.nodes)
            .map(|index| {
                let drift_ppm = scenario.drifts_ppm.get(index).copied().unwrap_or_default();
                Arc::new(Node {
                    index,
                    clock: Arc::new(NodeClock::new(drift_ppm)),
                    chance: Chance::of(seed, &format!("node {index}")),
                    history: Arc::clone(&history),
                    state: Mutex::default(),
                    crashed: Notify::new(),
                    thawed: Notify::new(),
                })
            })
            .collect();
        let connectors = 0..scenario.connectors;
        let world = Arc::new(Self {
            store: Arc::new(Store::new(seed, Arc::clone(&history))),
            receivers: connectors.clone().map(|at| Arc::new(Receiver::new(seed, at, Arc::clone(&history)))).collect(),
            mercy: Mercy::new(seed),
            operations: connectors.map(|_| Operations::default()).collect(),
            nodes,
            history,
            scenario,
            is_hostile: AtomicBool::new(false),
        });
        CURRENT.with(|current| *current.borrow_mut() = Some(Arc::clone(&world)));
        world
    }

    /// The world of this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Forgets the world of this thread.
    pub(crate) fn leave() {
        CURRENT.with(|current| *current.borrow_mut() = None);
    }

    /// Whether faults come about.
    pub(crate) fn is_hostile(&self) -> bool {
        self.is_hostile.load(Ordering::Relaxed)
    }

    /// Lets faults come about from now on.
    pub(crate) fn make_war(&self) {
        self.is_hostile.store(true, Ordering::Relaxed);
    }

    /// Ends all faults.
    pub(crate) fn make_peace(&self) {
        self.is_hostile.store(false, Ordering::Relaxed);
        self.history.add(Fact::Fault { what: "no more faults", node: 0, millis: 0 });
        self.store.recover();
        for node in &self.nodes {
            let mut state = node.state.lock();
            (state.cut_until, state.cut_from_target_until, state.steps_left) = (None, None, None);
            drop(state);
            node.thaw(true);
        }
    }
}

impl Node {
    /// Begins a life; it crashes after so many steps, if it is to.
    pub(crate) fn begin(&self, steps_left: Option<u64>) -> Life {
        let mut state = self.state.lock();
        state.life += 1;
        (state.is_alive, state.steps_left) = (true, steps_left);
        Life { node: self.index, number: state.life }
    }

    /// Lets this life crash after so many steps, if it is to.
    pub(crate) fn crash_in(&self, steps_left: Option<u64>) {
        self.state.lock().steps_left = steps_left;
    }

    /// Ends the life where it stands.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        (state.is_alive, state.is_open) = (false, false);
        drop(state);
        self.tell();
        self.crashed.notify_waiters();
        self.thawed.notify_waiters();
    }

    /// Its connectors are open from now on, or are asked to close.
    pub(crate) fn open(&self, is_open: bool) {
        self.state.lock().is_open = is_open;
        self.tell();
    }

    /// Tells whether it is able to run a connector, when that has changed.
    pub(crate) fn tell(&self) {
        let mut state = self.state.lock();
        let is_cut = state.cut_until.is_some_and(|until| until > Instant::now());
        let is_able = state.is_alive && state.is_open && !state.is_frozen && !is_cut;
        let has_changed = std::mem::replace(&mut state.is_able, is_able) != is_able;
        drop(state);
        if has_changed {
            self.history.add(Fact::Able { node: self.index, is_able });
        }
    }

    /// Whether this life still runs.
    pub(crate) fn lives(&self, life: Life) -> bool {
        let state = self.state.lock();
        state.is_alive && state.life == life.number
    }

    /// The life that runs now, or ran last.
    pub(crate) fn life(&self) -> Life {
        Life { node: self.index, number: self.state.lock().life }
    }

    /// One step of a life towards the outside. A life that is over never gets beyond it; one that stands still waits.
    pub(crate) async fn step(&self, life: Life) {
        loop {
            let thawed = self.thawed.notified();
            if !self.lives(life) {
                return std::future::pending().await;
            }
            {
                let mut state = self.state.lock();
                if !state.is_frozen {
                    let Some(left) = &mut state.steps_left else { return };
                    *left = left.saturating_sub(1);
                    if *left > 0 {
                        return;
                    }
                    state.is_alive = false;
                }
            }
            if !self.lives(life) {
                self.tell();
                self.crashed.notify_waiters();
                return std::future::pending().await;
            }
            thawed.await;
        }
    }

    /// Lets it stand still.
    pub(crate) fn freeze(&self) {
        self.clock.freeze();
        self.state.lock().is_frozen = true;
        self.tell();
    }

    /// Lets it run on, after its machine was suspended or only its process stopped.
    pub(crate) fn thaw(&self, was_suspended: bool) {
        self.clock.thaw(was_suspended);
        self.state.lock().is_frozen = false;
        self.tell();
        self.thawed.notify_waiters();
    }

    /// Cuts its way to the store until then.
    pub(crate) fn cut(&self, until: Instant) {
        let mut state = self.state.lock();
        // A shorter cut does not end a longer one: who waits for its end would wait though the node looks able.
        state.cut_until = state.cut_until.max(Some(until));
        drop(state);
        self.tell();
    }

    /// Until when the way to the store is cut.
    pub(crate) fn is_cut_until(&self) -> Option<Instant> {
        self.state.lock().cut_until.filter(|until| *until > Instant::now())
    }

    /// Cuts its way to the target until then.
    pub(crate) fn cut_from_target(&self, until: Instant) {
        self.state.lock().cut_from_target_until = Some(until);
    }

    /// Until when the way to the target is cut.
    pub(crate) fn is_cut_from_target_until(&self) -> Option<Instant> {
        self.state.lock().cut_from_target_until.filter(|until| *until > Instant::now())
    }
}
