//! Owns the replay of parked records: in the lane of their key, in turn with what the lane delivers.
//!
//! The first record goes alone, as a probe. The rest follow in order while new records of the key queue behind them; when
//! none is left, the key is as any other again. What was delivered is stored before the next ones go, so that a crash
//! repeats no more than one batch.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_connector::{Batch, Failure, FailureClass, Next, Outcome, attempt};
use forebay_event::Record;
use forebay_script::Transformed;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::deliver::{Delivery, Ended, LaneTask, Step};
use super::key::Key;
use super::parked::{LaneOrder, ParkError, Parked, ParkedCommand, ParkedOutcome, ParkedRefusal, ReplayOrder};
use super::run::PipelineFailure;
use super::transform::failure_of as failure_of_script;

/// The pause before the store is asked again for records that it did not answer.
const READ_PAUSE: Duration = Duration::from_secs(2);

type Reply = oneshot::Sender<Result<ParkedOutcome, ParkedRefusal>>;

/// The replays of one lane, and the commands that wait for it.
pub(super) struct Replays {
    orders: mpsc::Receiver<LaneOrder>,
    queue: VecDeque<Replay>,
    /// The last step was one of these: what the lane delivers otherwise goes next.
    went_last: bool,
}

/// A key that is being replayed.
struct Replay {
    key: Key,
    records_per_s: Option<u32>,
    /// A record got through: what fails from here on is tried again as usual.
    is_probed: bool,
    failures: u32,
    since: Instant,
    due: Instant,
    /// Who waits to hear of the probe.
    reply: Option<Reply>,
}

/// What came of trying the first parked records of a key.
enum Tried {
    /// All of them were delivered; none if there are no more.
    Delivered(u32),
    /// One was not, the first of those.
    Failed(Box<Parked>, Failure),
}

impl Replays {
    pub(super) fn new(orders: mpsc::Receiver<LaneOrder>, ordered: Vec<ReplayOrder>) -> Self {
        let queue = ordered.into_iter().map(Replay::of).collect();
        Self { orders, queue, went_last: false }
    }

    /// The next command; never when nobody can give one any more.
    pub(super) async fn ordered(&mut self) -> LaneOrder {
        match self.orders.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }

    /// When the next replay goes on.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.iter().map(|replay| replay.due).min()
    }

    fn holds(&self, key: Key) -> bool {
        self.queue.iter().any(|replay| replay.key == key)
    }

    /// The replay that is due first, unless it is not their turn.
    fn take_due(&mut self) -> Option<Replay> {
        if std::mem::take(&mut self.went_last) {
            return None;
        }
        let now = Instant::now();
        let first = self.queue.iter().enumerate().filter(|(_, replay)| replay.due <= now);
        let (at, _) = first.min_by_key(|(_, replay)| replay.due)?;
        self.went_last = true;
        self.queue.remove(at)
    }
}

impl Replay {
    fn of(order: ReplayOrder) -> Self {
        let now = Instant::now();
        let ReplayOrder { key, records_per_s, is_probed } = order;
        Self { key, records_per_s, is_probed, failures: 0, since: now, due: now, reply: None }
    }

    fn answer(&mut self, answer: ParkedOutcome) {
        if let Some(reply) = self.reply.take() {
            // Whoever asked may have lost interest.
            let _ = reply.send(Ok(answer));
        }
    }
}

impl LaneTask {
    /// Carries out a command about a parked key.
    pub(super) async fn obey(&mut self, order: LaneOrder) -> Step {
        let LaneOrder { key, text, command, reply } = order;
        let needs_sink = matches!(command, ParkedCommand::Retry | ParkedCommand::Replay { .. });
        if needs_sink && self.replays.holds(key) {
            let _ = reply.send(Err(ParkedRefusal::Replaying { key: text }));
            return Ok(());
        }
        if needs_sink && !self.parked.contains(&key) {
            let _ = reply.send(Err(ParkedRefusal::NoKey { key: text }));
            return Ok(());
        }
        match command {
            ParkedCommand::Retry => self.retry(key, reply).await,
            ParkedCommand::Replay { records_per_s } => {
                let shared = self.shared.clone();
                shared.note(shared.parking.replay_begins(key, records_per_s)).await?;
                let mut replay = Replay::of(ReplayOrder { key, records_per_s, is_probed: false });
                replay.reply = Some(reply);
                self.replays.queue.push_back(replay);
                Ok(())
            }
            change @ (ParkedCommand::Edit { .. } | ParkedCommand::Drop { .. }) => {
                let shared = self.shared.clone();
                let changed = tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => return Err(Ended::Stopped),
                    changed = shared.parking.change(key, &text, &change) => changed,
                };
                self.free_if_empty(key).await;
                let _ = reply.send(changed);
                Ok(())
            }
        }
    }

    /// Does one step of the replay that is due, if it is its turn; answers whether it did.
    pub(super) async fn replay(&mut self) -> Step<bool> {
        let Some(mut replay) = self.replays.take_due() else { return Ok(false) };
        let limit = self.shared.limits.records;
        let count = match (replay.is_probed, replay.records_per_s) {
            (false, _) => 1,
            (true, None) => limit,
            (true, Some(per_s)) => limit.min(per_s as usize).max(1),
        };
        match self.try_parked(replay.key, count, replay.failures.saturating_add(1)).await? {
            Tried::Delivered(records) => {
                let left = self.shared.left(replay.key).await;
                replay.answer(ParkedOutcome::Delivered { left });
                if left == 0 || records == 0 {
                    self.free_if_empty(replay.key).await;
                    return Ok(true);
                }
                let pause = replay.records_per_s.map(|per_s| Duration::from_secs(1) * records / per_s.max(1));
                replay.is_probed = true;
                replay.failures = 0;
                replay.due = Instant::now() + pause.unwrap_or_default();
                self.replays.queue.push_back(replay);
            }
            Tried::Failed(parked, failure) => self.replay_failed(replay, &parked, &failure).await?,
        }
        Ok(true)
    }

    /// What may pass is tried again once a record got through; what does not ends the replay, and the key stays parked.
    async fn replay_failed(&mut self, mut replay: Replay, parked: &Parked, failure: &Failure) -> Step {
        self.count_failure(failure);
        if replay.failures == 0 {
            replay.since = Instant::now();
        }
        replay.failures = replay.failures.saturating_add(1);
        let delay = match failure.next {
            Next::Retry { .. } if replay.is_probed => {
                self.shared.backoff.delay(self.streak(failure, replay.since.elapsed(), replay.failures))
            }
            _ => None,
        };
        if let Some(delay) = delay {
            self.log_wait(failure, delay, replay.failures);
            replay.due = Instant::now() + delay;
            self.replays.queue.push_back(replay);
            return Ok(());
        }
        if self.shared.is_logging {
            tracing::warn!(connector = %self.shared.connector_id, lane = %self.lane, position = %parked.position,
                class = failure.class.label(), "the replay of a parked key gave up");
        }
        let shared = self.shared.clone();
        shared.note(shared.parking.refused(replay.key, parked, failure, true)).await?;
        let answer = self.shared.refusal(replay.key, failure).await;
        replay.answer(answer);
        Ok(())
    }

    async fn retry(&mut self, key: Key, reply: Reply) -> Step {
        let answer = match self.try_parked(key, 1, 1).await? {
            Tried::Delivered(_) => ParkedOutcome::Delivered { left: self.shared.left(key).await },
            Tried::Failed(parked, failure) => {
                self.count_failure(&failure);
                let shared = self.shared.clone();
                shared.note(shared.parking.refused(key, &parked, &failure, false)).await?;
                self.shared.refusal(key, &failure).await
            }
        };
        self.free_if_empty(key).await;
        let _ = reply.send(Ok(answer));
        Ok(())
    }

    /// A key with nothing parked is as any other: what comes next goes to the target.
    async fn free_if_empty(&mut self, key: Key) {
        if !self.shared.parking.holds(key).await {
            self.parked.remove(&key);
            self.replays.queue.retain(|replay| replay.key != key);
        }
    }

    /// Tries the first parked records of a key and notes what was delivered.
    async fn try_parked(&mut self, key: Key, count: usize, number: u32) -> Step<Tried> {
        let shared = self.shared.clone();
        let mut parked = shared.parking.first(key, count, shared.limits.bytes).await;
        let Some(first) = parked.first().cloned() else { return Ok(Tried::Delivered(0)) };
        let read = match shared.parking.records(&parked).await {
            Ok(read) => read,
            Err(error) => {
                let failure = Failure::retry(FailureClass::Local, error.to_string()).after(READ_PAUSE);
                return Ok(Tried::Failed(Box::new(first), failure));
            }
        };
        let (records, failure) = self.shared.made_ready(read).await;
        if let (true, Some(failure)) = (records.is_empty(), failure) {
            return Ok(Tried::Failed(Box::new(first), failure));
        }
        parked.truncate(records.len());
        let (mut gone, mut bare, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        for (parked, record) in parked.into_iter().zip(records) {
            match record {
                Some(record) => {
                    bare.push(record);
                    sent.push(parked);
                }
                // The transform drops it now.
                None => gone.push(parked.number.get()),
            }
        }
        let mut failed = None;
        if let Some(batch) = Batch::new(self.lane, shared.epoch, shared.clock.now(), bare) {
            let batch = batch.with_attempt(number).as_replay();
            shared.metrics.attempt_begins(true);
            let receipt = attempt(self.sink.as_mut(), &batch, shared.target.attempt_limit(batch.len())).await;
            shared.metrics.attempt_ended(None);
            for (parked, outcome) in sent.into_iter().zip(receipt.outcomes()) {
                match failure_in(outcome) {
                    None => gone.push(parked.number.get()),
                    Some(failure) => {
                        failed.get_or_insert((Box::new(parked), failure));
                    }
                }
            }
        }
        let delivered = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        if !gone.is_empty() {
            shared.note(shared.parking.replayed(key, gone)).await?;
        }
        match failed {
            Some((parked, failure)) => Ok(Tried::Failed(parked, failure)),
            None => Ok(Tried::Delivered(delivered)),
        }
    }
}

impl Delivery {
    async fn refusal(&self, key: Key, failure: &Failure) -> ParkedOutcome {
        let message = self.parking.without_secrets(failure.reason.clone());
        ParkedOutcome::Refused { class: failure.class.label(), message, left: self.left(key).await }
    }

    async fn left(&self, key: Key) -> u64 {
        self.parking.records_of(key).await
    }

    /// The records as they go to the target, none for those that the transform drops now, up to the first on which the
    /// transform fails again. Only those it failed on before are made anew.
    async fn made_ready(&self, read: Vec<(Record, bool)>) -> (Vec<Option<Record>>, Option<Failure>) {
        let mut ready = Vec::with_capacity(read.len());
        let mut engine = None;
        for (record, is_untransformed) in read {
            let Some(script) = self.script.as_ref().filter(|_| is_untransformed) else {
                ready.push(Some(record));
                continue;
            };
            if engine.is_none() {
                let script = script.clone();
                engine = tokio::task::spawn_blocking(move || script.start()).await.ok().and_then(Result::ok);
            }
            let Some(engine) = &engine else {
                return (ready, Some(Failure::reject(FailureClass::Script, "the transform cannot be started")));
            };
            match engine.apply(vec![record]).await.pop() {
                Some(Ok(Transformed::Unchanged(record) | Transformed::Changed(record))) => ready.push(Some(record)),
                Some(Ok(Transformed::Dropped(_))) => ready.push(None),
                Some(Err(failure)) => return (ready, Some(failure_of_script(&failure))),
                None => return (ready, Some(Failure::reject(FailureClass::Script, "the transform gave no answer"))),
            }
        }
        (ready, None)
    }

    /// Waits until something is noted in the parked stream, or the connector is asked to stop.
    async fn note(&self, noted: impl Future<Output = Result<(), ParkError>>) -> Step {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Ended::Stopped),
            noted = noted => noted.map_err(|error| {
                Ended::Failed(PipelineFailure { code: "parking", message: error.to_string() })
            }),
        }
    }
}

fn failure_in(outcome: &Outcome) -> Option<Failure> {
    match outcome {
        Outcome::Delivered => None,
        Outcome::Failed(failure) => Some(failure.clone()),
        Outcome::Unanswered => Some(Failure::retry(FailureClass::Broken, "the sink gave no answer for this record")),
    }
}
