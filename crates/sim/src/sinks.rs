//! Owns the simulated targets that connectors are built with, and the catalogue that each node has of them.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::{
    Batch, Catalog, Connect, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Sink, SinkContext, Target,
};
use forebay_event::{Position, Record};
use tokio::time::Instant;

use crate::history::{Fact, Life, Payload, Run, Tried};
use crate::plain_sink::PlainSink;
use crate::scenario::connector_at;
use crate::table_sink::TableSink;
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
    let (plain, table): (Connect, Connect) = match node {
        0 => (connect::<0, false>, connect::<0, true>),
        1 => (connect::<1, false>, connect::<1, true>),
        2 => (connect::<2, false>, connect::<2, true>),
        _ => (connect::<3, false>, connect::<3, true>),
    };
    Catalog::new(vec![kind("sim-sink", plain), kind("sim-table-sink", table)])
}

fn connect<const NODE: usize, const TABLE: bool>(
    _: &SettingsMap,
    context: &SinkContext,
) -> Result<Box<dyn Target>, SettingsErrors> {
    let absent = || SettingsErrors::single("instanceTypeName", "is simulated", "a world on this thread");
    let world = World::current().ok_or_else(absent)?;
    let node = world.nodes.get(NODE).map(Arc::clone).ok_or_else(absent)?;
    let life = node.life();
    let connector = connector_at(&context.connector_id).ok_or_else(absent)?;
    let receiver = world.receivers.get(connector).map(Arc::clone).ok_or_else(absent)?;
    Ok(Box::new(SimTarget { way: Way { world, connector, receiver, node, life }, is_table: TABLE }))
}

struct SimTarget {
    way: Way,
    is_table: bool,
}

impl Target for SimTarget {
    fn sink(&self, lane: Lane) -> Box<dyn Sink> {
        let way = self.way.clone();
        if self.is_table { Box::new(TableSink::new(way, lane)) } else { Box::new(PlainSink { way, lane }) }
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        ATTEMPT_LIMIT
    }

    fn keeps_position(&self) -> bool {
        self.is_table
    }
}

/// The way of a connector in one life of a node to its target.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) world: Arc<World>,
    pub(crate) connector: usize,
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) node: Arc<Node>,
    pub(crate) life: Life,
}

impl Way {
    /// One step of the life.
    pub(crate) async fn step(&self) {
        self.node.step(self.life).await;
    }

    /// Whether the target answers a probe.
    pub(crate) async fn probe(&self) -> Result<(), Failure> {
        self.step().await;
        self.get_through().await?;
        let receiver = &self.receiver;
        let trouble = if self.world.is_hostile() { self.world.scenario.target.trouble_permille / 4 } else { 0 };
        if receiver.is_down() || receiver.chance.hits(trouble) { Err(receiver.failure()) } else { Ok(()) }
    }

    /// Takes a batch there, and says how the attempt is to go.
    pub(crate) async fn offer(&self, lane: Lane, batch: &Batch) -> Result<Mood, Failure> {
        self.step().await;
        let run = Run { life: self.life, epoch: batch.epoch().0 };
        self.tell(offered(run, lane, batch));
        self.get_through().await?;
        let (receiver, terms) = (&self.receiver, self.world.scenario.target);
        let latency = receiver.chance.millis(0, terms.latency_ms_max);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let is_hostile = self.world.is_hostile();
        let troubles = if is_hostile { (terms.trouble_permille, terms.stop_permille) } else { (0, 0) };
        Ok(receiver.mood(batch.len(), troubles))
    }

    /// Fails, at once or after hanging, while this node cannot reach the target.
    async fn get_through(&self) -> Result<(), Failure> {
        let Some(until) = self.node.is_cut_from_target_until() else { return Ok(()) };
        if self.receiver.chance.hits(300) {
            tokio::time::sleep_until(until.min(Instant::now() + ATTEMPT_LIMIT * 2)).await;
        }
        Err(Failure::retry(FailureClass::Connect, "the simulated way to the target is cut"))
    }

    /// Adds a fact about the connector.
    fn tell(&self, fact: Fact) {
        self.world.history.add_of(Some(self.connector), fact);
    }

    /// With which status the target refuses this record now.
    pub(crate) fn refusal(&self, record: &Record) -> Option<Failure> {
        let position = record.event().position().commit();
        let status = self.world.scenario.refusals.refuses(position, self.world.is_hostile())?;
        if self.world.mercy.is_shown(position, record.data_slice()) {
            return None;
        }
        Some(Failure::reject(FailureClass::Status(status), "the simulated target does not take it"))
    }
}

/// What a sink is given, as the history has it.
fn offered(run: Run, lane: Lane, batch: &Batch) -> Fact {
    let (lane, attempt) = (lane.0, batch.attempt());
    let position = |record: &Record| record.event().position().commit();
    let Some(parked) = batch.parked() else {
        return Fact::Offered { run, lane, attempt, positions: batch.records().iter().map(position).collect() };
    };
    let tried = |(record, number): (&Record, &u64)| Tried {
        number: *number,
        position: position(record),
        payload: Payload::of(record.data_slice()),
    };
    Fact::Tried { run, lane, attempt, records: batch.records().iter().zip(&*parked.numbers).map(tried).collect() }
}

/// What a sink has confirmed stays so, also when the attempt is cut off.
#[derive(Debug)]
pub(crate) struct Confirmed {
    way: Way,
    run: Run,
    /// The numbers of the batch, if its records were parked.
    numbers: Option<Arc<[u64]>>,
    /// What is confirmed: positions, or numbers.
    confirmed: Vec<u64>,
}

impl Confirmed {
    pub(crate) fn by(way: &Way, batch: &Batch) -> Self {
        let run = Run { life: way.life, epoch: batch.epoch().0 };
        let numbers = batch.parked().map(|parked| Arc::clone(&parked.numbers));
        Self { way: way.clone(), run, numbers, confirmed: Vec::new() }
    }

    /// The record at this place of the batch, and in the log, is delivered.
    pub(crate) fn add(&mut self, index: usize, position: Position) {
        match &self.numbers {
            Some(numbers) => self.confirmed.extend(numbers.get(index)),
            None => self.confirmed.push(position.commit()),
        }
    }
}

impl Drop for Confirmed {
    fn drop(&mut self) {
        let (run, confirmed) = (self.run, std::mem::take(&mut self.confirmed));
        if !confirmed.is_empty() {
            self.way.tell(match self.numbers {
                Some(_) => Fact::Redelivered { run, numbers: confirmed },
                None => Fact::Marked { run, positions: confirmed },
            });
        }
    }
}

/// The failure of an attempt that a person must look at.
pub(crate) fn stopped() -> Failure {
    Failure::stop(FailureClass::Unauthorised, "the simulated target knows us no more")
}

/// The failure of an attempt whose answer does not come.
pub(crate) fn unanswered() -> Failure {
    Failure::retry(FailureClass::Timeout, "the answer did not come in time")
}
