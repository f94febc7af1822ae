//! Owns a supervisor: one task per connector, or per shard of one, that makes what runs what is wanted, and reports what
//! became of it.
//!
//! The supervisor looks at the connector as its stream says it is, never at a queue of commands: whatever came in between,
//! it acts on the newest wish. One run is: lease, settings, pipeline, end, release.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{Position, Revision};
use forebay_store::{LogPoint, ReadError};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use super::checkpoint::last_checkpoint;
use super::cluster::Cluster;
use super::lease::{self, HeldLease, Released, Watch};
use super::lifecycle::{HostState, Lifecycle};
use super::registry::{Hosting, Node, Phase, SharedHosting, Slot};
use super::runner::{Prepared, aside};
use super::turn::{StandIn, Turn, passed_on, replanned};
use crate::management::{Activation, ConnectorState, Entity, ErrorDetails, Facts, Happening, report};
use crate::pipeline::{End, ParkedDesk, PipelineFailure, Progress, Run, Surroundings};
use crate::unit::Unit;

/// How long a pipeline may take beyond its own stop limit, and to notice that its lease is lost, before it is cut off.
pub(crate) const CUT_OFF_AFTER: Duration = Duration::from_secs(1);
/// The pause before something that the store refused is tried again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// The longest error message that is stored, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Follows one unit until the node goes down, or the unit is none any more.
pub(super) async fn supervise_unit(node: Arc<Node>, slot: Arc<Slot>, unit: Unit) {
    let mut supervisor = Supervisor {
        seen: slot.follow(),
        hosting: slot.hosting_of(&unit),
        node,
        slot,
        unit,
        hosted: false,
        watch: Watch::default(),
        turn: Turn::default(),
        keep_until: None,
        stand_in: StandIn::default(),
        failed_before: None,
    };
    supervisor.follow().await;
    supervisor.say_farewell().await;
    supervisor.let_go();
}

pub(super) struct Supervisor {
    pub(super) node: Arc<Node>,
    pub(super) slot: Arc<Slot>,
    pub(super) unit: Unit,
    /// Where it tells what it is doing.
    pub(super) hosting: SharedHosting,
    pub(super) seen: watch::Receiver<Arc<Entity>>,
    /// This node held the lease at some time and reported a state that its end makes untrue.
    pub(super) hosted: bool,
    /// What was seen of another node's lease.
    pub(super) watch: Watch,
    /// Why it tries for the lease.
    pub(super) turn: Turn,
    /// Until when the connector stays although the plan says otherwise, by the monotonic clock.
    pub(super) keep_until: Option<Duration>,
    /// How often it took the connector in place of another of late.
    pub(super) stand_in: StandIn,
    /// The last failure of any shard when it was looked when to begin.
    failed_before: Option<Revision>,
}

/// What comes after a run.
enum After {
    /// Look at what is wanted now.
    Look,
    /// The same again after a pause: nothing is wrong with the connector.
    Again(Duration),
}

impl Supervisor {
    async fn follow(&mut self) {
        loop {
            let entity = self.seen.borrow_and_update().clone();
            let plans = self.node.cluster.as_ref().map(Cluster::follow);
            if !entity.has_unit(&self.unit) {
                return;
            }
            self.failed_before = entity.live().and_then(|facts| facts.sharding.failed);
            let unsettled = is_unsettled(&entity, &self.unit);
            let elsewhere = unsettled && self.is_elsewhere();
            let closing = self.node.closing.is_cancelled();
            match entity.wanted().cloned() {
                Some(activation) if !closing => {
                    let Some(turn) = self.wait_for_turn(&activation).await else { continue };
                    self.turn = turn;
                    if !self.wait_for_restart(&entity, &activation).await {
                        continue;
                    }
                    let after = self.run(&activation).await;
                    *self.hosting.lock() = Hosting::default();
                    if let After::Again(pause) = after {
                        self.pause(pause, activation.revision).await;
                    }
                    continue;
                }
                None if unsettled && !elsewhere => {
                    if !self.settle().await && !closing {
                        self.pause_for_change(RETRY_PAUSE).await;
                    }
                    if !closing {
                        continue;
                    }
                }
                _ => {}
            }
            if closing {
                return;
            }
            self.let_go();
            let closing = self.node.closing.clone();
            tokio::select! {
                biased;
                () = closing.cancelled() => {}
                () = replanned(plans), if elsewhere => {}
                changed = self.seen.changed() => if changed.is_err() { return },
            }
        }
    }

    /// A stopped host is reported as stopped; the wish to run stays, so that the connector comes back. With other nodes
    /// around, one of them takes it over, and says how it is.
    async fn say_farewell(&self) {
        let entity = self.slot.entity();
        if !entity.has_unit(&self.unit) {
            return;
        }
        let alone = self.node.cluster.as_ref().is_none_or(|cluster| cluster.plan().others_staying == 0);
        if alone && self.hosted && entity.wanted().is_some() && entity.live().is_some_and(|facts| runs(facts.state)) {
            let reported = report(&self.node, &self.slot, |entity| {
                entity.live().filter(|facts| runs(facts.state)).map(|_| stopped(&self.unit))
            });
            if let Err(error) = reported.await {
                warn!(connector_id = &*entity.id, %error, "the stop was not recorded");
            }
        }
    }

    /// Nothing runs here and nothing should: says so.
    async fn settle(&self) -> bool {
        let reported = report(&self.node, &self.slot, |entity| {
            (entity.has_unit(&self.unit) && is_unsettled(entity, &self.unit)).then(|| stopped(&self.unit))
        })
        .await;
        if let Err(error) = &reported {
            warn!(connector_id = &*self.slot.entity().id, %error, "the stop was not recorded, trying again");
        }
        reported.is_ok()
    }

    /// After a failure, waits until it is time to try again; false when something else is wanted by then, or when another
    /// node runs the connector: should that one die, there is nothing to wait for.
    async fn wait_for_restart(&mut self, entity: &Entity, activation: &Activation) -> bool {
        let Some(facts) = entity.live() else { return false };
        let Some(at) = facts.next_restart else { return true };
        let longest = self.node.runner.restart_delay(&activation.settings, facts.failures.max(1));
        let wait = at.since(self.node.clock.now()).min(longest.unwrap_or_default());
        let mut seen = self.seen.clone();
        let runs_again = seen.wait_for(|entity| entity.live().is_none_or(|facts| facts.next_restart.is_none()));
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => true,
            () = self.not_here(activation.revision) => false,
            Ok(_) = runs_again => false,
        }
    }

    async fn pause(&self, pause: Duration, activation: Revision) {
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = self.not_here(activation) => {}
        }
    }

    async fn pause_for_change(&mut self, pause: Duration) {
        let closing = self.node.closing.clone();
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            _ = self.seen.changed() => {}
            () = closing.cancelled() => {}
        }
    }

    /// Runs an activation to its end, whatever ends it.
    async fn run(&mut self, activation: &Arc<Activation>) -> After {
        if !self.begin(activation).await {
            return After::Look;
        }
        let node = Arc::clone(&self.node);
        let id = Arc::clone(&self.unit.name);
        let mut lifecycle = Lifecycle::of(&node, &id);
        // Who only waits for its turn says nothing before it has the lease: a thousand that try again and again would keep
        // the store from answering any of them.
        if self.slot.entity().live().is_some_and(|facts| facts.state == ConnectorState::Activating) {
            lifecycle.reach(HostState::Activating, None).await;
        }
        let lost = CancellationToken::new();
        let lease = match self.take_lease(activation, &lost).await {
            Some(Ok(lease)) => lease,
            Some(Err(error)) => return self.stand_by(activation, &mut lifecycle, &error).await,
            None => {
                lifecycle.reach(HostState::Stopped, None).await;
                return After::Look;
            }
        };
        self.hosted = true;
        lifecycle.reach(HostState::Activating, None).await;
        if let Some(cluster) = &node.cluster {
            cluster.claim(&id, lease.epoch.0);
        }
        self.stand_in.took(lease.epoch);
        let fenced = lost.clone();
        let end = self.run_leased(activation, &mut lifecycle, &lease, lost).await;
        if fenced.is_cancelled() || lease.release().await == Released::Lost {
            self.hosted = false;
            self.let_go();
            // Whatever it ended with: the connector is another node's by now, which will say how it is.
            return self.conclude(activation, &mut lifecycle, Ended::Fenced).await;
        }
        self.conclude(activation, &mut lifecycle, end).await
    }

    /// Waits until something else than this activation is wanted, or the connector is to run on another node.
    pub(super) fn not_here(&self, activation: Revision) -> impl Future<Output = ()> + Send + use<> {
        let (node, seen, keep_until) = (Arc::clone(&self.node), self.seen.clone(), self.keep_until);
        let passed_on = passed_on(Arc::clone(&node), Arc::clone(&self.unit.name), keep_until);
        async move {
            tokio::select! {
                biased;
                () = unwanted(&node, seen, activation) => {}
                () = passed_on => {}
            }
        }
    }

    /// Marks the connector as being activated, unless something else is wanted by now.
    async fn begin(&self, activation: &Activation) -> bool {
        let _journal = self.slot.journal.lock().await;
        let entity = self.slot.entity();
        if entity.wanted().is_none_or(|wanted| wanted.revision != activation.revision) {
            return false;
        }
        if self.unit.shard.is_some() && entity.live().and_then(|facts| facts.sharding.failed) != self.failed_before {
            // Another shard has failed since it was looked when to begin.
            return false;
        }
        let mut hosting = self.hosting.lock();
        hosting.phase = Phase::Activating;
        hosting.settings = Some(activation.settings.clone());
        true
    }

    /// The lease could not be taken: a start that a user waits for has failed; a connector that only comes back waits for
    /// its turn.
    async fn stand_by(
        &mut self,
        activation: &Activation,
        lifecycle: &mut Lifecycle<'_>,
        error: &lease::TakeError,
    ) -> After {
        let started_now = self.slot.entity().live().is_some_and(|facts| facts.state == ConnectorState::Activating);
        let held = matches!(error, lease::TakeError::Held { .. });
        let details = ErrorDetails { code: "lease".to_owned(), message: error.to_string() };
        lifecycle.reach(HostState::Stopped, Some(&details)).await;
        self.keep_until = None;
        if held && started_now && self.turn == Turn::Given {
            self.report_failure(activation, details, |state| state == ConnectorState::Activating).await;
            return After::Look;
        }
        warn!(connector_id = &*self.slot.entity().id, %error, "the lease is not to be had yet");
        After::Again(RETRY_PAUSE.min(self.watch.pause(self.node.config.lease, self.node.clock.monotonic())))
    }

    /// Builds the pipeline and runs it under the lease.
    async fn run_leased(
        &self,
        activation: &Arc<Activation>,
        lifecycle: &mut Lifecycle<'_>,
        lease: &HeldLease,
        lost: CancellationToken,
    ) -> Ended {
        let (node, id) = (&self.node, Arc::clone(&self.slot.entity().id));
        let prepared = match prepare(node, &id, activation).await {
            Ok(prepared) => prepared,
            Err(details) => return Ended::Failed(details),
        };
        let prepared = match self.unit.shard {
            None => prepared,
            Some(shard) => match self.as_shard(prepared, (shard, activation), &lost).await {
                Ok(prepared) => prepared,
                Err(ended) => return ended,
            },
        };
        let begins = match self.unit.shard {
            None => start_from(node, &id, activation).await,
            // The place is in its first checkpoint.
            Some(_) => Ok(None),
        };
        let start_from = match begins {
            Ok(start_from) => start_from,
            Err(error) => return Ended::NotBegun(error),
        };
        let stop = CancellationToken::new();
        let (say_running, running) = oneshot::channel();
        let (tell_progress, progress) = watch::channel(Progress::default());
        let parked = ParkedDesk::default();
        let order = Run {
            start_from,
            epoch: lease.epoch,
            stop: stop.clone(),
            fenced: lost.clone(),
            stop_limit: node.config.stop_limit,
            running: say_running,
            parked: parked.clone(),
        };
        let surroundings = Surroundings {
            store: Arc::clone(&node.store),
            clock: Arc::clone(&node.clock),
            metrics: node.metrics.clone(),
            traffic: node.traffic.clone(),
            checkpoints: node.checkpoint_stream(&self.unit.name),
        };
        {
            let mut hosting = self.hosting.lock();
            hosting.progress = Some(progress);
            hosting.parked = Some(parked);
        }
        let task = AbortOnDropHandle::new(tokio::spawn(prepared.run(surroundings, order, tell_progress)));
        let mut watching = Watching { supervisor: self, activation, stop, lost, asked: false };
        watching.follow(task, running, lifecycle).await
    }

    /// Writes down how it ended.
    async fn conclude(&self, activation: &Activation, lifecycle: &mut Lifecycle<'_>, end: Ended) -> After {
        let id = Arc::clone(&self.slot.entity().id);
        let connector_id = &*self.unit.name;
        match end {
            Ended::Stopped => {
                lifecycle.reach(HostState::Stopped, None).await;
                After::Look
            }
            Ended::Failed(details) => {
                let message = shortened(self.node.without_secrets(&id, &activation.settings, details.message));
                let details = ErrorDetails { message: self.told_of(message), ..details };
                lifecycle.reach(HostState::Stopped, Some(&details)).await;
                self.report_failure(activation, details, |_| true).await;
                After::Look
            }
            Ended::Fenced => {
                let message = "the lease was lost".to_owned();
                let details = ErrorDetails { code: "lease-lost".to_owned(), message };
                lifecycle.reach(HostState::Stopped, Some(&details)).await;
                warn!(connector_id, "the lease was lost; it is taken again when it is free");
                After::Again(self.node.config.lease / 4)
            }
            Ended::NotBegun(error) => {
                let details = ErrorDetails { code: "store".to_owned(), message: error.to_string() };
                lifecycle.reach(HostState::Stopped, Some(&details)).await;
                warn!(connector_id, %error, "the checkpoint could not be read, trying again");
                After::Again(RETRY_PAUSE)
            }
        }
    }

    /// Reports a failure until it is recorded, nobody wants the connector to run any more, or its state, as another node
    /// may have reported it, no longer fits.
    async fn report_failure(&self, activation: &Activation, details: ErrorDetails, fits: fn(ConnectorState) -> bool) {
        loop {
            let failed = report(&self.node, &self.slot, |entity| {
                entity.live().filter(|facts| fits(facts.state) && self.is_first_failure(facts))?;
                self.failure(entity, activation, &details)
            })
            .await;
            let Err(error) = failed else { return };
            let connector_id = &*self.slot.entity().id;
            error!(connector_id, %error, failure = details.message, "the failure was not recorded, trying again");
            tokio::select! {
                biased;
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = unwanted(&self.node, self.seen.clone(), activation.revision) => return,
            }
        }
    }

    /// No other shard has failed since this run began: one failure of several shards is one.
    fn is_first_failure(&self, facts: &Facts) -> bool {
        self.unit.shard.is_none() || facts.sharding.failed == self.failed_before
    }

    /// A message of one shard says which it is.
    fn told_of(&self, message: String) -> String {
        match self.unit.shard {
            None => message,
            Some(shard) => format!("shard {}: {message}", shard.index),
        }
    }

    /// What there is to say when it runs; a shard says it once.
    fn running(&self, facts: &Facts) -> Option<Happening> {
        let Some(shard) = self.unit.shard else { return Some(Happening::Running) };
        let is_news = !facts.sharding.is_running(shard.index) || facts.state != ConnectorState::Running;
        let is_told = !is_news || facts.sharding.failed != self.failed_before;
        (!is_told).then_some(Happening::ShardRunning { shard: (shard.generation, shard.index) })
    }

    /// Waits until another shard fails: then all stop, and are started again together, if at all.
    fn other_failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut seen, before, is_shard) = (self.seen.clone(), self.failed_before, self.unit.shard.is_some());
        async move {
            let failed = |entity: &Arc<Entity>| entity.live().is_some_and(|facts| facts.sharding.failed != before);
            if !is_shard || seen.wait_for(failed).await.is_err() {
                std::future::pending().await
            }
        }
    }

    fn failure(&self, entity: &Entity, activation: &Activation, details: &ErrorDetails) -> Option<Happening> {
        let facts = entity.live()?;
        entity.wanted().filter(|wanted| wanted.revision == activation.revision)?;
        let now = self.node.clock.now();
        let failures = facts.failures_at(now);
        let mut error = details.clone();
        let delay = self.node.runner.restart_delay(&activation.settings, failures);
        let next_restart = delay.map(|delay| now.plus(delay));
        if let Some(at) = next_restart {
            error.message = format!("{}; next restart at {at}, after {failures} failures in a row", error.message);
        }
        Some(Happening::Failed { error, next_restart })
    }
}

/// How a run ended.
pub(super) enum Ended {
    Stopped,
    Failed(ErrorDetails),
    Fenced,
    /// It could not find out where to begin.
    NotBegun(ReadError),
}

/// A pipeline under watch.
struct Watching<'a> {
    supervisor: &'a Supervisor,
    activation: &'a Activation,
    stop: CancellationToken,
    lost: CancellationToken,
    asked: bool,
}

impl Watching<'_> {
    async fn follow(
        &mut self,
        mut task: AbortOnDropHandle<End>,
        mut running: oneshot::Receiver<()>,
        lifecycle: &mut Lifecycle<'_>,
    ) -> Ended {
        let mut awaits_running = true;
        let not_here = self.supervisor.not_here(self.activation.revision);
        let other_failed = self.supervisor.other_failed();
        let is_over = async move {
            tokio::select! {
                biased;
                () = not_here => {}
                () = other_failed => {}
            }
        };
        tokio::pin!(is_over);
        let mut is_untold = false;
        loop {
            tokio::select! {
                biased;
                end = &mut task => return self.judge(end),
                () = self.lost.cancelled() => return self.cut_off(task).await,
                () = &mut is_over, if !self.asked => {
                    self.asked = true;
                    self.stop.cancel();
                    lifecycle.reach(HostState::Deactivating, None).await;
                    return self.wait_for_stop(task).await;
                }
                alive = &mut running, if awaits_running => {
                    awaits_running = false;
                    if alive.is_ok() {
                        is_untold = !self.is_running(lifecycle).await;
                    }
                }
                // A connector counts as running only when each of its shards has said so.
                () = tokio::time::sleep(RETRY_PAUSE), if is_untold => is_untold = !self.tell_running().await,
            }
        }
    }

    /// Says that it runs; whether that need not be said again.
    async fn is_running(&self, lifecycle: &mut Lifecycle<'_>) -> bool {
        self.supervisor.hosting.lock().phase = Phase::Running;
        let is_told = self.tell_running().await;
        lifecycle.reach(HostState::Running, None).await;
        is_told
    }

    async fn tell_running(&self) -> bool {
        let Supervisor { node, slot, unit, .. } = self.supervisor;
        let activation = self.activation.revision;
        let reported = report(node, slot, |entity| {
            entity.wanted().filter(|wanted| wanted.revision == activation)?;
            self.supervisor.running(entity.live()?)
        });
        if let Err(error) = reported.await {
            warn!(connector_id = &*unit.name, %error, "the state was not recorded");
            return unit.shard.is_none();
        }
        true
    }

    async fn wait_for_stop(&mut self, mut task: AbortOnDropHandle<End>) -> Ended {
        let limit = self.supervisor.node.config.stop_limit + CUT_OFF_AFTER;
        tokio::select! {
            biased;
            end = &mut task => self.judge(end),
            () = self.lost.cancelled() => self.cut_off(task).await,
            () = tokio::time::sleep(limit) => {
                let connector_id = &*self.supervisor.unit.name;
                warn!(connector_id, limit_ms = limit.as_millis(), "the connector did not stop in time and is cut off");
                task.abort();
                let _ended = task.await;
                Ended::Stopped
            }
        }
    }

    /// The lease is lost: the pipeline ends at once, by itself or not.
    async fn cut_off(&self, mut task: AbortOnDropHandle<End>) -> Ended {
        if tokio::time::timeout(CUT_OFF_AFTER, &mut task).await.is_err() {
            task.abort();
            let _ended = task.await;
        }
        Ended::Fenced
    }

    fn judge(&self, end: Result<End, tokio::task::JoinError>) -> Ended {
        let failed = |code: &str, message: &str| {
            Ended::Failed(ErrorDetails { code: code.to_owned(), message: message.to_owned() })
        };
        match end {
            Ok(End::Fenced) => Ended::Fenced,
            Ok(End::Failed(PipelineFailure { code, message })) => failed(code, &message),
            Ok(End::Stopped) if self.asked => Ended::Stopped,
            Ok(End::Stopped) => failed("ended", "the pipeline ended though nobody asked it to"),
            Err(error) if error.is_panic() => failed("panic", "the pipeline panicked; the server's log says where"),
            Err(_) => Ended::Stopped,
        }
    }
}

/// Waits until something else than this activation is wanted, or the node goes down.
pub(super) async fn unwanted(node: &Node, mut seen: watch::Receiver<Arc<Entity>>, activation: Revision) {
    let other = |entity: &Arc<Entity>| entity.wanted().is_none_or(|wanted| wanted.revision != activation);
    tokio::select! {
        biased;
        () = node.closing.cancelled() => {}
        _ = seen.wait_for(other) => {}
    }
}

fn runs(state: ConnectorState) -> bool {
    matches!(state, ConnectorState::Running | ConnectorState::Activating)
}

/// Nothing is wanted, but the last word is not that it stopped.
fn is_unsettled(entity: &Entity, unit: &Unit) -> bool {
    let has_stopped = |facts: &Facts| unit.shard.is_some_and(|shard| facts.sharding.has_stopped(shard.index));
    let is_open = |facts: &Facts| facts.state != ConnectorState::Stopped && !has_stopped(facts);
    entity.wanted().is_none() && entity.live().is_some_and(is_open)
}

/// What is said of a unit that has stopped.
fn stopped(unit: &Unit) -> Happening {
    match unit.shard {
        None => Happening::Stopped,
        Some(shard) => Happening::ShardStopped { shard: (shard.generation, shard.index) },
    }
}

async fn prepare(
    node: &Arc<Node>,
    id: &Arc<str>,
    activation: &Arc<Activation>,
) -> Result<Box<dyn Prepared>, ErrorDetails> {
    let failure = |message: String| ErrorDetails { code: "settings".to_owned(), message };
    let settings = node.vault.open(id, &activation.settings).map_err(|error| failure(error.to_string()))?;
    let (node, id) = (Arc::clone(node), Arc::clone(id));
    let built = aside(move || node.runner.prepare(&id, &settings, &node.catalog)).await;
    match built {
        Ok(built) => built.map_err(|errors| failure(format!("the settings are not valid: {errors}"))),
        Err(_) => Err(failure("building the pipeline panicked; the server's log says where".to_owned())),
    }
}

/// Where to begin, if not at the checkpoint: where the start said, until this activation has a checkpoint of its own.
async fn start_from(node: &Node, id: &str, activation: &Activation) -> Result<Option<LogPoint>, ReadError> {
    let Some(position) = activation.start_from else { return Ok(None) };
    let checkpoint = last_checkpoint(node, id).await?;
    if let Some(checkpoint) = checkpoint.filter(|checkpoint| checkpoint.written_at > activation.position) {
        debug!(connector_id = id, position = %checkpoint.position, "continues from its own checkpoint");
        return Ok(None);
    }
    info!(connector_id = id, %position, "begins where the start said");
    Ok(Some(if position == Position::START { LogPoint::Start } else { LogPoint::At(position) }))
}

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}
