//! Owns the simulated sink of a target that keeps the position of each lane in the transaction of its data.
//!
//! It does what the SQL sinks are documented to do, and shares no code with them: it claims its row before the first
//! transaction, and again whenever the outcome of one is in doubt; what the claim shows to be there is not written again.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_connector::{Batch, Failure, FailureClass, Lane, Receipt, Sink};
use forebay_event::Position;

use crate::ledger::{Claim, Fenced};
use crate::sinks::{Confirmed, Way, stopped, unanswered};
use crate::target::Mood;

pub(crate) struct TableSink {
    way: Way,
    lane: Lane,
    claim: Option<Claim>,
    /// What was answered to the runtime.
    asked: Option<Position>,
    /// Where the lane stood when it was claimed first.
    found: Option<Option<Position>>,
    /// A transaction that may have come about.
    doubt: Option<(u64, Vec<Position>)>,
    /// Written by transactions that were in doubt.
    known: BTreeSet<Position>,
}

/// What a transaction is to do: the records that it writes, how many of the batch are there with it, and why the next one
/// is not.
struct Plan {
    fresh: Vec<Position>,
    delivered: usize,
    refusal: Option<Failure>,
}

impl TableSink {
    pub(crate) fn new(way: Way, lane: Lane) -> Self {
        Self { way, lane, claim: None, asked: None, found: None, doubt: None, known: BTreeSet::new() }
    }

    fn claimed(&mut self, epoch: u64) -> Result<Claim, Failure> {
        if let (Some(claim), None) = (self.claim, &self.doubt) {
            return Ok(claim);
        }
        let ledger = &self.way.world.receiver.ledger;
        let (claim, row) = ledger.claim(self.lane.0, epoch).map_err(|Fenced| fenced())?;
        if let Some((token, positions)) = self.doubt.take()
            && token == row.token
        {
            self.known.extend(positions);
        }
        self.found.get_or_insert(row.position);
        self.claim = Some(claim);
        Ok(claim)
    }

    fn is_there(&self, position: Position) -> bool {
        let by_an_earlier_owner =
            self.found.flatten().is_some_and(|found| position <= found) && Some(position) > self.asked;
        by_an_earlier_owner || self.known.contains(&position)
    }

    /// Up to the first record that the target refuses.
    fn plan(&self, batch: &Batch) -> Plan {
        let mut plan = Plan { fresh: Vec::new(), delivered: 0, refusal: None };
        for record in batch.records() {
            let position = record.event().position();
            if !self.is_there(position) {
                plan.refusal = self.way.refusal(position.commit());
                if plan.refusal.is_some() {
                    break;
                }
                plan.fresh.push(position);
            }
            plan.delivered += 1;
        }
        plan
    }

    /// Begins a transaction; until its outcome is known it is in doubt.
    fn begin(&mut self, fresh: &[Position]) -> u64 {
        let token = self.way.world.receiver.chance.number();
        self.doubt = Some((token, fresh.to_vec()));
        token
    }

    fn commit(&mut self, claim: Claim, fresh: &[Position]) -> Result<(), Failure> {
        if !fresh.is_empty() {
            let token = self.begin(fresh);
            self.way.world.receiver.ledger.commit(claim, token, fresh).map_err(|Fenced| fenced())?;
        }
        Ok(())
    }

    async fn attempt(&mut self, batch: &Batch, mood: Mood, receipt: &mut Receipt) -> Result<(), Failure> {
        match mood {
            Mood::Refuses | Mood::Breaks(_) => return Err(self.way.world.receiver.failure()),
            Mood::Stops => return Err(stopped()),
            _ => {}
        }
        let claim = self.claimed(batch.epoch().0)?;
        self.way.step().await;
        let plan = self.plan(batch);
        match mood {
            Mood::AnswerLost(part) => {
                self.commit(claim, if part > 0 { &plan.fresh } else { &[] })?;
                Err(Failure::retry(FailureClass::Connect, "the answer was lost"))
            }
            Mood::Hangs(part, _) => {
                self.commit(claim, if part > 0 { &plan.fresh } else { &[] })?;
                std::future::pending().await
            }
            Mood::Late => {
                let (token, ledger) = (self.begin(&plan.fresh), Arc::clone(&self.way.world.receiver.ledger));
                let delay = self.way.world.receiver.chance.millis(100, 15_000);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // Its claim may be gone by then: nothing is written, and nobody hears of it.
                    let _ = ledger.commit(claim, token, &plan.fresh);
                });
                Err(unanswered())
            }
            _ => {
                self.commit(claim, &plan.fresh)?;
                self.way.step().await;
                self.doubt = None;
                self.answer(batch, plan, receipt)
            }
        }
    }

    fn answer(&mut self, batch: &Batch, plan: Plan, receipt: &mut Receipt) -> Result<(), Failure> {
        let mut confirmed = Confirmed::by(&self.way, batch);
        for (index, record) in batch.records().iter().enumerate().take(plan.delivered) {
            receipt.delivered(index);
            confirmed.add(record.event().position().commit());
            self.known.remove(&record.event().position());
        }
        if let Some(refusal) = plan.refusal {
            receipt.failed(plan.delivered, refusal);
        }
        if plan.delivered < batch.len() {
            return Err(Failure::retry(FailureClass::Busy, "waits behind a record that was refused"));
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for TableSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        self.way.probe().await
    }

    async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        self.way.step().await;
        self.asked = self.way.world.receiver.ledger.row(self.lane.0).and_then(|row| row.position);
        Ok(self.asked)
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        let mood = self.way.offer(self.lane, batch).await?;
        let done = self.attempt(batch, mood, receipt).await;
        self.way.step().await;
        done
    }

    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

fn fenced() -> Failure {
    Failure::stop(FailureClass::Fenced, "a newer owner has claimed this lane")
}
