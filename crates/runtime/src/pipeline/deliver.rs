//! Owns delivery: one task per lane that makes attempts, waits between them, and settles what they bring.
//!
//! One batch is on its way at a time. A record that must wait holds the later records of its key; records of other keys
//! go on, until two attempts in a row at records that were not tried before bring nothing: then the target is taken to be
//! down and the whole lane rests.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Batch, Epoch, Failure, FailureClass, Lane, Next, Sink, Target, attempt};
use forebay_event::{Clock, Position};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, Streak};
use super::flow::{Admitted, Flow};
use super::held::Held;
use super::key::Key;
use super::lanes::{BatchLimits, Pending, Ripe, Tracked};
use super::parked::{LaneOrder, ParkingLot, ReplayOrder};
use super::policy::Policy;
use super::replay::Replays;
use super::report::{Fate, Report, Settlement};
use super::run::PipelineFailure;
use super::signal::Follower;
use super::skipped::SkipLog;
use super::transform::Script;
use crate::metrics::ConnectorMetrics;

/// Attempts in a row that deliver nothing until the lane rests.
pub(super) const FRUITLESS_MAX: u32 = 2;
/// How long a sink may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What all lanes of a connector share.
pub(super) struct Delivery {
    pub(super) connector_id: Arc<str>,
    pub(super) epoch: Epoch,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) target: Arc<dyn Target>,
    pub(super) limits: BatchLimits,
    pub(super) backoff: Backoff,
    pub(super) flow: Arc<Flow>,
    pub(super) policy: Policy,
    pub(super) skips: SkipLog,
    pub(super) parking: Arc<ParkingLot>,
    /// What makes records of those parked ones that the transform failed on.
    pub(super) script: Option<Script>,
    pub(super) metrics: ConnectorMetrics,
    pub(super) is_logging: bool,
    pub(super) stop: CancellationToken,
    /// Whether what targets say about where they stand counts: not when somebody asked to begin elsewhere.
    pub(super) obeys_standing: bool,
    /// Where the log ended when the connector began.
    pub(super) log_end: Option<Position>,
}

/// One lane: its sink, what waits for it, and what it tells.
pub(super) struct LaneTask {
    pub(super) shared: Arc<Delivery>,
    pub(super) index: usize,
    pub(super) lane: Lane,
    pub(super) sink: Box<dyn Sink>,
    pub(super) input: mpsc::Receiver<Vec<Tracked>>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) pending: Pending,
    pub(super) held: Held,
    pub(super) parked: HashSet<Key>,
    pub(super) replays: Replays,
    pub(super) standing: Option<Position>,
    pub(super) fruitless: u32,
    pub(super) resting_until: Option<Instant>,
    /// Records that were not tried yet have the next turn, as the last attempt at those that wait was in vain.
    pub(super) fresh_next: bool,
    pub(super) is_failing: bool,
    pub(super) recoveries: Follower,
}

/// Where a lane belongs, and its ends.
pub(super) struct LaneSite {
    pub(super) index: usize,
    pub(super) lane: Lane,
    pub(super) input: mpsc::Receiver<Vec<Tracked>>,
    pub(super) reports: mpsc::Sender<Report>,
    /// Keys whose records were parked by an earlier run.
    pub(super) parked: HashSet<Key>,
    /// Those of them that are to be replayed.
    pub(super) replays: Vec<ReplayOrder>,
    /// Commands about parked keys.
    pub(super) orders: mpsc::Receiver<LaneOrder>,
}

/// The lane ends.
pub(super) enum Ended {
    /// Somebody asked it to, or nobody listens any more.
    Stopped,
    /// It cannot go on.
    Failed(PipelineFailure),
}

pub(super) type Step<T = ()> = Result<T, Ended>;

/// A record of a batch on its way.
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) key: Key,
    pub(super) bytes: usize,
}

impl LaneTask {
    pub(super) fn new(shared: Arc<Delivery>, site: LaneSite) -> Self {
        let sink = shared.target.sink(site.lane);
        let held = if shared.target.keeps_position() { Held::strict() } else { Held::default() };
        Self {
            pending: Pending::new(shared.limits),
            recoveries: shared.flow.recoveries(),
            shared,
            index: site.index,
            lane: site.lane,
            sink,
            input: site.input,
            reports: site.reports,
            held,
            parked: site.parked,
            replays: Replays::new(site.orders, site.replays),
            standing: None,
            fruitless: 0,
            resting_until: None,
            fresh_next: false,
            is_failing: false,
        }
    }

    /// Delivers until it is asked to stop, its input ends, or it cannot go on; then closes the sink.
    pub(super) async fn run(mut self) {
        let ended = match self.open().await {
            Ok(()) => self.deliver_all().await,
            Err(ended) => Err(ended),
        };
        if let Err(Ended::Failed(failure)) = ended {
            let _ = self.reports.send(Report::Fatal(failure)).await;
        }
        let closed = tokio::time::timeout(CLOSE_LIMIT, self.sink.close()).await;
        if !matches!(closed, Ok(Ok(()))) && self.shared.is_logging {
            tracing::warn!(connector = %self.shared.connector_id, lane = %self.lane, "the sink did not close cleanly");
        }
    }

    /// Probes the target until it answers, and asks where this lane stands.
    async fn open(&mut self) -> Step {
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            let admitted = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Err(Ended::Stopped),
                admitted = self.shared.flow.admit_opening() => admitted,
            };
            let limit = self.shared.target.attempt_limit(1);
            let answer = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Err(Ended::Stopped),
                answer = tokio::time::timeout(limit, probe(self.sink.as_mut())) => answer,
            };
            let timeout =
                || Failure::retry(FailureClass::Timeout, format!("no answer within {} ms", limit.as_millis()));
            let answer = answer.unwrap_or_else(|_| Err(timeout()));
            admitted.learn_opening(answer.as_ref().err());
            let failure = match answer {
                Ok(standing) => {
                    self.standing = self.trusted(standing)?;
                    self.failing(None).await?;
                    return self.tell(Report::LaneReady).await;
                }
                Err(failure) => failure,
            };
            attempts += 1;
            self.count_failure(&failure);
            let streak = self.streak(&failure, begun.elapsed(), attempts);
            let delay = match failure.next {
                Next::Retry { .. } => self.shared.backoff.delay(streak),
                Next::Reject | Next::Stop => None,
            };
            let Some(delay) = delay else {
                let message = format!("the target cannot be reached after {attempts} attempts: {failure}");
                return Err(Ended::Failed(PipelineFailure { code: failure.class.label(), message }));
            };
            self.log_wait(&failure, delay, attempts);
            self.failing(Some(failure.class)).await?;
            self.wait_to_open_again(delay).await?;
        }
    }

    /// What the target says of where this lane stands counts unless somebody asked to begin elsewhere. A target that is
    /// ahead of the log holds records of another log, or this log was restored: nothing is taken for delivered then.
    fn trusted(&self, standing: Option<Position>) -> Step<Option<Position>> {
        let Some(standing) = standing.filter(|_| self.shared.obeys_standing) else { return Ok(None) };
        let end = self.shared.log_end.unwrap_or(Position::START);
        if standing <= end {
            return Ok(Some(standing));
        }
        let message = format!(
            "the target already holds records up to position {standing}, but the log ends at {end}: the log was restored \
             or is another one; start the connector from a position to deliver regardless"
        );
        Err(Ended::Failed(PipelineFailure { code: "behind-end", message }))
    }

    async fn deliver_all(&mut self) -> Step {
        let mut is_open = true;
        loop {
            while !self.pending.is_full() {
                match self.input.try_recv() {
                    Ok(records) => self.pending.take_in(records),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        is_open = false;
                        break;
                    }
                }
            }
            if self.shared.stop.is_cancelled() {
                return Err(Ended::Stopped);
            }
            // A lane that always has something to do still hears what is asked of it.
            if let Some(order) = self.replays.ordered_now() {
                self.obey(order).await?;
            }
            let Some(wake) = self.step().await? else { continue };
            if !is_open && wake == Wake::ByInput {
                return Ok(());
            }
            let at = match wake {
                Wake::At(at) => at,
                Wake::ByInput => Instant::now() + Duration::from_secs(3600),
            };
            let replay = self.replays.next_due().filter(|_| self.resting_until.is_none());
            let at = replay.map_or(at, |due| due.min(at));
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Err(Ended::Stopped),
                records = self.input.recv(), if is_open && !self.pending.is_full() => match records {
                    Some(records) => self.pending.take_in(records),
                    None => is_open = false,
                },
                order = self.replays.ordered() => self.obey(order).await?,
                () = tokio::time::sleep_until(at) => {}
                // Another lane, or another connector, found the target back.
                () = self.recoveries.changed() => self.try_all(),
            }
        }
    }

    /// Does the next thing that can be done; answers what to wait for when there is none.
    async fn step(&mut self) -> Step<Option<Wake>> {
        if let Some(until) = self.resting_until {
            if Instant::now() < until {
                return Ok(Some(Wake::At(until)));
            }
            self.resting_until = None;
        }
        if self.replay().await? {
            return Ok(None);
        }
        // While the target looks down one attempt after the other asks whether it is back, and nobody waits for company.
        let looks_down = self.fruitless >= FRUITLESS_MAX;
        let ripe = match self.pending.ripe() {
            Ripe::At(_) if looks_down => Ripe::Now,
            ripe => ripe,
        };
        let asks_fresh = self.fresh_next && !self.held.blocks() && matches!(ripe, Ripe::Now);
        if !asks_fresh
            && !self.held.is_empty()
            && let Some(again) = self.held.take_due(&self.shared.flow.batch_limits(self.shared.limits))
        {
            self.attempt(again.records, again.attempt).await?;
            return Ok(None);
        }
        let due = self.held.next_due();
        let must_wait = self.held.blocks() || looks_down && due.is_some() && !asks_fresh;
        match (if must_wait { Ripe::Empty } else { ripe }, due) {
            (Ripe::Now, _) => {
                self.take_fresh().await?;
                Ok(None)
            }
            (Ripe::At(ripe), Some(due)) => Ok(Some(Wake::At(ripe.min(due)))),
            (Ripe::At(at), None) | (Ripe::Empty, Some(at)) => Ok(Some(Wake::At(at))),
            (Ripe::Empty, None) => Ok(Some(Wake::ByInput)),
        }
    }

    /// Gathers a batch of records that were not tried yet, and tries it.
    async fn take_fresh(&mut self) -> Step {
        let limits = self.shared.flow.batch_limits(self.shared.limits);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut known = Settlement::new(Fate::Delivered);
        while batch.len() < limits.records && bytes < limits.bytes {
            let Some(front) = self.pending.front() else { break };
            // What the target holds is settled, whatever became of its key since.
            let is_known = self.standing.is_some_and(|standing| front.record.event().position() <= standing);
            let is_parked = self.parked.contains(&front.key);
            let diverted = !is_known && (front.doomed.is_some() || is_parked) && !self.held.holds(front.key);
            if diverted && !batch.is_empty() {
                break;
            }
            let Some(record) = self.pending.pop() else { break };
            if self.held.holds(record.key) {
                self.held.push(record);
            } else if is_known {
                known.add(&record);
            } else if diverted {
                self.divert(record).await?;
                break;
            } else {
                bytes += record.bytes;
                batch.push(record);
            }
        }
        self.pending.taken();
        if !known.seqs.is_empty() {
            self.settle(known).await?;
        }
        if batch.is_empty() { Ok(()) } else { self.attempt(batch, 1).await }
    }

    /// Deals with a record that is not to be tried: it follows its key to where it is parked, or cannot be delivered.
    async fn divert(&mut self, record: Tracked) -> Step {
        if self.parked.contains(&record.key) {
            return self.park(&record, record.doomed.as_deref(), 0).await;
        }
        match record.doomed.clone() {
            Some(failure) => self.finally_failed(record, &failure, 1).await,
            None => Ok(()),
        }
    }

    async fn attempt(&mut self, records: Vec<Tracked>, number: u32) -> Step {
        // A record that waited behind another of its key may have been found undeliverable before.
        let mut records = records;
        if let Some(at) = records.iter().position(|r| r.doomed.is_some()) {
            let rest = records.split_off(at);
            if records.is_empty() {
                return self.divert_first(rest).await;
            }
            self.put_back_in_front(rest);
        }
        let admitted = self.admitted(records.len(), records.iter().map(|record| record.bytes).sum()).await?;
        let mut sent = Vec::with_capacity(records.len());
        let mut bare = Vec::with_capacity(records.len());
        for Tracked { seq, key, bytes, record, .. } in records {
            sent.push(Sent { seq, key, bytes });
            bare.push(record);
        }
        let Some(batch) = Batch::new(self.lane, self.shared.epoch, self.shared.clock.now(), bare) else {
            return Ok(());
        };
        let batch = batch.with_attempt(number);
        self.shared.metrics.attempt_begins(number > 1);
        let limit = self.shared.target.attempt_limit(batch.len());
        let receipt = attempt(self.sink.as_mut(), &batch, limit).await;
        admitted.learn(&receipt, number);
        if receipt.is_complete() {
            self.shared.metrics.attempt_ended(self.age_s(&batch));
            return self.all_delivered(&batch, &sent).await;
        }
        self.shared.metrics.attempt_ended(None);
        self.answered(&batch, sent, receipt, number).await
    }

    /// Waits until an attempt at so many records of so many bytes may be made.
    pub(super) async fn admitted(&mut self, records: usize, bytes: usize) -> Step<Admitted> {
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => Err(Ended::Stopped),
            admitted = self.shared.flow.admit(records, bytes) => Ok(admitted),
        }
    }

    async fn all_delivered(&mut self, batch: &Batch, sent: &[Sent]) -> Step {
        let mut settlement = Settlement::new(Fate::Delivered);
        settlement.seqs = sent.iter().map(|record| record.seq).collect();
        settlement.bytes = sent.iter().map(|record| record.bytes).sum();
        settlement.created = batch.records().last().map(|record| record.event().created());
        if !self.held.is_empty() {
            for record in sent {
                self.held.succeeded(record.key);
            }
        }
        self.settle(settlement).await?;
        self.fruitful().await
    }

    async fn divert_first(&mut self, mut records: Vec<Tracked>) -> Step {
        let rest = records.split_off(1.min(records.len()));
        self.put_back_in_front(rest);
        for first in records {
            let key = first.key;
            self.divert(first).await?;
            self.held.succeeded(key);
        }
        Ok(())
    }

    fn put_back_in_front(&mut self, records: Vec<Tracked>) {
        for record in records.into_iter().rev() {
            self.held.unshift(record);
        }
    }

    /// An attempt brought something: the target answers.
    pub(super) async fn fruitful(&mut self) -> Step {
        if self.fruitless >= FRUITLESS_MAX {
            self.try_all();
        }
        (self.fruitless, self.fresh_next) = (0, false);
        if self.held.is_empty() { self.failing(None).await } else { Ok(()) }
    }

    /// Whatever waits, waits no longer.
    fn try_all(&mut self) {
        self.held.all_due();
        self.resting_until = None;
    }

    pub(super) async fn failing(&mut self, class: Option<FailureClass>) -> Step {
        if class.is_none() && !self.is_failing {
            return Ok(());
        }
        self.is_failing = class.is_some();
        self.tell(Report::Failing { lane: self.index, class }).await
    }

    pub(super) async fn settle(&mut self, settlement: Settlement) -> Step {
        self.tell(Report::Settled(settlement)).await
    }

    async fn tell(&mut self, report: Report) -> Step {
        self.reports.send(report).await.map_err(|_| Ended::Stopped)
    }

    /// Waits so long, or until another lane or connector finds the target back; does meanwhile what is asked about parked
    /// records.
    async fn wait_to_open_again(&mut self, delay: Duration) -> Step {
        let until = Instant::now() + delay;
        loop {
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Err(Ended::Stopped),
                () = tokio::time::sleep_until(until) => return Ok(()),
                () = self.recoveries.changed() => return Ok(()),
                order = self.replays.ordered() => self.obey(order).await?,
            }
        }
    }

    pub(super) fn streak(&self, failure: &Failure, elapsed: Duration, attempts: u32) -> Streak {
        let after = match failure.next {
            Next::Retry { after } => after,
            Next::Reject | Next::Stop => None,
        };
        let seed = Key::of(&self.shared.connector_id).0 ^ (u64::from(self.lane.0) << 32) ^ u64::from(attempts);
        Streak { elapsed, attempts, after, seed }
    }

    fn age_s(&self, batch: &Batch) -> Option<f64> {
        let oldest = batch.records().first()?.event().created();
        Some(self.shared.clock.now().since(oldest).as_secs_f64())
    }

    pub(super) fn count_failure(&self, failure: &Failure) {
        self.shared.metrics.failed(failure.class.label());
    }

    pub(super) fn log_wait(&self, failure: &Failure, delay: Duration, attempts: u32) {
        if self.shared.is_logging {
            tracing::warn!(
                connector = %self.shared.connector_id, lane = %self.lane, attempts,
                delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), reason = %failure,
                "delivery failed and is tried again"
            );
        }
    }
}

/// What a lane with nothing to do waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// More records.
    ByInput,
    /// A time, or more records.
    At(Instant),
}

async fn probe(sink: &mut dyn Sink) -> Result<Option<Position>, Failure> {
    sink.probe().await?;
    sink.standing().await
}
