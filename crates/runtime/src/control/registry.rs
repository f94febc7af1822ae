//! Owns which connectors this node knows, and what all parts that run them share.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_connector::Catalog;
use forebay_connector::settings::SettingsMap;
use forebay_event::{Clock, StreamName};
use forebay_store::EventStore;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::crew::supervise;
use super::runner::Runner;
use crate::management::{ConnectorState, Entity, RuntimeConfig, Secrecy, Vault};
use crate::metrics::Metrics;
use crate::pipeline::{ParkedDesk, Progress, Traffic};
use crate::unit::{Unit, connector_of, folder};

/// What all commands, queries and supervisors of this process share.
pub(crate) struct Node {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    /// What the pipelines of this process share.
    pub(crate) traffic: Traffic,
    pub(crate) config: RuntimeConfig,
    pub(crate) vault: Vault,
    pub(crate) runner: Arc<dyn Runner>,
    /// The nodes around this one; none when it is alone by config.
    pub(crate) cluster: Option<Cluster>,
    /// Cancelled when this node goes down.
    pub(crate) closing: CancellationToken,
    /// Told after every management event, so that snapshots are made in time.
    pub(crate) recorded: watch::Sender<u64>,
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    tasks: Mutex<JoinSet<()>>,
}

/// What users gave a node to work with.
pub(crate) struct NodeParts {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) config: RuntimeConfig,
}

/// One connector on this node.
pub(crate) struct Slot {
    /// Held while its stream is appended to: commands and reports of this node never race each other.
    pub(crate) journal: Arc<tokio::sync::Mutex<Journal>>,
    /// What the supervisor of the connector as a whole is doing.
    pub(crate) hosting: SharedHosting,
    /// What the supervisors of its shards are doing, by the shard's number.
    shards: Mutex<BTreeMap<u32, SharedHosting>>,
    seen: watch::Sender<Arc<Entity>>,
}

/// What a supervisor is doing, as it tells it.
pub(crate) type SharedHosting = Arc<Mutex<Hosting>>;

/// What is known about the end of a connector's stream.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// The outcome of the last append is unknown: the stream must be read before the next one.
    pub(crate) unsure: bool,
}

/// What a supervisor is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosting {
    pub(crate) phase: Phase,
    /// What the running pipeline has done.
    pub(crate) progress: Option<watch::Receiver<Progress>>,
    /// Where commands about parked records go while it runs.
    pub(crate) parked: Option<ParkedDesk>,
    /// The settings it runs with, as stored.
    pub(crate) settings: Option<SettingsMap>,
}

/// How far a supervisor is with its connector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing runs here.
    #[default]
    Idle,
    /// Another live node has it.
    Elsewhere,
    /// It is taking the lease, building the pipeline, or waiting for its first sign of life.
    Activating,
    /// The pipeline runs.
    Running,
}

impl Slot {
    pub(crate) fn new(entity: Entity) -> Self {
        let seen = watch::Sender::new(Arc::new(entity));
        Self { journal: Arc::default(), hosting: Arc::default(), shards: Mutex::default(), seen }
    }

    /// Where the supervisor of a unit tells what it is doing.
    pub(crate) fn hosting_of(&self, unit: &Unit) -> SharedHosting {
        match unit.shard {
            None => Arc::clone(&self.hosting),
            Some(shard) => Arc::clone(self.shards.lock().entry(shard.index).or_default()),
        }
    }

    /// What the supervisors of all units are doing: of each shard, or of the connector as a whole.
    pub(crate) fn hostings(&self) -> Vec<(Unit, Hosting)> {
        let units = self.entity().units();
        units.into_iter().map(|unit| (unit.clone(), self.hosting_of(&unit).lock().clone())).collect()
    }

    /// No shards are supervised any more.
    pub(crate) fn forget_shards(&self) {
        self.shards.lock().clear();
    }

    /// How far its supervisors are: it is being activated if any of it is, and idle if any of it is.
    fn phase(&self) -> Phase {
        let units = self.entity().units();
        let phases: Vec<_> = units.iter().map(|unit| self.hosting_of(unit).lock().phase).collect();
        let first = [Phase::Activating, Phase::Idle, Phase::Running].into_iter().find(|phase| phases.contains(phase));
        first.unwrap_or(Phase::Elsewhere)
    }

    /// The connector as this node last saw it.
    pub(crate) fn entity(&self) -> Arc<Entity> {
        Arc::clone(&self.seen.borrow())
    }

    /// Follows what becomes of the connector.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Entity>> {
        self.seen.subscribe()
    }

    /// Shows what became of it; only while its journal is held.
    pub(crate) fn publish(&self, entity: Entity) {
        self.seen.send_replace(Arc::new(entity));
    }

    /// The state that commands are measured by and queries show: what was reported, unless this node is bringing the
    /// connector back, which no report says yet.
    pub(crate) fn state(&self, entity: &Entity) -> Option<ConnectorState> {
        let facts = entity.facts.as_ref()?;
        let phase = self.phase();
        let wanted = entity.wanted().is_some();
        Some(match (facts.state, phase) {
            (ConnectorState::Running | ConnectorState::Stopped, Phase::Activating) if wanted => {
                ConnectorState::Activating
            }
            (ConnectorState::Running, Phase::Idle) if wanted => ConnectorState::Activating,
            (state, _) => state,
        })
    }
}

impl Node {
    /// Sets up a node that knows no connectors yet.
    pub(crate) fn new(parts: NodeParts, runner: Arc<dyn Runner>) -> Self {
        let NodeParts { store, catalog, clock, metrics, config } = parts;
        Self {
            vault: Vault::new(&config.secret_key),
            cluster: config.cluster.clone().map(|cluster| Cluster::new(cluster, clock.now(), clock.monotonic())),
            store,
            catalog,
            clock,
            metrics,
            traffic: Traffic::default(),
            config,
            runner,
            closing: CancellationToken::new(),
            recorded: watch::Sender::new(0),
            slots: RwLock::default(),
            tasks: Mutex::default(),
        }
    }

    /// The connector of this id, if this node knows it.
    pub(crate) fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        self.slots.read().get(id).cloned()
    }

    /// All connectors, ordered by id.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().values().cloned().collect()
    }

    /// How many connectors there are that are not deleted.
    pub(crate) fn live_count(&self) -> usize {
        self.slots.read().values().filter(|slot| slot.entity().live().is_some()).count()
    }

    /// The connector of this id, with a supervisor of its own from now on.
    pub(crate) fn slot_or_new(self: &Arc<Self>, id: &str) -> Arc<Slot> {
        let mut slots = self.slots.write();
        if let Some(slot) = slots.get(id) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::new(Entity::unknown(id)));
        slots.insert(id.to_owned(), Arc::clone(&slot));
        slot
    }

    /// Forgets a connector that was never created after all.
    pub(crate) fn forget_unknown(&self, id: &str) {
        let mut slots = self.slots.write();
        if slots.get(id).is_some_and(|slot| slot.entity().facts.is_none() && Arc::strong_count(slot) == 1) {
            slots.remove(id);
        }
    }

    /// Gives a connector its supervisor.
    pub(crate) fn spawn_supervisor(self: &Arc<Self>, slot: &Arc<Slot>) {
        self.spawn(supervise(Arc::clone(self), Arc::clone(slot)));
    }

    /// Runs a task that ends with this node.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Hands out all tasks, to be waited for.
    pub(crate) fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.tasks.lock())
    }

    /// Ends all tasks where they stand.
    pub(crate) fn abort_tasks(&self) {
        self.tasks.lock().abort_all();
    }

    /// A text about a connector with these stored settings, without any of its secrets: a target's answer may repeat them.
    pub(crate) fn without_secrets(&self, id: &str, stored: &SettingsMap, text: String) -> String {
        let plain = self.vault.open_readable(id, stored);
        Secrecy::of(&plain, &self.catalog).redacted(&plain, text)
    }

    /// The management stream of a connector.
    pub(crate) fn management_stream(&self, id: &str) -> StreamName {
        self.stream(format!("{}/{id}", self.config.stream_prefix))
    }

    /// The stream of the checkpoints of a unit.
    pub(crate) fn checkpoint_stream(&self, unit: &str) -> StreamName {
        self.stream_of(unit, "checkpoints")
    }

    /// The stream of what a unit set aside.
    pub(crate) fn parked_stream(&self, unit: &str) -> StreamName {
        self.stream_of(unit, "parked")
    }

    /// The stream of what the host saw a unit do.
    pub(crate) fn lifecycle_stream(&self, unit: &str) -> StreamName {
        self.stream_of(unit, "lifecycle")
    }

    /// The stream of a unit's lease.
    pub(crate) fn lease_stream(&self, unit: &str) -> StreamName {
        self.stream_of(unit, "leases")
    }

    /// Where the streams of a connector are.
    pub(crate) fn folder(&self, id: &str) -> String {
        folder(&self.config.stream_prefix, connector_of(id))
    }

    fn stream_of(&self, unit: &str, name: &str) -> StreamName {
        self.stream(format!("{}/{name}", folder(&self.config.stream_prefix, unit)))
    }

    /// The stream in which all nodes announce themselves.
    pub(crate) fn nodes_stream(&self) -> StreamName {
        self.stream(format!("{}-ctrl/nodes", self.config.stream_prefix))
    }

    /// Something is known about a connector that was not before.
    pub(crate) fn plan_again(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.look_again();
        }
    }

    /// The stream of snapshots of all connectors.
    pub(crate) fn snapshot_stream(&self) -> StreamName {
        self.stream(format!("{}-mngt/state-projection", self.config.stream_prefix))
    }

    fn stream(&self, name: String) -> StreamName {
        StreamName::new(&name).expect("the name holds a slash, so it is not empty")
    }
}
