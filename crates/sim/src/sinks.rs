//! Owns the simulated sinks and the catalogue that each node has of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::{
    Batch, Catalog, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink, SinkContext, Target,
};
use forebay_event::Position;

use crate::history::{Fact, Life, Run};
use crate::target::{Mood, Receiver};
use crate::world::{Node, World};

/// How long an attempt may take.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);

/// The catalogue of a node.
pub(crate) fn catalog(node: usize) -> Catalog {
    let kind = |name, connect| Kind {
        name,
        aliases: &[],
        title: "Simulated",
        summary: "delivers to a simulated target",
        page: "",
        guarantee: Guarantee::AtLeastOnce,
        lanes: LaneSupport::Many,
        batch_records_default: 10,
        policy: &[],
        settings: Vec::new,
        connect,
    };
    // A catalogue holds plain functions, so each node has its own.
    let (plain, table): (forebay_connector::Connect, forebay_connector::Connect) =
        if node == 0 { (connect::<0, false>, connect::<0, true>) } else { (connect::<1, false>, connect::<1, true>) };
    Catalog::new(vec![kind("sim-sink", plain), kind("sim-table-sink", table)])
}

fn connect<const NODE: usize, const TABLE: bool>(
    _: &SettingsMap,
    _: &SinkContext,
) -> Result<Box<dyn Target>, SettingsErrors> {
    let absent = || SettingsErrors::single("instanceTypeName", "is simulated", "a world on this thread");
    let world = World::current().ok_or_else(absent)?;
    let node = world.nodes.get(NODE).map(Arc::clone).ok_or_else(absent)?;
    let life = node.life();
    Ok(Box::new(SimTarget { world, node, life, is_table: TABLE }))
}

struct SimTarget {
    world: Arc<World>,
    node: Arc<Node>,
    life: Life,
    is_table: bool,
}

impl Target for SimTarget {
    fn sink(&self, lane: Lane) -> Box<dyn Sink> {
        let (world, node, life) = (Arc::clone(&self.world), Arc::clone(&self.node), self.life);
        Box::new(SimSink { world, node, life, lane, is_table: self.is_table })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        ATTEMPT_LIMIT
    }
}

struct SimSink {
    world: Arc<World>,
    node: Arc<Node>,
    life: Life,
    lane: Lane,
    is_table: bool,
}

#[async_trait]
impl Sink for SimSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        self.node.step(self.life).await;
        let receiver = &self.world.receiver;
        let trouble = if self.world.is_hostile() { self.world.scenario.target.trouble_permille / 4 } else { 0 };
        if receiver.is_down() || receiver.chance.hits(trouble) { Err(receiver.failure()) } else { Ok(()) }
    }

    async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        Ok(if self.is_table { self.world.receiver.standing(self.lane.0) } else { None })
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        self.node.step(self.life).await;
        let run = Run { life: self.life, epoch: batch.epoch().0 };
        let positions = batch.records().iter().map(|record| record.event().position().commit()).collect();
        let (lane, attempt) = (self.lane.0, batch.attempt());
        self.world.history.add(Fact::Offered { run, lane, attempt, positions });
        let (receiver, terms) = (Arc::clone(&self.world.receiver), self.world.scenario.target);
        let latency = receiver.chance.millis(0, terms.latency_ms_max);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let is_hostile = self.world.is_hostile();
        let troubles = if is_hostile { (terms.trouble_permille, terms.stop_permille) } else { (0, 0) };
        let mood = receiver.mood(batch.len(), troubles);
        let refused = terms.refused_permille;
        let one_key = self.world.scenario.one_key;
        let mut delivery = Delivery { receiver: &receiver, batch, run, refused, one_key, marked: Vec::new() };
        let done = if self.is_table {
            delivery.as_transaction(mood, receipt).await
        } else {
            self.record_by_record(&mut delivery, mood, receipt).await
        };
        self.node.step(self.life).await;
        done
    }

    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

impl SimSink {
    /// Delivers to a target that takes record by record.
    async fn record_by_record(
        &self,
        delivery: &mut Delivery<'_>,
        mood: Mood,
        receipt: &mut Receipt,
    ) -> Result<(), Failure> {
        let most = delivery.batch.len();
        match mood {
            Mood::Kind => {
                delivery.take(self, (most, 3), Some(receipt)).await;
                Ok(())
            }
            Mood::Picks(remainder) => {
                delivery.take(self, (most, remainder), Some(receipt)).await;
                Ok(())
            }
            Mood::Breaks(count) => {
                delivery.take(self, (count, 3), Some(receipt)).await;
                Err(delivery.receiver.failure())
            }
            Mood::AnswerLost(count) => {
                delivery.take(self, (count, 3), None).await;
                Err(Failure::retry(FailureClass::Connect, "the answer was lost"))
            }
            Mood::Hangs(count, says_so) => {
                delivery.take(self, (count, 3), says_so.then_some(receipt)).await;
                std::future::pending().await
            }
            Mood::Late => {
                let (receiver, batch) = (Arc::clone(&self.world.receiver), delivery.batch.clone());
                let delay = receiver.chance.millis(100, 4_000);
                let (refused, one_key) = (delivery.refused, delivery.one_key);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let mut failed = Vec::new();
                    for event in batch.records().iter().map(forebay_event::Record::event) {
                        let key = if one_key { "" } else { event.stream() };
                        if failed.contains(&key) || receiver.never_takes(event, refused) {
                            failed.push(key);
                        } else {
                            receiver.take(event.position());
                        }
                    }
                });
                Err(Failure::retry(FailureClass::Timeout, "the answer did not come in time"))
            }
            Mood::Refuses => Err(delivery.receiver.failure()),
            Mood::Stops => Err(Failure::stop(FailureClass::Unauthorised, "the simulated target knows us no more")),
        }
    }
}

/// One attempt at a batch.
struct Delivery<'a> {
    receiver: &'a Receiver,
    batch: &'a Batch,
    run: Run,
    refused: u64,
    one_key: bool,
    marked: Vec<u64>,
}

impl Delivery<'_> {
    /// Takes the first so many records, but for keys of a remainder and those behind one that is not taken; confirms them
    /// where there is a receipt.
    async fn take(&mut self, sink: &SimSink, (most, remainder): (usize, u64), mut receipt: Option<&mut Receipt>) {
        let mut failed: Vec<&str> = Vec::new();
        for (index, record) in self.batch.records().iter().enumerate().take(most) {
            let event = record.event();
            let key = if self.one_key { "" } else { event.stream() };
            let failure = if failed.contains(&key) {
                Some(Failure::retry(FailureClass::Status(503), "stands behind one that was not taken"))
            } else if event.stream().len() as u64 % 2 + u64::from(event.stream().ends_with('1')) == remainder {
                Some(self.receiver.failure())
            } else if self.receiver.never_takes(event, self.refused) {
                Some(Failure::reject(FailureClass::Status(422), "the simulated target never takes it"))
            } else {
                None
            };
            match (failure, receipt.as_deref_mut()) {
                (None, receipt) => {
                    self.receiver.take(event.position());
                    if let Some(receipt) = receipt {
                        self.mark(event.position(), || receipt.delivered(index));
                    }
                }
                (Some(failure), receipt) => {
                    failed.push(key);
                    if let Some(receipt) = receipt {
                        receipt.failed(index, failure);
                    }
                }
            }
            sink.node.step(sink.life).await;
        }
    }

    /// Delivers to a target that takes a batch in one transaction with the position of its lane.
    async fn as_transaction(&mut self, mood: Mood, receipt: &mut Receipt) -> Result<(), Failure> {
        match mood {
            Mood::Kind | Mood::Picks(_) => {
                let most = self.batch.len();
                self.receiver.transact(self.batch, most)?;
                let positions: Vec<_> = self.batch.records().iter().map(|record| record.event().position()).collect();
                for (index, position) in positions.into_iter().enumerate() {
                    self.mark(position, || receipt.delivered(index));
                }
                Ok(())
            }
            Mood::AnswerLost(count) => {
                self.receiver.transact(self.batch, count)?;
                Err(Failure::retry(FailureClass::Connect, "the answer was lost"))
            }
            Mood::Hangs(count, _) => {
                self.receiver.transact(self.batch, count)?;
                std::future::pending().await
            }
            Mood::Late => {
                let (world, batch) = (World::current(), self.batch.clone());
                let delay = self.receiver.chance.millis(100, 15_000);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // It arrives when it may be of an epoch that is over: then it is refused, and nobody hears of it.
                    let _ = world.map(|world| world.receiver.transact(&batch, batch.len()));
                });
                Err(Failure::retry(FailureClass::Timeout, "the answer did not come in time"))
            }
            Mood::Refuses | Mood::Breaks(_) => Err(self.receiver.failure()),
            Mood::Stops => Err(Failure::stop(FailureClass::Unauthorised, "the simulated target knows us no more")),
        }
    }

    fn mark(&mut self, position: Position, say: impl FnOnce()) {
        say();
        self.marked.push(position.commit());
    }
}

/// What was confirmed stays so, also when the attempt is cut off.
impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        if let Some(world) = World::current().filter(|_| !self.marked.is_empty()) {
            let positions = std::mem::take(&mut self.marked);
            world.history.add(Fact::Marked { run: self.run, positions });
        }
    }
}
