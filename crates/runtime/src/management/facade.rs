//! Owns the one handle through which everybody asks for connectors: opening it, its commands' common frame, closing it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Catalog;
use forebay_event::Clock;
use forebay_store::{AppendError, EventStore};
use tokio::sync::OwnedMutexGuard;
use tracing::{info, warn};
use uuid::Uuid;

use super::event::Happening;
use super::journal::{RecordError, record, refresh};
use super::{CommandError, ConnectorState, OpenError, follow, snapshot};
use crate::control::{
    CUT_OFF_AFTER, ClusterConfig, Journal, Node, NodeParts, Runner, Slot, join, pipeline_runner, take_part,
};
use crate::metrics::Metrics;

/// How much longer than the stop limit and the lease going down may take.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// What an operator decides for all connectors of this node.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Who this node is, in leases.
    pub node: Uuid,
    /// Where the connectors' streams live: `$connectors` unless another engine uses that.
    pub stream_prefix: String,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// How long a connector may take to stop.
    pub stop_limit: Duration,
    /// The most connectors this node takes.
    pub connectors_max: usize,
    /// The key that secrets in settings are sealed with: 32 bytes.
    pub secret_key: [u8; 32],
    /// How this node shares its store with others; none when it is the only one.
    pub cluster: Option<ClusterConfig>,
}

impl fmt::Debug for RuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeConfig")
            .field("node", &self.node)
            .field("stream_prefix", &self.stream_prefix)
            .field("lease", &self.lease)
            .field("stop_limit", &self.stop_limit)
            .field("connectors_max", &self.connectors_max)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// All connectors: commands, queries, and the node that runs them. Cheap to clone.
///
/// A command that was begun is carried out even if its future is dropped. When the last clone is dropped without
/// [`Connectors::shutdown`], everything ends where it stands, as in a crash.
#[derive(Clone)]
pub struct Connectors {
    inner: Arc<Inner>,
}

struct Inner {
    node: Arc<Node>,
    /// One create at a time, so that the bound on connectors holds.
    creating: tokio::sync::Mutex<()>,
    reach: snapshot::SharedReach,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.node.abort_tasks();
    }
}

impl Connectors {
    /// Reads what is known of all connectors and brings back those that were running.
    pub async fn open(
        store: Arc<dyn EventStore>,
        catalog: Catalog,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        config: RuntimeConfig,
    ) -> Result<Self, OpenError> {
        Self::open_with(NodeParts { store, catalog, clock, metrics, config }, pipeline_runner()).await
    }

    /// The same with another runner.
    pub(crate) async fn open_with(parts: NodeParts, runner: Arc<dyn Runner>) -> Result<Self, OpenError> {
        let node = Arc::new(Node::new(parts, runner));
        let reach = snapshot::load(&node).await?;
        let known_to = reach.position;
        let reach = Arc::new(tokio::sync::Mutex::new(reach));
        join(&node).await?;
        let slots = node.slots();
        let wanted = slots.iter().filter(|slot| slot.entity().wanted().is_some()).count();
        info!(connectors = slots.len(), wanted, "connectors are open");
        for slot in &slots {
            node.spawn_supervisor(slot);
        }
        if node.cluster.is_some() {
            node.spawn(follow::follow(Arc::clone(&node), known_to));
            node.spawn(take_part(Arc::clone(&node)));
        }
        node.spawn(snapshot::keep(Arc::clone(&node), Arc::clone(&reach)));
        Ok(Self { inner: Arc::new(Inner { node, creating: tokio::sync::Mutex::default(), reach }) })
    }

    /// The kinds that connectors can be made of.
    pub fn catalog(&self) -> &Catalog {
        &self.inner.node.catalog
    }

    /// Stops all connectors on this node within their limit and releases their leases. What was running is running
    /// again after the next start.
    pub async fn shutdown(&self) {
        let node = self.node();
        node.closing.cancel();
        let mut tasks = node.take_tasks();
        let limit = node.config.stop_limit + node.config.lease + CUT_OFF_AFTER + SHUTDOWN_GRACE;
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all_ended).await.is_err() {
            warn!(limit_ms = limit.as_millis(), "connectors did not stop in time and are cut off");
        }
        tasks.shutdown().await;
        snapshot::keep_last(node, &self.inner.reach).await;
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.inner.node
    }

    /// Waits until no other create is under way.
    pub(super) async fn creating(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.creating.lock().await
    }

    /// Runs a command to its end, whatever becomes of the caller.
    pub(super) async fn detached<T: Send + 'static>(
        &self,
        command: impl Future<Output = Result<T, CommandError>> + Send + 'static,
    ) -> Result<T, CommandError> {
        match tokio::spawn(command).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(going_down()),
        }
    }

    /// The connector a command is for, held against other commands, and known as far as its stream goes.
    pub(super) async fn hold(&self, id: &str) -> Result<Held, CommandError> {
        let node = Arc::clone(self.node());
        if node.closing.is_cancelled() {
            return Err(going_down());
        }
        let slot = match node.slot(id) {
            Some(slot) => slot,
            None => snapshot::find(&node, id)
                .await
                .map_err(command_error)?
                .ok_or_else(|| CommandError::NotFound { id: id.to_owned() })?,
        };
        Held::of(node, slot).await
    }
}

fn going_down() -> CommandError {
    CommandError::Append(AppendError::Unavailable { reason: "connectors are going down".to_owned() })
}

pub(super) fn command_error(error: OpenError) -> CommandError {
    match error {
        OpenError::Read(error) => CommandError::Read(error),
        unreadable @ OpenError::Unreadable { .. } => {
            CommandError::Append(AppendError::Unavailable { reason: unreadable.to_string() })
        }
    }
}

/// A connector held by one command.
pub(super) struct Held {
    pub(super) node: Arc<Node>,
    pub(super) slot: Arc<Slot>,
    journal: HeldJournal,
}

type HeldJournal = OwnedMutexGuard<Journal>;

impl Held {
    /// Holds a connector, knowing its stream to the end.
    pub(super) async fn of(node: Arc<Node>, slot: Arc<Slot>) -> Result<Self, CommandError> {
        let mut journal = Arc::clone(&slot.journal).lock_owned().await;
        if journal.unsure {
            refresh(&node, &slot, &mut journal).await.map_err(command_error)?;
        }
        Ok(Self { node, slot, journal })
    }

    /// Its id.
    pub(super) fn id(&self) -> String {
        self.slot.entity().id.to_string()
    }

    /// The state that commands are measured by; fails when it is deleted or was never created.
    pub(super) fn state(&self) -> Result<ConnectorState, CommandError> {
        let entity = self.slot.entity();
        match (self.slot.state(&entity), entity.live()) {
            (None, _) => Err(CommandError::NotFound { id: self.id() }),
            (Some(_), None) => Err(CommandError::Deleted { id: self.id() }),
            (Some(state), Some(_)) => Ok(state),
        }
    }

    /// The refusal of a command that does not fit the state.
    pub(super) fn illegal(&self, command: &'static str, state: ConnectorState) -> CommandError {
        CommandError::IllegalTransition { id: self.id(), command, state }
    }

    /// Records what happens.
    pub(super) async fn record(&mut self, what: Happening) -> Result<(), CommandError> {
        record(&self.node, &self.slot, &mut self.journal, what).await.map_err(|error| match error {
            RecordError::Conflict => CommandError::Conflict { id: self.id() },
            RecordError::Append(error) => CommandError::Append(error),
            RecordError::Read(error) => command_error(error),
        })
    }
}
