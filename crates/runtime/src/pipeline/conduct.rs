//! Owns the account of a run: what is settled, when checkpoints are written, how it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::{ExpectedRevision, Position, StreamName, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::checkpoint::{Checkpoint, CheckpointWriter, NotStored};
use super::flow::Flow;
use super::report::{Fate, ReadChunk, Report, Settlement};
use super::run::{End, PipelineFailure, Run, Surroundings};
use super::start::Begin;
use super::tracker::{Mark, Tracker};
use super::watchdog::Watchdog;
use super::window::Window;
use crate::metrics::{ConnectorMetrics, Watched};
use crate::settings::AutocommitSettings;

/// Reports that are taken in before anything else is looked at.
const REPORTS_AT_ONCE: usize = 64;
/// Checkpoints by threshold are at least so far apart, so that a fast connector does not flood its own log.
const CHECKPOINT_GAP: Duration = Duration::from_millis(50);
/// Where nothing was settled but much was passed over, a checkpoint is written this often at most.
const PASSED_OVER_INTERVAL: Duration = Duration::from_secs(30);
/// Each such checkpoint doubles the time until the next, up to this, until something is settled: a thousand connectors at
/// rest write two in a second together, and a restart passes over so much once more.
const PASSED_OVER_INTERVAL_MAX: Duration = Duration::from_secs(480);
/// Passing over less than this, in positions, is not worth a checkpoint: each one is an event that every other connector
/// passes over, and connectors at rest would keep each other busy for ever.
const PASSED_OVER_MIN: u64 = 1_000;
/// How often the end of the log is looked up for the lag.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// How often it is looked whether anything moves.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest interval of checkpoints that is obeyed.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// The part of the time to stop that is kept for the last checkpoint: one in so many.
const STOP_RESERVE: u32 = 4;

/// What keeping the account needs.
pub(super) struct ConductorParts {
    pub(super) surroundings: Surroundings,
    pub(super) autocommit: AutocommitSettings,
    pub(super) watchdog: Watchdog,
    pub(super) flow: Arc<Flow>,
    pub(super) lanes: usize,
    pub(super) single_stream: Option<StreamName>,
    pub(super) window: Arc<Window>,
    pub(super) inbox: mpsc::Receiver<Report>,
    pub(super) tasks: JoinSet<()>,
    pub(super) halt: CancellationToken,
    pub(super) writer: CheckpointWriter,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) metrics: ConnectorMetrics,
}

type Writing = Pin<Box<dyn Future<Output = Result<ExpectedRevision, NotStored>> + Send>>;

/// Keeps the account of one run.
pub(super) struct Conductor {
    parts: ConductorParts,
    run: Order,
    tracker: Tracker,
    progress: Progress,
    failing_lanes: Vec<Option<(Timestamp, forebay_connector::FailureClass)>>,
    ready: Ready,
    writing: Option<(Writing, Checkpoint, Instant)>,
    stored: Option<Mark>,
    settled_since: u64,
    written_at: Instant,
    /// How long after a checkpoint another one is written only for what was passed over.
    passed_over_pause: Duration,
    failure: Option<PipelineFailure>,
    last_created: Option<Timestamp>,
}

/// What is left of the order to run.
struct Order {
    epoch: forebay_connector::Epoch,
    stop: CancellationToken,
    stop_limit: Duration,
}

/// What must be there before the connector counts as running.
struct Ready {
    reading: bool,
    lanes_missing: usize,
    running: Option<oneshot::Sender<()>>,
}

/// What the conductor woke up for.
enum Woken {
    Report(Option<Report>),
    TaskEnded(Result<(), JoinError>),
    Written(Result<ExpectedRevision, NotStored>),
    CheckpointDue,
    LagDue,
    WatchDue,
    Stop,
    StopLimit,
}

impl Conductor {
    pub(super) fn new(parts: ConductorParts, begin: Begin, run: Run) -> Self {
        let progress = Progress { settled: begin.mark.map(|mark| mark.position), ..Progress::default() };
        parts.progress.send_replace(progress);
        Self {
            tracker: Tracker::new(begin.mark, begin.settled),
            progress,
            failing_lanes: vec![None; parts.lanes],
            ready: Ready { reading: false, lanes_missing: parts.lanes, running: Some(run.running) },
            run: Order { epoch: run.epoch, stop: run.stop, stop_limit: run.stop_limit },
            writing: None,
            stored: begin.mark,
            settled_since: 0,
            written_at: Instant::now(),
            passed_over_pause: PASSED_OVER_INTERVAL,
            failure: None,
            last_created: None,
            parts,
        }
    }

    /// Keeps the account until the last task has ended.
    pub(super) async fn conduct(mut self) -> End {
        if self.parts.autocommit.enabled {
            // Claims the stream: from here on an earlier owner is refused, and a crash begins where this run began.
            self.begin_write();
            self.passed_over_pause = PASSED_OVER_INTERVAL;
        }
        let mut checkpoints = ticker(self.parts.autocommit.interval.0.max(INTERVAL_MIN));
        let mut lag = ticker(LAG_INTERVAL);
        let mut watch = ticker(WATCH_INTERVAL);
        let mut stop_at: Option<Instant> = None;
        let mut is_cut_off = false;
        loop {
            let is_stopping = stop_at.is_some();
            let woken = tokio::select! {
                biased;
                result = written(&mut self.writing) => Woken::Written(result),
                () = self.parts.halt.cancelled(), if !is_stopping => Woken::Stop,
                report = self.parts.inbox.recv() => Woken::Report(report),
                Some(ended) = self.parts.tasks.join_next() => Woken::TaskEnded(ended),
                () = until(stop_at), if !is_cut_off => Woken::StopLimit,
                _ = checkpoints.tick(), if !is_stopping => Woken::CheckpointDue,
                _ = lag.tick(), if !is_stopping => Woken::LagDue,
                _ = watch.tick(), if !is_stopping => Woken::WatchDue,
            };
            match woken {
                Woken::Report(Some(report)) => self.take_in(report),
                // Every station has ended; its crash, if it was one, is still to be collected.
                Woken::Report(None) => return self.end(stop_at).await,
                Woken::TaskEnded(Err(error)) if error.is_panic() => self.fail(PipelineFailure::crashed(&error)),
                Woken::TaskEnded(_) => {}
                Woken::Written(result) => {
                    if let Err(end) = self.written(result) {
                        return end;
                    }
                }
                Woken::CheckpointDue => {
                    let has_passed = self.has_passed_over() && self.written_at.elapsed() >= self.passed_over_pause;
                    self.write_if(self.settled_since > 0 || has_passed);
                }
                Woken::LagDue => self.look_up_lag(),
                Woken::WatchDue => self.watch(),
                Woken::Stop => {
                    let limit = self.run.stop_limit;
                    stop_at = Some(Instant::now() + limit - limit / STOP_RESERVE);
                }
                Woken::StopLimit => {
                    is_cut_off = true;
                    self.parts.tasks.abort_all();
                }
            }
        }
    }

    fn take_in(&mut self, first: Report) {
        let mut next = Some(first);
        let mut left = REPORTS_AT_ONCE;
        while let Some(report) = next {
            self.account_for(report);
            left -= 1;
            next = if left > 0 { self.parts.inbox.try_recv().ok() } else { None };
        }
        self.progress.settled = self.tracker.low_water().map(|mark| mark.position);
        self.parts.progress.send_replace(self.progress);
        let threshold = u64::from(self.parts.autocommit.records_threshold);
        self.write_if(self.settled_since >= threshold && self.written_at.elapsed() >= CHECKPOINT_GAP);
    }

    fn account_for(&mut self, report: Report) {
        match report {
            Report::Reading => {
                self.ready.reading = true;
                self.progress.caught_up = false;
                self.tell_running();
            }
            Report::LaneReady => {
                self.ready.lanes_missing = self.ready.lanes_missing.saturating_sub(1);
                self.tell_running();
            }
            Report::Read(ReadChunk { slots, events, skipped, settled_before, seen }) => {
                self.progress.read += events;
                self.progress.skipped += skipped;
                self.parts.metrics.read(events, skipped);
                self.tracker.read(slots, seen);
                self.settled_since += settled_before;
            }
            Report::CaughtUp(seen) => {
                self.tracker.read(Vec::new(), seen);
                self.progress.caught_up = true;
                self.write_if(self.settled_since > 0 || self.has_passed_over());
            }
            Report::Settled(settlement) => self.settle(&settlement),
            Report::Failing { lane, class } => self.failing(lane, class),
            Report::Fatal(failure) => self.fail(failure),
        }
    }

    fn settle(&mut self, settlement: &Settlement) {
        let mut count = 0;
        for seq in &settlement.seqs {
            count += u64::from(self.tracker.settle(*seq));
        }
        self.parts.window.release(settlement.seqs.len(), settlement.bytes);
        self.settled_since += count;
        self.last_created = self.last_created.max(settlement.created);
        self.progress.last_progress = Some(self.parts.surroundings.clock.now());
        match settlement.fate {
            Fate::Delivered => {
                self.progress.delivered += count;
                self.parts.metrics.delivered(count);
            }
            Fate::Skipped => {
                self.progress.skipped += count;
                self.parts.metrics.skipped(count);
            }
            Fate::Parked => {
                self.progress.parked += count;
                self.parts.metrics.parked(count);
            }
        }
    }

    fn failing(&mut self, lane: usize, class: Option<forebay_connector::FailureClass>) {
        let now = self.parts.surroundings.clock.now();
        if let Some(known) = self.failing_lanes.get_mut(lane) {
            *known = class.map(|class| (known.map_or(now, |(since, _)| since), class));
        }
        self.progress.failing = self.failing_lanes.iter().flatten().min_by_key(|(since, _)| *since).copied();
    }

    fn tell_running(&mut self) {
        if self.ready.reading
            && self.ready.lanes_missing == 0
            && let Some(running) = self.ready.running.take()
        {
            // Whoever started the connector may have lost interest; it runs all the same.
            let _ = running.send(());
        }
    }

    fn fail(&mut self, failure: PipelineFailure) {
        if self.failure.is_none() {
            tracing::error!(connector = %self.parts.writer.connector_id, code = failure.code, reason = %failure,
                "the connector cannot go on");
            self.failure = Some(failure);
        }
        self.parts.halt.cancel();
    }

    fn has_passed_over(&self) -> bool {
        let position = |mark: Option<Mark>| mark.map_or(0, |mark| mark.position.commit());
        position(self.tracker.low_water()).saturating_sub(position(self.stored)) >= PASSED_OVER_MIN
    }

    fn write_if(&mut self, wanted: bool) {
        if wanted && self.writing.is_none() && self.parts.autocommit.enabled {
            self.begin_write();
        }
    }

    fn begin_write(&mut self) {
        let checkpoint = self.checkpoint();
        let is_at_rest = self.settled_since == 0;
        self.passed_over_pause =
            if is_at_rest { (self.passed_over_pause * 2).min(PASSED_OVER_INTERVAL_MAX) } else { PASSED_OVER_INTERVAL };
        self.settled_since = 0;
        self.written_at = Instant::now();
        let writer = self.parts.writer.clone();
        let future = writer.write(checkpoint.clone(), self.parts.surroundings.clock.now());
        self.writing = Some((Box::pin(future), checkpoint, Instant::now()));
    }

    fn checkpoint(&self) -> Checkpoint {
        let event = self.tracker.low_water_event();
        let mark = self.tracker.low_water().map(|mark| Mark {
            revision: mark.revision.or_else(|| event.map(forebay_event::RecordedEvent::revision)),
            ..mark
        });
        let single = self.parts.single_stream.as_ref().map(|stream| stream.as_str().to_owned());
        Checkpoint {
            mark,
            stream: single.or_else(|| event.map(|event| event.stream().to_owned())),
            read: self.tracker.seen().map(|mark| mark.position),
            settled: self.tracker.settled_ranges(),
            epoch: self.run.epoch,
        }
    }

    fn written(&mut self, result: Result<ExpectedRevision, NotStored>) -> Result<(), End> {
        let Some((_, checkpoint, begun)) = self.writing.take() else { return Ok(()) };
        match result {
            Ok(expected) => {
                self.parts.writer.expected = expected;
                self.stored = checkpoint.mark;
                let position = checkpoint.mark.map_or(0, |mark| mark.position.commit());
                self.parts.metrics.checkpoint(position, begun.elapsed().as_secs_f64());
                Ok(())
            }
            Err(NotStored::Fenced) => Err(End::Fenced),
            Err(NotStored::Refused(error)) => {
                // Nothing more can be stored, so nothing more is tried at the end.
                self.parts.autocommit.enabled = false;
                let message = format!("the checkpoint cannot be stored: {error}");
                self.fail(PipelineFailure { code: "checkpoint", message });
                Ok(())
            }
        }
    }

    /// Collects what is left of the tasks, writes the last checkpoint and says how it ended.
    async fn end(mut self, stop_at: Option<Instant>) -> End {
        while let Some(ended) = self.parts.tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                self.fail(PipelineFailure::crashed(&error));
            }
        }
        let deadline = stop_at.unwrap_or_else(Instant::now) + self.run.stop_limit / STOP_RESERVE;
        match tokio::time::timeout_at(deadline, self.write_last()).await {
            Ok(Ok(())) => {}
            Ok(Err(end)) => return end,
            Err(_) => tracing::warn!(connector = %self.parts.writer.connector_id,
                "the last checkpoint was not stored in time, records may be delivered again"),
        }
        self.parts.progress.send_replace(self.progress);
        match self.failure.take() {
            Some(failure) => End::Failed(failure),
            None if self.run.stop.is_cancelled() => End::Stopped,
            None => {
                End::Failed(PipelineFailure { code: "broken", message: "the connector ended by itself".to_owned() })
            }
        }
    }

    async fn write_last(&mut self) -> Result<(), End> {
        if let Some((writing, ..)) = &mut self.writing {
            let result = writing.await;
            self.written(result)?;
        }
        let has_moved = self.tracker.low_water().map(|mark| mark.position) != self.stored.map(|mark| mark.position);
        if !self.parts.autocommit.enabled || !(has_moved || self.settled_since > 0) {
            return Ok(());
        }
        self.begin_write();
        if let Some((writing, ..)) = &mut self.writing {
            let result = writing.await;
            self.written(result)?;
        }
        Ok(())
    }

    /// Looks whether anything moves, and what the target is like.
    fn watch(&mut self) {
        let now = self.parts.surroundings.clock.now();
        let target = self.parts.flow.view();
        let stall = self.parts.watchdog.look(&self.progress, (Instant::now(), now));
        let was_stalled = self.progress.stalled.is_some();
        self.progress.stalled = stall.map(|stall| stall.since);
        self.progress.oldest = self.tracker.oldest_created();
        self.progress.breaker = target.breaker;
        let age_s = self.progress.oldest.map_or(0, |oldest| now.since(oldest).as_secs());
        self.parts.metrics.watched(&Watched {
            stalled: stall.is_some(),
            oldest_age_s: age_s,
            breaker: target.breaker,
            lanes_limit: target.lanes_limit,
            pace: target.pace,
        });
        if !was_stalled && let Some(stall) = stall {
            tracing::warn!(connector = %self.parts.writer.connector_id, still_s = stall.lasted.as_secs(),
                in_flight = self.progress.in_flight(), "the connector is behind and nothing moves");
        } else if was_stalled && stall.is_none() {
            tracing::info!(connector = %self.parts.writer.connector_id, "the connector moves again");
        }
        let progress = self.progress;
        self.parts.progress.send_if_modified(|shown| std::mem::replace(shown, progress) != progress);
    }

    /// Looks the end of the log up in the background; a slow store delays nothing but the number.
    fn look_up_lag(&self) {
        let (store, metrics) = (Arc::clone(&self.parts.surroundings.store), self.parts.metrics.clone());
        let log_end = self.parts.surroundings.traffic.log_end();
        let settled = self.tracker.low_water().map_or(0, |mark| mark.position.commit());
        let is_behind = !self.progress.caught_up || self.progress.in_flight() > 0;
        let age = self.last_created.map(|created| self.parts.surroundings.clock.now().since(created).as_secs());
        let age = age.filter(|_| is_behind).unwrap_or(0);
        tokio::spawn(async move {
            if let Ok(Ok(head)) = tokio::time::timeout(LAG_INTERVAL, log_end.look(&*store)).await {
                metrics.lag(head.map_or(0, Position::commit).saturating_sub(settled), age);
            }
        });
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker.reset();
    ticker
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn written(writing: &mut Option<(Writing, Checkpoint, Instant)>) -> Result<ExpectedRevision, NotStored> {
    match writing {
        Some((writing, ..)) => writing.await,
        None => std::future::pending().await,
    }
}
