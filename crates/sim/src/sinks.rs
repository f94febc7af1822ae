//! Owns the simulated targets that connectors are built with, and the catalogue that each node has of them.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::{
    Batch, Catalog, Connect, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Sink, SinkContext, Target,
};
use tokio::time::Instant;

use crate::history::{Fact, Life, Run};
use crate::plain_sink::PlainSink;
use crate::table_sink::TableSink;
use crate::target::Mood;
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
    _: &SinkContext,
) -> Result<Box<dyn Target>, SettingsErrors> {
    let absent = || SettingsErrors::single("instanceTypeName", "is simulated", "a world on this thread");
    let world = World::current().ok_or_else(absent)?;
    let node = world.nodes.get(NODE).map(Arc::clone).ok_or_else(absent)?;
    let life = node.life();
    Ok(Box::new(SimTarget { way: Way { world, node, life }, is_table: TABLE }))
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

/// The way of one life of a node to the target.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) world: Arc<World>,
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
        let receiver = &self.world.receiver;
        let trouble = if self.world.is_hostile() { self.world.scenario.target.trouble_permille / 4 } else { 0 };
        if receiver.is_down() || receiver.chance.hits(trouble) { Err(receiver.failure()) } else { Ok(()) }
    }

    /// Takes a batch there, and says how the attempt is to go.
    pub(crate) async fn offer(&self, lane: Lane, batch: &Batch) -> Result<Mood, Failure> {
        self.step().await;
        let run = Run { life: self.life, epoch: batch.epoch().0 };
        let positions = batch.records().iter().map(|record| record.event().position().commit()).collect();
        self.world.history.add(Fact::Offered { run, lane: lane.0, attempt: batch.attempt(), positions });
        self.get_through().await?;
        let (receiver, terms) = (&self.world.receiver, self.world.scenario.target);
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
        if self.world.receiver.chance.hits(300) {
            tokio::time::sleep_until(until.min(Instant::now() + ATTEMPT_LIMIT * 2)).await;
        }
        Err(Failure::retry(FailureClass::Connect, "the simulated way to the target is cut"))
    }

    /// With which status the target refuses this record now.
    pub(crate) fn refusal(&self, position: u64) -> Option<Failure> {
        let status = self.world.scenario.refusals.refuses(position, self.world.is_hostile())?;
        Some(Failure::reject(FailureClass::Status(status), "the simulated target does not take it"))
    }
}

/// What a sink has confirmed stays so, also when the attempt is cut off.
#[derive(Debug)]
pub(crate) struct Confirmed {
    way: Way,
    run: Run,
    positions: Vec<u64>,
}

impl Confirmed {
    pub(crate) fn by(way: &Way, batch: &Batch) -> Self {
        let run = Run { life: way.life, epoch: batch.epoch().0 };
        Self { way: way.clone(), run, positions: Vec::new() }
    }

    pub(crate) fn add(&mut self, position: u64) {
        self.positions.push(position);
    }
}

impl Drop for Confirmed {
    fn drop(&mut self) {
        let positions = std::mem::take(&mut self.positions);
        if !positions.is_empty() {
            self.way.world.history.add(Fact::Marked { run: self.run, positions });
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
