//! Owns what follows an attempt that did not deliver everything: wait, park or stop, record by record.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use forebay_connector::{Batch, Failure, FailureClass, Next, Outcome, Receipt};
use forebay_event::Record;
use tokio::time::Instant;

use super::deliver::{Ended, FRUITLESS_MAX, LaneTask, Sent, Step};
use super::key::Key;
use super::lanes::Tracked;
use super::parked::ToPark;
use super::policy::{Action, Verdict};
use super::report::{Fate, Settlement};
use super::run::PipelineFailure;

/// A lane rests no longer than this: the keys that wait may wait for hours, and others come meanwhile.
const REST_MAX: Duration = Duration::from_secs(10);

/// Records of one key that failed together, in order.
struct Waiting {
    /// Of the first of them.
    failure: Failure,
    /// The first goes by itself next time.
    goes_alone: bool,
    records: Vec<Tracked>,
}

/// An attempt that did not deliver everything.
#[derive(Clone, Copy)]
struct Attempted<'a> {
    /// How many records it was for.
    records: usize,
    /// Keys of which a record got through.
    delivered_keys: &'a HashSet<Key>,
}

impl LaneTask {
    /// Deals with an attempt that did not deliver everything: record by record, in order.
    pub(super) async fn answered(&mut self, batch: &Batch, sent: Vec<Sent>, receipt: Receipt, number: u32) -> Step {
        let mut settlement = Settlement::new(Fate::Delivered);
        let mut failed: Vec<(Tracked, Failure)> = Vec::new();
        let mut delivered_keys = HashSet::new();
        for ((sent, record), outcome) in sent.into_iter().zip(batch.records()).zip(receipt.outcomes()) {
            match outcome {
                Outcome::Delivered => {
                    settlement.add_parts(sent.seq, sent.bytes, record.event().created());
                    delivered_keys.insert(sent.key);
                }
                Outcome::Failed(failure) => failed.push((again(sent, record), failure.clone())),
                Outcome::Unanswered => {
                    let failure = Failure::retry(FailureClass::Broken, "the sink gave no answer for this record");
                    failed.push((again(sent, record), failure));
                }
            }
        }
        let has_delivered = !settlement.seqs.is_empty();
        if has_delivered {
            self.settle(settlement).await?;
        }
        let failed_keys: HashSet<Key> = failed.iter().map(|(record, _)| record.key).collect();
        for key in delivered_keys.difference(&failed_keys) {
            self.held.succeeded(*key);
        }
        let attempt = Attempted { records: batch.len(), delivered_keys: &delivered_keys };
        let longest = self.sort_failures(failed, number, attempt).await?;
        if has_delivered {
            return self.fruitful().await;
        }
        // What is refused for good was answered: the target is there.
        let Some(longest) = longest else { return Ok(()) };
        self.no_fruit(number, longest);
        Ok(())
    }

    /// An attempt brought nothing. A key that fails again says nothing of the others, so only attempts at records that were
    /// not tried before make the target look down; and after it those get their turn.
    fn no_fruit(&mut self, number: u32, longest: Duration) {
        if number == 1 || self.fruitless >= FRUITLESS_MAX {
            self.fruitless = self.fruitless.saturating_add(1);
        }
        if self.fruitless >= FRUITLESS_MAX {
            self.resting_until = Some(Instant::now() + longest.min(REST_MAX));
        }
        self.fresh_next = number > 1;
    }

    /// Holds what may pass; parks, skips or stops at what does not. Answers the longest delay.
    async fn sort_failures(
        &mut self,
        failed: Vec<(Tracked, Failure)>,
        number: u32,
        attempt: Attempted<'_>,
    ) -> Step<Option<Duration>> {
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut index: HashMap<Key, usize> = HashMap::new();
        let mut newly_parked = Vec::new();
        for (record, failure) in failed {
            self.count_failure(&failure);
            let key = record.key;
            if let Some(behind) = index.get(&key).and_then(|at| waiting.get_mut(*at)) {
                behind.records.push(record);
                continue;
            }
            if self.parked.contains(&key) {
                let own = Some(&failure).filter(|failure| failure.next == Next::Reject);
                self.park(&record, own, number).await?;
                continue;
            }
            match self.shared.policy.verdict(&failure, attempt.records == 1) {
                Verdict::Final(action) => {
                    self.conclude(&record, &failure, (action, number)).await?;
                    newly_parked.extend((action == Action::Park).then_some(key));
                }
                verdict @ (Verdict::Wait | Verdict::Alone) => {
                    index.insert(key, waiting.len());
                    waiting.push(Waiting { failure, goes_alone: verdict == Verdict::Alone, records: vec![record] });
                }
            }
        }
        // What waited of a key comes behind what was on its way.
        for key in newly_parked {
            self.park_held(key).await?;
        }
        let mut longest = None;
        for waiting in waiting {
            longest = longest.max(self.put_back(waiting, attempt.delivered_keys).await?);
        }
        Ok(longest)
    }

    /// Lets records of one key wait for another attempt, unless their retries are exhausted; answers the delay that the
    /// target, or its absence, makes necessary.
    async fn put_back(&mut self, waiting: Waiting, delivered_keys: &HashSet<Key>) -> Step<Option<Duration>> {
        let Waiting { failure, goes_alone, records } = waiting;
        let Some(key) = records.first().map(|record| record.key) else { return Ok(None) };
        // A record of the key got through in this very attempt: what failed behind it begins a streak of its own.
        let is_new_streak = delivered_keys.contains(&key);
        if goes_alone {
            if is_new_streak {
                self.held.succeeded(key);
            }
            self.held.put_back(key, records, Duration::ZERO);
            self.held.goes_alone(key);
            return Ok(None);
        }
        let (failures, elapsed) = if is_new_streak { (0, Duration::ZERO) } else { self.held.streak(key) };
        let streak = self.streak(&failure, elapsed, failures.saturating_add(1));
        if let Some(delay) = self.shared.backoff.delay(streak) {
            if is_new_streak {
                self.held.succeeded(key);
            }
            self.log_wait(&failure, delay, streak.attempts);
            self.held.put_back(key, records, delay);
            self.failing(Some(failure.class)).await?;
            return Ok(Some(delay));
        }
        let mut records = records.into_iter();
        let Some(first) = records.next() else { return Ok(None) };
        let action = self.shared.policy.at_last(failure.class);
        self.conclude(&first, &failure, (action, streak.attempts)).await?;
        if action == Action::Park {
            for record in records {
                self.park(&record, None, streak.attempts).await?;
            }
            self.park_held(key).await?;
        } else if records.len() > 0 {
            self.held.put_back(key, records.collect(), Duration::ZERO);
        }
        Ok(None)
    }

    /// A record cannot be delivered, and it is the first of its key: the policy says what becomes of it.
    pub(super) async fn finally_failed(&mut self, record: Tracked, failure: &Failure, attempts: u32) -> Step {
        if record.doomed.is_some() {
            self.count_failure(failure);
        }
        let action = self.shared.policy.at_last(failure.class);
        self.conclude(&record, failure, (action, attempts)).await?;
        if action == Action::Park { self.park_held(record.key).await } else { Ok(()) }
    }

    /// Parks a record and marks its key, leaves it out, or ends the connector at it. What waits of its key is the
    /// caller's.
    async fn conclude(&mut self, record: &Tracked, failure: &Failure, (action, attempts): (Action, u32)) -> Step {
        match action {
            Action::Stop | Action::Retry => return Err(Ended::Failed(failure_of(&record.record, failure, attempts))),
            Action::Park => {
                self.log_given_up(record, failure, "parked a record and its key");
                self.park(record, Some(failure), attempts).await?;
                self.parked.insert(record.key);
            }
            Action::Skip => {
                self.log_given_up(record, failure, "left a record out, as its policy says");
                self.skip(record, failure, attempts).await?;
                self.held.succeeded(record.key);
            }
        }
        Ok(())
    }

    /// Parks all that waits of a key that was parked.
    async fn park_held(&mut self, key: Key) -> Step {
        for later in self.held.release(key) {
            self.park(&later, later.doomed.as_deref(), 0).await?;
        }
        Ok(())
    }

    async fn skip(&mut self, record: &Tracked, failure: &Failure, attempts: u32) -> Step {
        self.note_skipped(&record.record, failure, attempts).await?;
        let mut settlement = Settlement::skipped();
        settlement.add(record);
        self.settle(settlement).await
    }

    /// Writes down that a record is left out.
    pub(super) async fn note_skipped(&mut self, record: &Record, failure: &Failure, attempts: u32) -> Step {
        let noted = tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => return Err(Ended::Stopped),
            noted = self.shared.skips.note(record, failure, attempts) => noted,
        };
        if let Err(error) = noted {
            let event = record.event();
            let message = format!(
                "{} revision {}: what is left out cannot be written down: {error}",
                event.stream(),
                event.revision()
            );
            return Err(Ended::Failed(PipelineFailure { code: "skipping", message }));
        }
        self.shared.metrics.left_out();
        Ok(())
    }

    fn log_given_up(&self, record: &Tracked, failure: &Failure, what: &'static str) {
        if self.shared.is_logging {
            let event = record.record.event();
            let reason = self.shared.parking.without_secrets(failure.to_string());
            tracing::warn!(
                connector = %self.shared.connector_id, stream = event.stream(), revision = %event.revision(),
                reason, "{what}"
            );
        }
    }

    pub(super) async fn park(&mut self, record: &Tracked, failure: Option<&Failure>, attempts: u32) -> Step {
        let parked = ToPark { record: &record.record, failure, attempts };
        let stored = tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => return Err(Ended::Stopped),
            stored = self.shared.parking.park(parked) => stored,
        };
        if let Err(error) = stored {
            let event = record.record.event();
            let message = format!("{} revision {}: {error}", event.stream(), event.revision());
            return Err(Ended::Failed(PipelineFailure { code: "parking", message }));
        }
        let mut settlement = Settlement::new(Fate::Parked);
        settlement.add(record);
        self.settle(settlement).await
    }
}

fn again(sent: Sent, record: &Record) -> Tracked {
    Tracked { seq: sent.seq, key: sent.key, bytes: sent.bytes, record: record.clone(), doomed: None }
}

pub(super) fn failure_of(record: &Record, failure: &Failure, attempts: u32) -> PipelineFailure {
    let event = record.event();
    let tried = match attempts {
        1 => "1 attempt".to_owned(),
        many => format!("{many} attempts"),
    };
    let message = format!(
        "record at position {} (stream {}, revision {}) is not delivered after {tried}: {failure}",
        event.position(),
        event.stream(),
        event.revision()
    );
    PipelineFailure { code: failure.class.label(), message }
}
