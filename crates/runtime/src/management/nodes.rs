//! Owns the query for the nodes that share the store.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_event::Timestamp;
use uuid::Uuid;

use super::Connectors;
use crate::control::{NodeState, Phase};

/// A node, as the one that was asked sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: Uuid,
    /// Its name, as its operator gave it; empty when there is only one node.
    pub name: String,
    /// Where it serves, if it says so.
    pub address: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it says that it started; for people.
    pub started_at: Option<Timestamp>,
    /// How it stands.
    pub state: NodeStanding,
    /// Whether it is the node that was asked.
    pub is_this: bool,
    /// Whether it is the oldest: connectors with affinity `leader` run there.
    pub is_leader: bool,
    /// How long nothing was heard of it.
    pub silent_for: Duration,
    /// The connectors it has, in order, with the epoch of each lease; in one node alone the epoch is 0. A shard is told
    /// as `orders/2.3`: shard 3 of generation 2.
    pub connectors: BTreeMap<String, u64>,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStanding {
    /// It lives.
    Active,
    /// It is silent for longer than it should be.
    Suspect,
    /// It goes down and hands over what it has.
    Leaving,
}

impl NodeStanding {
    /// The word in the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspect => "suspect",
            Self::Leaving => "leaving",
        }
    }
}

impl Connectors {
    /// The nodes that share the store, the oldest first; this one alone when it has no others by config.
    pub fn nodes(&self) -> Vec<NodeView> {
        let node = self.node();
        let state = if node.closing.is_cancelled() { NodeStanding::Leaving } else { NodeStanding::Active };
        let mut own = NodeView {
            id: node.config.node,
            name: String::new(),
            address: None,
            labels: BTreeMap::new(),
            started_at: None,
            state,
            is_this: true,
            is_leader: true,
            silent_for: Duration::ZERO,
            connectors: BTreeMap::new(),
        };
        let Some(cluster) = &node.cluster else {
            let units = node.slots().into_iter().flat_map(|slot| slot.hostings());
            let hosted = units.filter(|(_, hosting)| hosting.phase == Phase::Running);
            own.connectors = hosted.map(|(unit, _)| (unit.name.to_string(), 0)).collect();
            return vec![own];
        };
        own.name.clone_from(&cluster.config.name);
        own.address.clone_from(&cluster.config.address);
        own.labels.clone_from(&cluster.config.labels);
        own.started_at = Some(cluster.started);
        own.connectors = cluster.claims();
        let now = node.clock.monotonic();
        let members = cluster.members.lock();
        let own_age = members.own_since.map_or(u64::MAX, forebay_event::Revision::get);
        let mut aged = vec![(own_age, own)];
        aged.extend(members.others().map(|member| {
            let said = &member.said;
            let state = match said.state {
                NodeState::Leaving | NodeState::Left => NodeStanding::Leaving,
                NodeState::Active if member.is_suspect(now) => NodeStanding::Suspect,
                NodeState::Active => NodeStanding::Active,
            };
            let view = NodeView {
                id: said.node,
                name: said.name.clone(),
                address: said.address.clone(),
                labels: said.labels.clone(),
                started_at: said.started,
                state,
                is_this: false,
                is_leader: false,
                silent_for: member.silent_for(now),
                connectors: said.claims.clone(),
            };
            (member.since.get(), view)
        }));
        aged.sort_by_key(|(since, view)| (*since, view.id));
        let mut views: Vec<_> = aged.into_iter().map(|(_, view)| view).collect();
        let leader = views.iter().position(|view| view.state != NodeStanding::Leaving);
        for (index, view) in views.iter_mut().enumerate() {
            view.is_leader = Some(index) == leader;
        }
        views
    }
}
