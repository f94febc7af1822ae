//! Owns the replay of parked records: in the lane of their key, in turn with what the lane delivers.
//!
//! The first record goes alone, as a probe. The rest follow in order while new records of the key queue behind them; when
//! none is left, the key is as any other again. Attempts go the way of all attempts (rate, breaker, room, policy). What
//! was delivered is stored before the next ones go, so that a crash repeats no more than one batch.
//!
//! A replay ends even if records of its key arrive all the time: the rate that was asked for holds only for what was
//! parked then, and a turn delivers at least two records before the lane parks one more.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_connector::{Batch, Failure, FailureClass, Outcome, Receipt, attempt};
use forebay_event::Record;
use forebay_script::Transformed;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::deliver::{Delivery, Ended, LaneTask, Step};
use super::key::Key;
use super::parked::{LaneOrder, ParkError, Parked, ParkedCommand, ParkedOutcome, ParkedRefusal, ReplayOrder};
use super::policy::{Action, Verdict};
use super::run::PipelineFailure;
use super::transform::failure_of as failure_of_script;

/// The pause before the store is asked again for records that it did not answer.
const READ_PAUSE: Duration = Duration::from_secs(2);
/// The lane's own turn comes when replays have delivered so many records; in its turn it parks at most one.
const TURN_RECORDS: u32 = 2;
/// The reason that is kept with a record which the policy leaves out.
const SKIPPED_BY_POLICY: &str = "left out by the connector's error policy";

type Reply = oneshot::Sender<Result<ParkedOutcome, ParkedRefusal>>;

/// The replays of one lane, and the commands that wait for it.
pub(super) struct Replays {
    orders: mpsc::Receiver<LaneOrder>,
    queue: VecDeque<Replay>,
    /// Records that replays have delivered in this turn.
    turn: u32,
}

/// A key that is being replayed.
struct Replay {
    order: ReplayOrder,
    /// Only one attempt at its first record was asked for.
    is_single: bool,
    /// A failure may have been another record's: they go one at a time until one is judged.
    goes_alone: bool,
    failures: u32,
    since: Instant,
    due: Instant,
    /// Who waits to hear of the probe.
    reply: Option<Reply>,
}

/// What came of trying the first parked records of a key.
enum Tried {
    /// All of them were delivered, so many; none if there are no more.
    Delivered(u32),
    /// One was not: the first of those.
    Failed(Box<NotTaken>),
}

/// A parked record that was tried and not delivered.
struct NotTaken {
    parked: Parked,
    record: Option<Record>,
    failure: Failure,
    went_alone: bool,
}

impl Replays {
    pub(super) fn new(orders: mpsc::Receiver<LaneOrder>, ordered: Vec<ReplayOrder>) -> Self {
        let queue = ordered.into_iter().map(|order| Replay::of(order, None)).collect();
        Self { orders, queue, turn: 0 }
    }

    /// The next command; never when nobody can give one any more.
    pub(super) async fn ordered(&mut self) -> LaneOrder {
        match self.orders.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }

    /// The next command, if there is one now.
    pub(super) fn ordered_now(&mut self) -> Option<LaneOrder> {
        self.orders.try_recv().ok()
    }

    /// When the next replay goes on.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.iter().map(|replay| replay.due).min()
    }

    fn holds(&self, key: Key) -> bool {
        self.queue.iter().any(|replay| replay.order.key == key)
    }

    /// The replay that is due first, unless it is not their turn.
    fn take_due(&mut self) -> Option<Replay> {
        if self.turn >= TURN_RECORDS {
            self.turn = 0;
            return None;
        }
        let now = Instant::now();
        let due = self.queue.iter().enumerate().filter(|(_, replay)| replay.due <= now);
        let first = due.min_by_key(|(_, replay)| replay.due);
        let Some((at, _)) = first else {
            self.turn = 0;
            return None;
        };
        self.queue.remove(at)
    }

    fn forget(&mut self, key: Key) {
        self.queue.retain(|replay| replay.order.key != key);
    }
}

impl Replay {
    fn of(order: ReplayOrder, reply: Option<Reply>) -> Self {
        let now = Instant::now();
        Self { order, is_single: false, goes_alone: false, failures: 0, since: now, due: now, reply }
    }

    /// How many records the next attempt takes at most, and the pause that so many ask for.
    fn stride(&self, records_max: usize, first: &Parked) -> (usize, Duration) {
        let rate =
            self.order.records_per_s.filter(|_| self.order.up_to.is_none_or(|up_to| first.number.get() <= up_to));
        let records = match rate {
            _ if !self.order.is_probed || self.goes_alone => 1,
            None => records_max,
            Some(per_s) => records_max.min(per_s as usize),
        };
        let records = records.max(1);
        let pause =
            rate.map(|per_s| Duration::from_secs(1) * u32::try_from(records).unwrap_or(u32::MAX) / per_s.max(1));
        (records, pause.unwrap_or_default())
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
        let shared = self.shared.clone();
        match command {
            ParkedCommand::Retry => {
                let order = ReplayOrder { key, records_per_s: None, up_to: None, is_probed: false };
                self.replays.queue.push_back(Replay { is_single: true, ..Replay::of(order, Some(reply)) });
            }
            ParkedCommand::Replay { records_per_s } => {
                let up_to = shared.note(shared.parking.replay_begins(key, records_per_s)).await?;
                let order = ReplayOrder { key, records_per_s, up_to, is_probed: false };
                self.replays.queue.push_back(Replay::of(order, Some(reply)));
            }
            change @ (ParkedCommand::Edit { .. } | ParkedCommand::Drop { .. }) => {
                let changed = tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => return Err(Ended::Stopped),
                    changed = shared.parking.change(key, &text, &change) => changed,
                };
                self.free_if_empty(key).await;
                let _ = reply.send(changed);
            }
        }
        Ok(())
    }

    /// Does one step of the replay that is due, if it is its turn; answers whether it did.
    pub(super) async fn replay(&mut self) -> Step<bool> {
        let Some(mut replay) = self.replays.take_due() else { return Ok(false) };
        let key = replay.order.key;
        let limits = self.shared.flow.batch_limits(self.shared.limits);
        let begun = Instant::now();
        let Some(first) = self.shared.parking.first(key, 1, 1).await.pop() else {
            self.free_if_empty(key).await;
            return Ok(true);
        };
        let (records, pause) = replay.stride(limits.records, &first);
        let parked = self.shared.parking.first(key, records, limits.bytes).await;
        match self.try_parked(key, parked, replay.failures.saturating_add(1)).await? {
            Tried::Delivered(records) => {
                self.replays.turn = self.replays.turn.saturating_add(records);
                let left = self.shared.left(key).await;
                replay.answer(ParkedOutcome::Delivered { left });
                if left == 0 {
                    self.free_if_empty(key).await;
                } else if !replay.is_single {
                    replay.order.is_probed = true;
                    replay.goes_alone = false;
                    replay.failures = 0;
                    replay.due = begun + pause;
                    self.replays.queue.push_back(replay);
                }
                self.fruitful().await?;
            }
            Tried::Failed(not_taken) => {
                self.replays.turn = TURN_RECORDS;
                self.replay_failed(replay, *not_taken).await?;
            }
        }
        Ok(true)
    }

    /// The policy says what becomes of a record that failed again. But a probe that is refused harms nobody: somebody
    /// waits for its answer, and the key stays parked.
    async fn replay_failed(&mut self, mut replay: Replay, not_taken: NotTaken) -> Step {
        self.count_failure(&not_taken.failure);
        if replay.failures == 0 {
            replay.since = Instant::now();
        }
        replay.failures = replay.failures.saturating_add(1);
        if replay.is_single {
            return self.replay_ends(replay, &not_taken).await;
        }
        let action = match self.shared.policy.verdict(&not_taken.failure, not_taken.went_alone) {
            Verdict::Alone => {
                replay.goes_alone = true;
                replay.due = Instant::now();
                self.replays.queue.push_back(replay);
                return Ok(());
            }
            Verdict::Final(action) => action,
            Verdict::Wait => {
                let streak = self.streak(&not_taken.failure, replay.since.elapsed(), replay.failures);
                if let Some(delay) = self.shared.backoff.delay(streak) {
                    return self.replay_waits(replay, &not_taken, delay).await;
                }
                self.shared.policy.at_last(not_taken.failure.class)
            }
        };
        let (is_probed, attempts) = (replay.order.is_probed, replay.failures);
        match (action, &not_taken.record) {
            (Action::Skip, Some(record)) => {
                self.note_skipped(record, &not_taken.failure, attempts).await?;
                let shared = self.shared.clone();
                let (key, number) = (replay.order.key, not_taken.parked.number.get());
                shared.note(shared.parking.dropped(key, Some(number), SKIPPED_BY_POLICY)).await?;
                let left = shared.left(key).await;
                replay.answer(ParkedOutcome::Dropped { records: 1 });
                if left == 0 {
                    self.free_if_empty(key).await;
                } else {
                    (replay.failures, replay.due) = (0, Instant::now());
                    self.replays.queue.push_back(replay);
                }
                Ok(())
            }
            (Action::Stop | Action::Retry, Some(record)) if is_probed => {
                self.replay_ends(replay, &not_taken).await?;
                Err(Ended::Failed(super::answer::failure_of(record, &not_taken.failure, attempts)))
            }
            _ => self.replay_ends(replay, &not_taken).await,
        }
    }

    async fn replay_waits(&mut self, mut replay: Replay, not_taken: &NotTaken, delay: Duration) -> Step {
        let failure = &not_taken.failure;
        self.log_wait(failure, delay, replay.failures);
        replay.due = Instant::now() + delay;
        let message = self.shared.parking.without_secrets(failure.reason.clone());
        let left = self.shared.left(replay.order.key).await;
        replay.answer(ParkedOutcome::Waiting { class: failure.class.label(), message, left });
        self.replays.queue.push_back(replay);
        self.failing(Some(failure.class)).await
    }

    /// The key stays parked; what was answered about its first record is kept with it.
    async fn replay_ends(&mut self, mut replay: Replay, not_taken: &NotTaken) -> Step {
        let NotTaken { parked, failure, .. } = not_taken;
        let (key, shared) = (replay.order.key, self.shared.clone());
        if shared.is_logging && !replay.is_single {
            tracing::warn!(connector = %shared.connector_id, lane = %self.lane, position = %parked.position,
                class = failure.class.label(), "the replay of a parked key gave up");
        }
        shared.note(shared.parking.refused(key, parked, failure, !replay.is_single)).await?;
        let message = shared.parking.without_secrets(failure.reason.clone());
        let left = shared.left(key).await;
        replay.answer(ParkedOutcome::Refused { class: failure.class.label(), message, left });
        Ok(())
    }

    /// A key with nothing parked is as any other: what comes next goes to the target.
    async fn free_if_empty(&mut self, key: Key) {
        if !self.shared.parking.holds(key).await {
            self.parked.remove(&key);
            self.replays.forget(key);
            if self.shared.is_logging {
                tracing::info!(connector = %self.shared.connector_id, lane = %self.lane,
                    "nothing is parked of a key any more, it flows again");
            }
        }
    }

    /// Tries the first parked records of a key and notes what was delivered.
    async fn try_parked(&mut self, key: Key, mut parked: Vec<Parked>, number: u32) -> Step<Tried> {
        let shared = self.shared.clone();
        let Some(first) = parked.first().cloned() else { return Ok(Tried::Delivered(0)) };
        let failed = |failure| {
            let not_taken = NotTaken { parked: first.clone(), record: None, failure, went_alone: true };
            Ok(Tried::Failed(Box::new(not_taken)))
        };
        let (records, failure) = match shared.parking.records(&parked).await {
            Ok(read) => shared.made_ready(read).await,
            Err(error) => return failed(Failure::retry(FailureClass::Local, error.to_string()).after(READ_PAUSE)),
        };
        if let (true, Some(failure)) = (records.is_empty(), failure) {
            return failed(failure);
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
        let mut not_taken = None;
        if let Some((batch, receipt)) = self.attempt_parked(bare, &sent, number).await? {
            for ((parked, record), outcome) in sent.into_iter().zip(batch.records()).zip(receipt.outcomes()) {
                match failure_in(outcome) {
                    None => gone.push(parked.number.get()),
                    Some(failure) if not_taken.is_none() => {
                        let (record, went_alone) = (Some(record.clone()), batch.len() == 1);
                        not_taken = Some(Box::new(NotTaken { parked, record, failure, went_alone }));
                    }
                    Some(_) => {}
                }
            }
        }
        let delivered = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        if !gone.is_empty() {
            // Also when it is asked to stop: what is not noted is delivered again.
            shared.parking.replayed(key, gone).await.map_err(not_noted)?;
        }
        Ok(not_taken.map_or(Tried::Delivered(delivered), Tried::Failed))
    }

    /// Makes one attempt, on the way that all attempts go.
    async fn attempt_parked(
        &mut self,
        records: Vec<Record>,
        sent: &[Parked],
        number: u32,
    ) -> Step<Option<(Batch, Receipt)>> {
        let shared = self.shared.clone();
        let bytes = records.iter().map(|record| record.event().size()).sum();
        let Some(batch) = Batch::new(self.lane, shared.epoch, shared.clock.now(), records) else { return Ok(None) };
        let batch = batch.with_attempt(number).of_parked(shared.parking.numbers(sent).await);
        let admitted = self.admitted(batch.len(), bytes).await?;
        shared.metrics.attempt_begins(number > 1);
        let receipt = attempt(self.sink.as_mut(), &batch, shared.target.attempt_limit(batch.len())).await;
        admitted.learn(&receipt, number);
        shared.metrics.attempt_ended(None);
        Ok(Some((batch, receipt)))
    }
}

impl Delivery {
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
    async fn note<T>(&self, noted: impl Future<Output = Result<T, ParkError>>) -> Step<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Ended::Stopped),
            noted = noted => noted.map_err(not_noted),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn not_noted(error: ParkError) -> Ended {
    Ended::Failed(PipelineFailure { code: "parking", message: error.to_string() })
}

fn failure_in(outcome: &Outcome) -> Option<Failure> {
    match outcome {
        Outcome::Delivered => None,
        Outcome::Failed(failure) => Some(failure.clone()),
        Outcome::Unanswered => Some(Failure::retry(FailureClass::Broken, "the sink gave no answer for this record")),
    }
}
