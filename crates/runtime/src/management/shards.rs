//! Owns the query for the shards of a connector: which node runs which, and how far each is.

use std::collections::BTreeMap;

use forebay_event::{Position, Timestamp};
use forebay_store::ReadError;
use uuid::Uuid;

use super::entity::Facts;
use super::{ConnectorState, Connectors};
use crate::control::{Hosting, Node, Phase, Slot, last_checkpoint};
use crate::pipeline::{BreakerState, ParkedCount, Progress, last_count};
use crate::unit::{Shard, Unit};

/// A shard of a connector, as queries show it.
#[derive(Clone, Debug)]
pub struct ShardView {
    /// Which shard.
    pub shard: Shard,
    /// Its state: that of its connector, unless it is known of this shard alone.
    pub state: ConnectorState,
    /// The node that has it, as the node that is asked knows.
    pub node: Option<Uuid>,
    /// That node's name; empty when it is the one that is asked and has no others.
    pub node_name: String,
    /// Its last checkpoint, if there is one.
    pub position: Option<Position>,
    /// When that checkpoint was written.
    pub position_at: Option<Timestamp>,
    /// How far the log goes on behind that, in positions.
    pub behind: Option<u64>,
    /// What its pipeline has done; none when it is not running on this node.
    pub progress: Option<Progress>,
    /// What it has parked.
    pub parked: ParkedCount,
}

/// The shards of a connector, in order; none when it has no shards.
pub(super) async fn shards(node: &Node, slot: &Slot, facts: &Facts) -> Result<Vec<ShardView>, ReadError> {
    if facts.sharding.generation == 0 || facts.deleted_at.is_some() {
        return Ok(Vec::new());
    }
    let end = node.store.head().await?;
    let holders = holders(node);
    let mut views = Vec::new();
    for (unit, hosting) in slot.hostings() {
        let Some(shard) = unit.shard else { continue };
        let checkpoint = last_checkpoint(node, &unit.name).await?;
        let position = checkpoint.map(|checkpoint| checkpoint.position);
        let reached = position.unwrap_or(Position::START).commit();
        let (id, name) = holder(node, (&unit, &hosting), &holders);
        views.push(ShardView {
            shard,
            state: state(facts, shard),
            node: id,
            node_name: name,
            position,
            position_at: checkpoint.map(|checkpoint| checkpoint.at),
            behind: end.map(|end| end.commit().saturating_sub(reached)),
            progress: hosting.progress.map(|progress| *progress.borrow()),
            parked: last_count(&*node.store, &node.parked_stream(&unit.name)).await?,
        });
    }
    Ok(views)
}

fn state(facts: &Facts, shard: Shard) -> ConnectorState {
    let sharding = &facts.sharding;
    match facts.state {
        ConnectorState::Activating if sharding.is_running(shard.index) => ConnectorState::Running,
        ConnectorState::Deactivating if sharding.has_stopped(shard.index) => ConnectorState::Stopped,
        state => state,
    }
}

/// The names of all nodes that are known.
fn holders(node: &Node) -> BTreeMap<Uuid, String> {
    let Some(cluster) = &node.cluster else { return BTreeMap::new() };
    let members = cluster.members.lock();
    let others = members.others().map(|member| (member.said.node, member.said.name.clone()));
    others.chain([(node.config.node, cluster.config.name.clone())]).collect()
}

fn holder(node: &Node, of: (&Unit, &Hosting), names: &BTreeMap<Uuid, String>) -> (Option<Uuid>, String) {
    let (unit, hosting) = of;
    let id = match &node.cluster {
        None => matches!(hosting.phase, Phase::Running | Phase::Activating).then_some(node.config.node),
        Some(cluster) => cluster.plan().place(&unit.name).and_then(|place| place.holder),
    };
    (id, id.and_then(|id| names.get(&id).cloned()).unwrap_or_default())
}

/// What all of its pipelines on this node have done; none when none runs here. It has settled what all have, and is
/// caught up when all are.
pub(super) fn summed(progresses: impl Iterator<Item = Progress>) -> Option<Progress> {
    progresses.reduce(|sum, one| Progress {
        read: sum.read + one.read,
        delivered: sum.delivered + one.delivered,
        skipped: sum.skipped + one.skipped,
        parked: sum.parked + one.parked,
        settled: sum.settled.min(one.settled),
        last_progress: sum.last_progress.max(one.last_progress),
        caught_up: sum.caught_up && one.caught_up,
        failing: [sum.failing, one.failing].into_iter().flatten().min_by_key(|(since, _)| *since),
        stalled: [sum.stalled, one.stalled].into_iter().flatten().min(),
        oldest: [sum.oldest, one.oldest].into_iter().flatten().min(),
        breaker: if one.breaker == BreakerState::Closed { sum.breaker } else { one.breaker },
    })
}

/// How much all shards have parked. A key is in one of them.
pub(super) fn parked_in(shards: &[ShardView]) -> ParkedCount {
    let sum = |of: fn(&ParkedCount) -> u64| shards.iter().map(|shard| of(&shard.parked)).sum();
    ParkedCount { keys: sum(|count| count.keys), records: sum(|count| count.records), bytes: sum(|count| count.bytes) }
}

impl Connectors {
    /// The node that runs a unit, by its name and address, if that is another one.
    pub(super) fn elsewhere(&self, unit: &Unit) -> Option<String> {
        let node = self.node();
        let holder = node.cluster.as_ref()?.plan().place(&unit.name)?.holder?;
        let other = self.nodes().into_iter().find(|view| view.id == holder && !view.is_this)?;
        Some(match other.address {
            Some(address) => format!("{} ({address})", other.name),
            None => other.name,
        })
    }
}
