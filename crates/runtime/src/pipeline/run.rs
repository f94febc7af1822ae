//! Owns a run: the order to run, its stations as one tree of tasks, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Epoch;
use forebay_event::{Clock, Position, StreamName};
use forebay_store::{EventStore, LogPoint, ReadError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Checkpoint, CheckpointWriter, NotStored, decode, last_event};
use super::conduct::{Conductor, ConductorParts};
use super::deliver::{Delivery, LaneSite, LaneTask};
use super::filter::Source;
use super::flow::Flow;
use super::gaps::{Gaps, Notices};
use super::lanes::Router;
use super::parked::{LANE_ORDERS_MAX, LotSite, Opened, ParkedDesk, ParkingLot, Reach};
use super::report::REPORTS_MAX;
use super::shards::{CLOSED_TYPE, HandOverError, Share};
use super::skipped::SkipLog;
use super::start::{Begin, BeginError, Known, begin};
use super::subscribe::{Onward, Reader, ReaderParts};
use super::traffic::Traffic;
use super::transform::{QUEUED_BATCHES_MAX, Transformer};
use super::watchdog::Watchdog;
use super::window::Window;
use super::{Plan, Progress};
use crate::metrics::{ConnectorMetrics, Metrics};

/// How often, and how far apart, the store is asked at start before the connector gives up.
const START_TRIES_MAX: u32 = 10;
const START_DELAY: Duration = Duration::from_millis(500);
/// The most events that need not match between two notices of where the subscription is.
const CHECKPOINT_EVERY_MIN: usize = 1_000;

/// What a pipeline needs from outside.
#[derive(Clone)]
pub struct Surroundings {
    /// The store it reads from and keeps its checkpoint in.
    pub store: Arc<dyn EventStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it counts.
    pub metrics: Metrics,
    /// What it shares with the other connectors of this process.
    pub traffic: Traffic,
    /// The stream of its checkpoints. Its sibling `parked` holds what is set aside.
    pub checkpoints: StreamName,
}

/// The order to run.
pub struct Run {
    /// Where to begin, given with the start; wins over the checkpoint.
    pub start_from: Option<LogPoint>,
    /// The epoch of the lease it runs under.
    pub epoch: Epoch,
    /// Asks it to stop: reading ends, the batches in hand are finished within the limit, the checkpoint is written.
    pub stop: CancellationToken,
    /// Tells it that the lease is lost: everything ends at once, nothing is written.
    pub fenced: CancellationToken,
    /// How long stopping may take.
    pub stop_limit: Duration,
    /// Where commands about parked records are handed in while it runs.
    pub parked: ParkedDesk,
    /// Told when the pipeline is reading and its sinks answered the probe.
    pub running: oneshot::Sender<()>,
}

/// How a pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// It could not go on, and says why.
    Failed(PipelineFailure),
    /// Another owner has the connector now.
    Fenced,
}

/// Why a pipeline could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PipelineFailure {
    /// A short stable word, such as `connect` or `script`.
    pub code: &'static str,
    /// What failed, where (position, stream, revision), and what was tried.
    pub message: String,
}

impl PipelineFailure {
    /// A part of the pipeline crashed.
    pub(super) fn crashed(error: &JoinError) -> Self {
        Self { code: "broken", message: format!("a part of the connector crashed: {error}") }
    }

    fn at_start(error: &BeginError) -> Self {
        match error {
            BeginError::Read(error) => {
                Self { code: "store", message: format!("the store cannot be read at start: {error}") }
            }
            BeginError::Behind { .. } | BeginError::Rewritten { .. } => {
                Self { code: "behind-end", message: error.to_string() }
            }
        }
    }
}

/// Runs a connector until it is stopped, fails or is fenced. Panics of its parts are caught and end it as failed.
///
/// Dropping the future ends everything at once, as if fenced.
pub async fn run(plan: Plan, surroundings: Surroundings, run: Run, progress: watch::Sender<Progress>) -> End {
    let shard = plan.part.as_ref().map(|part| part.shard.index);
    let metrics = surroundings.metrics.of_shard(&plan.connector_id, plan.kind.name, shard);
    // A part that finds another owner at work cancels only this run; whether the lease is lost is for others to say.
    let fenced = run.fenced.child_token();
    let run = Run { fenced: fenced.clone(), ..run };
    metrics.active(true);
    let counted = metrics.clone();
    let mut whole = JoinSet::new();
    whole.spawn(async move { start(plan, surroundings, run, Telling { progress, metrics }).await });
    let end = tokio::select! {
        biased;
        () = fenced.cancelled() => End::Fenced,
        ended = whole.join_next() => match ended {
            Some(Ok(end)) => end,
            Some(Err(error)) => End::Failed(PipelineFailure::crashed(&error)),
            None => End::Stopped,
        },
    };
    whole.shutdown().await;
    counted.active(false);
    if matches!(end, End::Failed(_)) {
        counted.ended_in_failure();
    }
    end
}

/// Where a run tells what it does.
struct Telling {
    progress: watch::Sender<Progress>,
    metrics: ConnectorMetrics,
}

/// What an earlier run left behind.
struct Inherited {
    writer: CheckpointWriter,
    begin: Begin,
    parked: Opened,
    share: Share,
    log_end: Option<Position>,
}

async fn start(plan: Plan, surroundings: Surroundings, run: Run, telling: Telling) -> End {
    let mut tries = 0;
    let inherited = loop {
        tries += 1;
        let error = match inherit(&plan, &surroundings, &run, &telling.metrics).await {
            Ok(Some(inherited)) => break inherited,
            Ok(None) => return End::Fenced,
            Err(error) => error,
        };
        if !matches!(error, BeginError::Read(ReadError::Unavailable { .. })) || tries == START_TRIES_MAX {
            return End::Failed(PipelineFailure::at_start(&error));
        }
        tokio::select! {
            biased;
            () = run.stop.cancelled() => return End::Stopped,
            () = tokio::time::sleep(START_DELAY) => {}
        }
    };
    conduct(plan, surroundings, run, (inherited, telling)).await
}

/// Looks up what an earlier run left; nothing when a later owner has been here.
async fn inherit(
    plan: &Plan,
    surroundings: &Surroundings,
    run: &Run,
    metrics: &ConnectorMetrics,
) -> Result<Option<Inherited>, BeginError> {
    let store = surroundings.store.as_ref();
    let (last, expected) = last_event(store, &surroundings.checkpoints).await?;
    if last.as_ref().is_some_and(|last| last.event_type() == CLOSED_TYPE) {
        return Ok(None);
    }
    let checkpoint = last.and_then(|last| decode(&last, &surroundings.checkpoints));
    if checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.epoch > run.epoch) {
        return Ok(None);
    }
    let inherited = checkpoint.clone();
    let known = Known { explicit: run.start_from, checkpoint, settings: &plan.settings.subscription };
    let begin = begin(store, plan.filter.source(), known).await?;
    let log_end = store.head().await?;
    let site = LotSite {
        store: Arc::clone(&surroundings.store),
        clock: Arc::clone(&surroundings.clock),
        connector_id: Arc::clone(&plan.connector_id),
        epoch: run.epoch.0,
        numbers_base: plan.part.as_ref().map_or(0, |part| part.shard.parked_base()),
        keying: plan.keying.clone(),
        stream: sibling(&surroundings.checkpoints, "parked"),
        limits: plan.settings.parking,
        metrics: Some(metrics.clone()),
        fenced: run.fenced.clone(),
        redact: Arc::clone(&plan.redact),
    };
    let Some(parked) = ParkingLot::open(site, begin.mark.map(|mark| mark.position), run.start_from.is_some()).await?
    else {
        return Ok(None);
    };
    let mut writer = CheckpointWriter {
        store: Arc::clone(&surroundings.store),
        stream: surroundings.checkpoints.clone(),
        connector_id: Arc::clone(&plan.connector_id),
        expected,
    };
    let share = match plan.share(surroundings, begin.mark.map(|mark| mark.position)).await {
        Ok(share) => share,
        Err(HandOverError::Read(error)) => return Err(error.into()),
        Err(error) => return Err(ReadError::Unavailable { reason: error.to_string() }.into()),
    };
    if share.is_part() {
        // Before anything is delivered: whoever closes this shard and was not seen by then has not closed it.
        let Some(inherited) = inherited else { return Ok(None) };
        let claim = Checkpoint { epoch: run.epoch, ..inherited };
        writer.expected = match writer.clone().write(claim, surroundings.clock.now()).await {
            Ok(expected) => expected,
            Err(NotStored::Fenced) => return Ok(None),
            Err(NotStored::Refused(error)) => {
                return Err(ReadError::Unavailable { reason: error.to_string() }.into());
            }
        };
    }
    Ok(Some(Inherited { writer, begin, parked, share, log_end }))
}

/// Builds the stations and keeps their account until the end.
async fn conduct(plan: Plan, surroundings: Surroundings, run: Run, left: (Inherited, Telling)) -> End {
    let (Inherited { writer, begin, parked, share, log_end }, Telling { progress, metrics }) = left;
    let Opened { lot, keys, known, replays } = parked;
    let lot = Arc::new(lot);
    let halt = run.stop.child_token();
    let own_streams = home(&plan, &surroundings, "").as_str().to_owned();
    let window = Arc::new(Window::new(plan.lanes, plan.limits.records));
    let (reports, inbox) = mpsc::channel(REPORTS_MAX);
    let skips = SkipLog {
        store: Arc::clone(&surroundings.store),
        clock: Arc::clone(&surroundings.clock),
        connector_id: Arc::clone(&plan.connector_id),
        epoch: run.epoch.0,
        stream: home(&plan, &surroundings, "skipped"),
    };
    let (router, queues) = Router::new(plan.lanes, window.records_max() + 1);
    let mut tasks = JoinSet::new();
    let flow = Arc::new(flow_of(&plan, &surroundings.traffic));
    let delivery = Arc::new(Delivery {
        connector_id: Arc::clone(&plan.connector_id),
        epoch: run.epoch,
        clock: Arc::clone(&surroundings.clock),
        target: Arc::clone(&plan.target),
        limits: plan.limits,
        backoff: plan.backoff.clone(),
        flow: Arc::clone(&flow),
        policy: plan.policy.clone(),
        skips,
        parking: Arc::clone(&lot),
        script: plan.script.clone(),
        metrics: metrics.clone(),
        is_logging: plan.settings.logging.enabled,
        stop: halt.clone(),
        obeys_standing: run.start_from.is_none(),
        log_end,
    });
    let mut desks = Vec::with_capacity(plan.lanes);
    for (index, input) in queues.into_iter().enumerate() {
        let parked = keys.iter().filter(|key| key.lane(plan.lanes) == index).copied().collect();
        let replays = replays.iter().filter(|replay| replay.key.lane(plan.lanes) == index).copied().collect();
        let (desk, orders) = mpsc::channel(LANE_ORDERS_MAX);
        desks.push(desk);
        let site = LaneSite { index, lane: plan.lane(index), input, reports: reports.clone(), parked, replays, orders };
        tasks.spawn(LaneTask::new(Arc::clone(&delivery), site).run());
    }
    let _open_desk = run.parked.open(Reach { lot, lanes: desks });
    let onward = match plan.script {
        None => Onward::Lanes(router),
        Some(script) => {
            let (sender, input) = mpsc::channel(QUEUED_BATCHES_MAX);
            let (reports, metrics, stop) = (reports.clone(), metrics.clone(), halt.clone());
            tasks.spawn(Transformer { script, input, router, reports, metrics, stop }.run());
            Onward::Transform(sender)
        }
    };
    let single_stream = match plan.filter.source() {
        Source::Stream(stream) => Some(stream.clone()),
        Source::Log(_) => None,
    };
    let notices = Notices {
        connector_id: Arc::clone(&plan.connector_id),
        metrics: metrics.clone(),
        is_logging: plan.settings.logging.enabled,
    };
    let gaps = Gaps::new(plan.filter.source(), begin.origin, notices);
    let parts = ReaderParts {
        gaps,
        store: Arc::clone(&surroundings.store),
        filter: plan.filter,
        keying: plan.keying,
        window: Arc::clone(&window),
        turns: surroundings.traffic.reading(),
        onward,
        reports,
        stop: halt.clone(),
        known,
        share,
        own_streams,
        checkpoint_every: (plan.settings.autocommit.records_threshold as usize).max(CHECKPOINT_EVERY_MIN),
    };
    tasks.spawn(Reader::new(parts, begin.clone()).run());
    let watchdog = Watchdog::new(plan.settings.watchdog.stalled_after_ms.0, (Instant::now(), surroundings.clock.now()));
    let parts = ConductorParts {
        surroundings,
        autocommit: plan.settings.autocommit,
        watchdog,
        flow,
        lanes: plan.lanes,
        single_stream,
        window,
        inbox,
        tasks,
        halt,
        writer,
        progress,
        metrics,
    };
    Conductor::new(parts, begin, run).conduct().await
}

/// The way to the target, shared with all connectors that send to the same place.
fn flow_of(plan: &Plan, traffic: &Traffic) -> Flow {
    let name = Flow::endpoint_name(plan.target.endpoint(), &plan.connector_id);
    Flow::new(traffic.endpoint(&name), &plan.settings, plan.lanes, plan.target.sends_one_by_one())
}

/// The stream beside the one of the checkpoints.
pub(super) fn sibling(checkpoints: &StreamName, name: &str) -> StreamName {
    let folder = checkpoints.as_str().rsplit_once('/').map_or(checkpoints.as_str(), |(folder, _)| folder);
    // The name has a slash in it, so it is never empty.
    StreamName::new(&format!("{folder}/{name}")).unwrap_or_else(|_| checkpoints.clone())
}

/// A stream of the connector as a whole.
fn home(plan: &Plan, surroundings: &Surroundings, name: &str) -> StreamName {
    match &plan.part {
        None => sibling(&surroundings.checkpoints, name),
        Some(part) => StreamName::new(&format!("{}/{name}", part.folder))
            .unwrap_or_else(|_| sibling(&surroundings.checkpoints, name)),
    }
}
