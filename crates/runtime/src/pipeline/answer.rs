//! Owns what follows an attempt that did not deliver everything: wait, park or stop, record by record.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use forebay_connector::{Batch, Failure, FailureClass, Next, Outcome, Receipt};
use tokio::time::Instant;

use super::deliver::{Ended, FRUITLESS_MAX, LaneTask, Sent, Step};
use super::key::Key;
use super::lanes::Tracked;
use super::parked::ToPark;
use super::report::{Fate, Settlement};
use super::run::PipelineFailure;
use crate::settings::OnFailure;

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
        let longest = self.sort_failures(failed, number, &delivered_keys).await?;
        if has_delivered {
            return self.fruitful().await;
        }
        // What is refused for good was answered: the target is there.
        let Some(longest) = longest else { return Ok(()) };
        self.fruitless = self.fruitless.saturating_add(1);
        if self.fruitless >= FRUITLESS_MAX {
            self.resting_until = Some(Instant::now() + longest);
        }
        Ok(())
    }

    /// Holds what may pass, and ends or parks what does not; answers the longest delay.
    async fn sort_failures(
        &mut self,
        failed: Vec<(Tracked, Failure)>,
        number: u32,
        delivered_keys: &HashSet<Key>,
    ) -> Step<Option<Duration>> {
        let mut waiting: Vec<(Key, Failure, Vec<Tracked>)> = Vec::new();
        let mut index: HashMap<Key, usize> = HashMap::new();
        let mut finals: Vec<(Tracked, Failure)> = Vec::new();
        for (record, failure) in failed {
            self.count_failure(&failure);
            if failure.next == Next::Stop {
                return Err(Ended::Failed(failure_of(&record, &failure, number)));
            }
            let key = record.key;
            if let Some((.., records)) = index.get(&key).and_then(|at| waiting.get_mut(*at)) {
                records.push(record);
            } else if matches!(failure.next, Next::Retry { .. })
                && !finals.iter().any(|(earlier, _)| earlier.key == key)
            {
                index.insert(key, waiting.len());
                waiting.push((key, failure, vec![record]));
            } else {
                finals.push((record, failure));
            }
        }
        let mut longest = None;
        for (key, failure, records) in waiting {
            let (failures, elapsed) = self.held.streak(key);
            // A record of the key got through in this very attempt: what failed behind it begins a streak of its own.
            let (failures, elapsed) =
                if delivered_keys.contains(&key) { (0, Duration::ZERO) } else { (failures, elapsed) };
            let streak = self.streak(&failure, elapsed, failures.saturating_add(1));
            match self.shared.backoff.delay(streak) {
                Some(delay) => {
                    if delivered_keys.contains(&key) {
                        self.held.succeeded(key);
                    }
                    self.log_wait(&failure, delay, streak.attempts);
                    self.held.put_back(key, records, delay);
                    longest = longest.max(Some(delay));
                    self.failing(Some(failure.class)).await?;
                }
                None => {
                    let mut records = records.into_iter();
                    if let Some(first) = records.next() {
                        self.finally_failed(first, &failure, streak.attempts).await?;
                    }
                    for record in records {
                        self.park(&record, None, streak.attempts).await?;
                    }
                }
            }
        }
        for (record, failure) in finals {
            if self.parked.contains(&record.key) {
                // What was not sent because of a record before it was not refused: it follows.
                let own = (failure.next == Next::Reject).then_some(&failure);
                self.park(&record, own, number).await?;
            } else {
                self.finally_failed(record, &failure, number).await?;
            }
        }
        Ok(longest)
    }

    /// A record cannot be delivered: the connector stops, or the record and its key are parked.
    pub(super) async fn finally_failed(&mut self, record: Tracked, failure: &Failure, attempts: u32) -> Step {
        let policy = match failure.class {
            FailureClass::Script => self.shared.on.on_script_error,
            _ => self.shared.on.on_reject,
        };
        if record.doomed.is_some() {
            self.count_failure(failure);
        }
        if policy == OnFailure::Stop {
            return Err(Ended::Failed(failure_of(&record, failure, attempts)));
        }
        if self.shared.is_logging {
            let event = record.record.event();
            tracing::warn!(
                connector = %self.shared.connector_id, stream = event.stream(), revision = %event.revision(),
                reason = %failure, "parked a record and its key"
            );
        }
        self.park(&record, Some(failure), attempts).await?;
        self.parked.insert(record.key);
        for later in self.held.release(record.key) {
            self.park(&later, later.doomed.as_deref(), 0).await?;
        }
        Ok(())
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

fn again(sent: Sent, record: &forebay_event::Record) -> Tracked {
    Tracked { seq: sent.seq, key: sent.key, bytes: sent.bytes, record: record.clone(), doomed: None }
}

fn failure_of(record: &Tracked, failure: &Failure, attempts: u32) -> PipelineFailure {
    let event = record.record.event();
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
