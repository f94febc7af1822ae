//! Owns the simulated sink of a target that keeps the position of each lane in the transaction of its data.
//!
//! It does what the SQL sinks are documented to do, and shares no code with them: it claims its row before the first
//! transaction, and again whenever the outcome of one is in doubt; what the claim shows to be there is not written again.
//! Records that were parked leave the position where it is: each has a row of its own, until the runtime has heard of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_connector::{Batch, Failure, FailureClass, Lane, Receipt, Sink};
use forebay_event::Position;

use crate::ledger::{Claim, Fenced, ParkedRows};
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
    /// Written by transactions that were in doubt, or, of parked records, by earlier ones that have their rows.
    known: BTreeSet<Position>,
    /// Numbers of parked records that the runtime has heard of.
    heard: Vec<u64>,
}

/// What a transaction is to do: the records that it writes, how many of the batch are there with it, and why the next one
/// is not.
struct Plan {
    fresh: Vec<Position>,
    parked: Option<ParkedRows>,
    delivered: usize,
    refusal: Option<Failure>,
}

impl TableSink {
    pub(crate) fn new(way: Way, lane: Lane) -> Self {
        Self {
            way,
            lane,
            claim: None,
            asked: None,
            found: None,
            doubt: None,
            known: BTreeSet::new(),
            heard: Vec::new(),
        }
    }

    fn claimed(&mut self, epoch: u64) -> Result<Claim, Failure> {
        if let (Some(claim), None) = (self.claim, &self.doubt) {
            return Ok(claim);
        }
        let ledger = &self.way.receiver.ledger;
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

    fn is_there(&self, position: Position, is_parked: bool) -> bool {
        let by_an_earlier_owner =
            self.found.flatten().is_some_and(|found| position <= found) && Some(position) > self.asked;
        by_an_earlier_owner && !is_parked || self.known.contains(&position)
    }

    /// Up to the first record that the target refuses.
    fn plan(&mut self, batch: &Batch) -> Plan {
        let mut plan = Plan { fresh: Vec::new(), parked: None, delivered: 0, refusal: None };
        if let Some(parked) = batch.parked() {
            self.known.extend(self.way.receiver.ledger.written(&parked.numbers));
            plan.parked = Some(ParkedRows { written: Vec::new(), oldest: parked.oldest, heard: self.heard.clone() });
        }
        for (index, record) in batch.records().iter().enumerate() {
            let position = record.event().position();
            if !self.is_there(position, batch.parked().is_some()) {
                plan.refusal = self.way.refusal(record);
                if plan.refusal.is_some() {
                    break;
                }
                plan.fresh.push(position);
                if let (Some(rows), Some(parked)) = (&mut plan.parked, batch.parked()) {
                    rows.written.extend(parked.numbers.get(index));
                }
            }
            plan.delivered += 1;
        }
        plan
    }

    /// Begins a transaction; until its outcome is known it is in doubt.
    fn begin(&mut self, fresh: &[Position]) -> u64 {
        let token = self.way.receiver.chance.number();
        self.doubt = Some((token, fresh.to_vec()));
        token
    }

    fn commit(&mut self, claim: Claim, plan: &Plan) -> Result<(), Failure> {
        if !plan.fresh.is_empty() {
            let token = self.begin(&plan.fresh);
            let ledger = &self.way.receiver.ledger;
            ledger.commit(claim, token, &plan.fresh, plan.parked.as_ref()).map_err(|Fenced| fenced())?;
        }
        Ok(())
    }

    async fn attempt(&mut self, batch: &Batch, mood: Mood, receipt: &mut Receipt) -> Result<(), Failure> {
        match mood {
            Mood::Refuses | Mood::Breaks(_) => return Err(self.way.receiver.failure()),
            Mood::Stops => return Err(stopped()),
            _ => {}
        }
        let claim = self.claimed(batch.epoch().0)?;
        self.way.step().await;
        let plan = self.plan(batch);
        match mood {
            Mood::AnswerLost(part) => {
                if part > 0 {
                    self.commit(claim, &plan)?;
                }
                Err(Failure::retry(FailureClass::Connect, "the answer was lost"))
            }
            Mood::Hangs(part, _) => {
                if part > 0 {
                    self.commit(claim, &plan)?;
                }
                std::future::pending().await
            }
            Mood::Late => {
                let (token, ledger) = (self.begin(&plan.fresh), Arc::clone(&self.way.receiver.ledger));
                let delay = self.way.receiver.chance.millis(100, 15_000);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // Its claim may be gone by then: nothing is written, and nobody hears of it.
                    let _ = ledger.commit(claim, token, &plan.fresh, plan.parked.as_ref());
                });
                Err(unanswered())
            }
            _ => {
                self.commit(claim, &plan)?;
                self.way.step().await;
                self.doubt = None;
                self.answer(batch, plan, receipt)
            }
        }
    }

    fn answer(&mut self, batch: &Batch, plan: Plan, receipt: &mut Receipt) -> Result<(), Failure> {
        let mut confirmed = Confirmed::by(&self.way, batch);
        for (index, record) in batch.records().iter().enumerate().take(plan.delivered) {
            let position = record.event().position();
            receipt.delivered(index);
            confirmed.add(index, position);
            self.known.remove(&position);
            self.heard.extend(batch.parked().and_then(|parked| parked.numbers.get(index)));
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
        self.asked = self.way.receiver.ledger.row(self.lane.0).and_then(|row| row.position);
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
