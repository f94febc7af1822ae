//! Owns the simulated sink of a target that takes record by record and knows nothing of who sends them.

use std::sync::Arc;

use async_trait::async_trait;
use forebay_connector::{Batch, Failure, FailureClass, Lane, Receipt, Sink};

use crate::sinks::{Confirmed, Way, stopped, unanswered};
use crate::target::Mood;

/// No key has this remainder.
const NOBODY: u64 = 3;

pub(crate) struct PlainSink {
    pub(crate) way: Way,
    pub(crate) lane: Lane,
}

#[async_trait]
impl Sink for PlainSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        self.way.probe().await
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        let mood = self.way.offer(self.lane, batch).await?;
        let one_key = self.way.world.scenario.one_key;
        let mut delivery = Delivery { way: &self.way, batch, one_key, confirmed: Confirmed::by(&self.way, batch) };
        let done = delivery.attempt(mood, receipt).await;
        self.way.step().await;
        done
    }

    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// One attempt at a batch.
struct Delivery<'a> {
    way: &'a Way,
    batch: &'a Batch,
    one_key: bool,
    confirmed: Confirmed,
}

impl Delivery<'_> {
    async fn attempt(&mut self, mood: Mood, receipt: &mut Receipt) -> Result<(), Failure> {
        let most = self.batch.len();
        match mood {
            Mood::Kind => {
                self.take((most, NOBODY), Some(receipt)).await;
                Ok(())
            }
            Mood::Picks(remainder) => {
                self.take((most, remainder), Some(receipt)).await;
                Ok(())
            }
            Mood::Breaks(count) => {
                self.take((count, NOBODY), Some(receipt)).await;
                Err(self.way.receiver.failure())
            }
            Mood::AnswerLost(count) => {
                self.take((count, NOBODY), None).await;
                Err(Failure::retry(FailureClass::Connect, "the answer was lost"))
            }
            Mood::Hangs(count, says_so) => {
                self.take((count, NOBODY), says_so.then_some(receipt)).await;
                std::future::pending().await
            }
            Mood::Late => {
                self.take_late();
                Err(unanswered())
            }
            Mood::Refuses => Err(self.way.receiver.failure()),
            Mood::Stops => Err(stopped()),
        }
    }

    /// Takes the first so many records, but for keys of a remainder and those behind one that is not taken; confirms them
    /// where there is a receipt.
    async fn take(&mut self, (most, remainder): (usize, u64), mut receipt: Option<&mut Receipt>) {
        let receiver = Arc::clone(&self.way.receiver);
        let mut failed: Vec<&str> = Vec::new();
        for (index, record) in self.batch.records().iter().enumerate().take(most) {
            let event = record.event();
            let key = if self.one_key { "" } else { event.stream() };
            let failure = if failed.contains(&key) {
                Some(Failure::retry(FailureClass::Status(503), "stands behind one that was not taken"))
            } else if event.stream().len() as u64 % 2 + u64::from(event.stream().ends_with('1')) == remainder {
                Some(receiver.failure())
            } else {
                self.way.refusal(record)
            };
            match (failure, receipt.as_deref_mut()) {
                (None, receipt) => {
                    receiver.take(event.position());
                    if let Some(receipt) = receipt {
                        receipt.delivered(index);
                        self.confirmed.add(index, event.position());
                    }
                }
                (Some(failure), receipt) => {
                    failed.push(key);
                    if let Some(receipt) = receipt {
                        receipt.failed(index, failure);
                    }
                }
            }
            self.way.step().await;
        }
    }

    /// Takes all of it, long after it has said that it did not.
    fn take_late(&self) {
        let (way, batch, one_key) = (self.way.clone(), self.batch.clone(), self.one_key);
        let delay = way.receiver.chance.millis(100, 4_000);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let mut failed = Vec::new();
            for record in batch.records() {
                let event = record.event();
                let key = if one_key { "" } else { event.stream() };
                if failed.contains(&key) || way.refusal(record).is_some() {
                    failed.push(key);
                } else {
                    way.receiver.take(event.position());
                }
            }
        });
    }
}
