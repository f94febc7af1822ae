//! Owns what this node knows of the nodes around it: who lives, who has which connector, and what follows from that for
//! each connector.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::{Revision, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::announce::NodeState;
use super::assign::{Affinity, Candidate, Wish, assign};
use super::members::Members;
use super::registry::Node;
use crate::pipeline::{Follower, Signal};

/// An announcement counts for so many heartbeats.
pub(crate) const HEARTBEATS_COUNTED: u32 = 3;

/// What an operator decides about a node that shares its store with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its name, for people.
    pub name: String,
    /// Where it serves, for people and for other nodes.
    pub address: Option<String>,
    /// What connectors may ask of the node that runs them, such as `zone` = `eu`.
    pub labels: BTreeMap<String, String>,
    /// How often it announces itself; who is silent three times as long is taken for dead.
    pub heartbeat: Duration,
}

/// What this node knows of the nodes around it.
pub(crate) struct Cluster {
    pub(crate) config: ClusterConfig,
    /// When this node began, for people.
    pub(crate) started: Timestamp,
    pub(crate) members: Mutex<Members>,
    /// The connectors that this node has, with the epoch of each: from the taking of the lease until it is handed over,
    /// also while a failed connector waits for its restart.
    claims: Mutex<BTreeMap<Arc<str>, u64>>,
    changed: Notify,
    plan: Arc<Mutex<Arc<Plan>>>,
    replanned: Signal,
}

/// Follows the plan. Who waits for it is woken in the order in which waiting began.
pub(crate) struct Plans {
    plan: Arc<Mutex<Arc<Plan>>>,
    changes: Follower,
}

/// Where one connector is and where it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The node that should run it.
    pub(crate) node: Option<Uuid>,
    /// The live node that has it.
    pub(crate) holder: Option<Uuid>,
    /// That node is silent for longer than it should be.
    pub(crate) is_suspect: bool,
    /// Its labels allow this node.
    pub(crate) may_here: bool,
}

/// What follows for all connectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    places: BTreeMap<Arc<str>, Place>,
    /// How many nodes are older than this one.
    pub(crate) older: u32,
    /// How many others there are, and how many of them are there to stay.
    pub(crate) others: usize,
    pub(crate) others_staying: usize,
}

impl Plan {
    /// What is known about a connector, if it is wanted or somebody has it.
    pub(crate) fn place(&self, id: &str) -> Option<&Place> {
        self.places.get(id)
    }
}

impl Plans {
    /// The plan as it is, seen from now on.
    pub(crate) fn look(&mut self) -> Arc<Plan> {
        self.changes.catch_up();
        Arc::clone(&self.plan.lock())
    }

    /// Waits until the plan was changed since the last look.
    pub(crate) async fn changed(&mut self) {
        self.changes.changed().await;
    }

    /// Waits for a plan of which something is so.
    pub(crate) async fn wait_for(&mut self, is_so: impl Fn(&Plan) -> bool) {
        while !is_so(&self.look()) {
            self.changed().await;
        }
    }
}

impl Place {
    /// It should run there, and no other live node has it.
    pub(crate) fn is_turn_of(&self, node: Uuid) -> bool {
        self.node == Some(node) && self.holder.is_none_or(|holder| holder == node)
    }
}

impl Cluster {
    /// Knows nobody yet.
    pub(crate) fn new(config: ClusterConfig, started: Timestamp, now: Duration) -> Self {
        let counts_for = config.heartbeat * HEARTBEATS_COUNTED;
        Self {
            config,
            started,
            members: Mutex::new(Members::new(counts_for / 2, now)),
            claims: Mutex::default(),
            changed: Notify::new(),
            plan: Arc::default(),
            replanned: Signal::default(),
        }
    }

    /// This node has a connector now.
    pub(crate) fn claim(&self, id: &Arc<str>, epoch: u64) {
        self.claims.lock().insert(Arc::clone(id), epoch);
        self.look_again();
    }

    /// This node has it no longer.
    pub(crate) fn unclaim(&self, id: &str) -> bool {
        let had = self.claims.lock().remove(id).is_some();
        if had {
            self.look_again();
        }
        had
    }

    /// Whether this node has it.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.claims.lock().contains_key(id)
    }

    /// All that this node has.
    pub(crate) fn claims(&self) -> BTreeMap<String, u64> {
        self.claims.lock().iter().map(|(id, epoch)| (id.to_string(), *epoch)).collect()
    }

    /// Something changed that the plan follows from.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Waits until something changed; for one waiter.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Follows the plan.
    pub(crate) fn follow(&self) -> Plans {
        Plans { plan: Arc::clone(&self.plan), changes: self.replanned.follow() }
    }

    /// The plan as it is.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.lock())
    }

    /// Plans anew from what is known by now.
    pub(crate) fn plan_anew(&self, node: &Node) {
        let now = node.clock.monotonic();
        let mut members = self.members.lock();
        members.forget_silent(now);
        let plan = self.planned(node, &members, now);
        node.metrics.control().nodes(plan.others + 1);
        drop(members);
        let mut last = self.plan.lock();
        if **last != plan {
            *last = Arc::new(plan);
            drop(last);
            self.replanned.give();
        }
    }

    fn planned(&self, node: &Node, members: &Members, now: Duration) -> Plan {
        let me = node.config.node;
        let own = Candidate {
            node: me,
            since: members.own_since.map_or(u64::MAX, Revision::get),
            labels: self.config.labels.clone(),
            leaving: node.closing.is_cancelled(),
        };
        let mut nodes: Vec<_> = members.others().map(candidate).collect();
        let older = nodes.iter().filter(|other| (other.since, other.node) < (own.since, me)).count();
        let others = nodes.len();
        let others_staying = nodes.iter().filter(|other| !other.leaving).count();
        nodes.push(own.clone());
        let holders = self.holders(me, members);
        let suspects: Vec<_> =
            members.others().filter(|member| member.is_suspect(now)).map(|member| member.said.node).collect();
        let mut wishes = Vec::new();
        let mut places = BTreeMap::new();
        for (id, (_, holder)) in &holders {
            let is_suspect = suspects.contains(holder);
            places.insert(Arc::clone(id), Place { holder: Some(*holder), is_suspect, ..Place::default() });
        }
        for slot in node.slots() {
            let entity = slot.entity();
            let Some(activation) = entity.wanted() else { continue };
            let affinity = Affinity::of(&activation.settings);
            let holder = holders.get(&entity.id).map(|(_, holder)| *holder);
            let place: &mut Place = places.entry(Arc::clone(&entity.id)).or_default();
            place.may_here = affinity.admits(&own);
            wishes.push(Wish { id: Arc::clone(&entity.id), affinity, holder });
        }
        for (id, node) in assign(&nodes, &wishes) {
            places.entry(id).or_default().node = node;
        }
        Plan { places, older: u32::try_from(older).unwrap_or(u32::MAX), others, others_staying }
    }

    /// Who has what: of two that claim the same, the one with the higher epoch.
    fn holders(&self, me: Uuid, members: &Members) -> BTreeMap<Arc<str>, (u64, Uuid)> {
        let mut holders: BTreeMap<Arc<str>, (u64, Uuid)> =
            self.claims.lock().iter().map(|(id, epoch)| (Arc::clone(id), (*epoch, me))).collect();
        for member in members.others() {
            for (id, epoch) in &member.said.claims {
                let claim = (*epoch, member.said.node);
                let holder = holders.entry(Arc::from(id.as_str())).or_insert(claim);
                *holder = (*holder).max(claim);
            }
        }
        holders
    }
}

fn candidate(member: &super::members::Member) -> Candidate {
    Candidate {
        node: member.said.node,
        since: member.since.get(),
        labels: member.said.labels.clone(),
        leaving: member.said.state != NodeState::Active,
    }
}
