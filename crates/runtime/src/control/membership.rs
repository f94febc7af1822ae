//! Owns this node's part among the others: announcing itself, hearing them, and planning anew when anything changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::RecordedEvent;
use forebay_store::{
    Direction, Notice, PageLimit, ReadError, ReadStream, StreamPoint, SubscribeError, SubscribeStream, Subscription,
};
use tracing::{debug, info, warn};

use super::announce::{Announcement, NodeState, set_up_stream};
use super::cluster::{Cluster, HEARTBEATS_COUNTED};
use super::registry::Node;
use crate::unit::connector_of;

/// How many announcements are read at once.
const PAGE_EVENTS: usize = 64;
/// What this node has taken is told together, after this pause.
const TAKEN_PAUSE: Duration = Duration::from_millis(200);
/// What it has given up is told sooner: somebody waits for it.
const GIVEN_UP_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause before the stream of nodes is opened again, and the pause before an announcement is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// After a plan comes a rest of so many times what it took: with a thousand connectors that start at once, planning after
/// each change would be most of the work.
const PLAN_REST: u32 = 4;
/// Silence is judged so much behind its end, so that it has ended by any rounding.
const JUDGE_LATE: Duration = Duration::from_millis(1);

/// Reads which nodes there are and plans for the first time; with no others there is nothing to wait for.
pub(crate) async fn join(node: &Arc<Node>) -> Result<(), ReadError> {
    let Some(cluster) = &node.cluster else { return Ok(()) };
    let mut from = StreamPoint::Start;
    let mut own = None;
    loop {
        let stream = node.nodes_stream();
        let limit = PageLimit::events(PAGE_EVENTS);
        let read = ReadStream { stream, direction: Direction::Forward, from, limit };
        let page = match node.store.read_stream(read).await {
            Err(ReadError::StreamNotFound { .. }) => break,
            page => page?,
        };
        take_in(node, cluster, &page.events);
        let mine = page.events.iter().filter_map(Announcement::read).filter(|said| said.node == node.config.node);
        own = mine.last().or(own);
        match page.next {
            Some(next) => from = StreamPoint::At(next),
            None => break,
        }
    }
    if let Some(said) = own.filter(|said| said.state != NodeState::Left) {
        reclaim(node, cluster, &said);
    }
    cluster.plan_anew(node);
    Ok(())
}

/// After a crash, what this node had is still its own if nobody has taken it since: its leases are there to be taken again
/// at once, while another node would have to wait until they run out.
fn reclaim(node: &Node, cluster: &Cluster, said: &Announcement) {
    for (id, epoch) in &said.claims {
        let entity = node.slot(connector_of(id)).map(|slot| slot.entity()).filter(|entity| entity.wanted().is_some());
        let unit = entity.and_then(|entity| entity.units().into_iter().find(|unit| *unit.name == **id));
        if let Some(unit) = unit {
            cluster.claim(&unit.name, *epoch);
        }
    }
}

/// Takes part until the node has gone down and has handed over all it had.
pub(crate) async fn take_part(node: Arc<Node>) {
    let Some(cluster) = &node.cluster else { return };
    if let Err(error) = set_up_stream(&node).await {
        warn!(%error, "the stream of nodes was not bounded");
    }
    let now = node.clock.monotonic();
    let mut part = Part {
        node: Arc::clone(&node),
        heard: None,
        listen_at: now,
        announce_at: now,
        told: BTreeMap::new(),
        state: NodeState::Active,
        plan_at: now,
        is_planned: true,
    };
    while !part.is_over(cluster) {
        part.wait(cluster).await;
        part.announce_when_due(cluster).await;
        part.listen_when_due(cluster).await;
        part.plan_when_due(cluster);
    }
    part.state = NodeState::Left;
    part.announce(cluster).await;
}

struct Part {
    node: Arc<Node>,
    /// The announcements of all nodes, while they can be followed.
    heard: Option<Box<dyn Subscription>>,
    /// When to follow them again.
    listen_at: Duration,
    announce_at: Duration,
    /// What was last told to be this node's.
    told: BTreeMap<String, u64>,
    state: NodeState,
    /// The next plan is made at this time or later.
    plan_at: Duration,
    /// Nothing has happened since the last plan.
    is_planned: bool,
}

impl Part {
    /// The node goes down and has nothing any more.
    fn is_over(&self, cluster: &Cluster) -> bool {
        self.state == NodeState::Leaving && self.told.is_empty() && cluster.claims().is_empty()
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, cluster: &Cluster) {
        let now = self.node.clock.monotonic();
        let judge_at = cluster.members.lock().next_change(now).map(|left| now + left + JUDGE_LATE);
        let listen_at = if self.heard.is_none() { Some(self.listen_at) } else { None };
        let plan_at = if self.is_planned { None } else { Some(self.plan_at) };
        let next = [Some(self.announce_at), judge_at, listen_at, plan_at].into_iter().flatten().min().unwrap_or(now);
        let closing = self.node.closing.clone();
        tokio::select! {
            biased;
            () = closing.cancelled(), if self.state == NodeState::Active => {
                self.state = NodeState::Leaving;
                self.announce_at = now;
            }
            heard = next_of(&mut self.heard) => self.hear(cluster, heard),
            () = cluster.changed() => {}
            () = tokio::time::sleep(next.saturating_sub(now)) => {}
        }
        let claims = cluster.claims();
        if claims != self.told {
            let gave_up = self.told.keys().any(|id| !claims.contains_key(id));
            let pause = if gave_up { GIVEN_UP_PAUSE } else { TAKEN_PAUSE };
            self.announce_at = self.announce_at.min(self.node.clock.monotonic() + pause);
        }
    }

    /// Plans anew, unless the last plan was made too shortly before.
    fn plan_when_due(&mut self, cluster: &Cluster) {
        let began = self.node.clock.monotonic();
        self.is_planned = began >= self.plan_at;
        if self.is_planned {
            cluster.plan_anew(&self.node);
            let ended = self.node.clock.monotonic();
            self.plan_at = ended + ended.saturating_sub(began) * PLAN_REST;
        }
    }

    fn hear(&mut self, cluster: &Cluster, heard: Result<Notice, SubscribeError>) {
        match heard {
            Ok(Notice::Events(events)) => take_in(&self.node, cluster, &events),
            Ok(_) => {}
            Err(error) => {
                info!(%error, "the stream of nodes is opened again");
                self.heard = None;
                self.listen_at = self.node.clock.monotonic() + RETRY_PAUSE;
            }
        }
    }

    async fn announce_when_due(&mut self, cluster: &Cluster) {
        if self.node.clock.monotonic() >= self.announce_at {
            self.announce(cluster).await;
        }
    }

    /// Says what there is to say of this node; a failure is tried again soon.
    async fn announce(&mut self, cluster: &Cluster) {
        let (began, heartbeat) = (self.node.clock.monotonic(), cluster.config.heartbeat);
        let claims = cluster.claims();
        let since = cluster.members.lock().own_since;
        let said = Announcement {
            node: self.node.config.node,
            name: cluster.config.name.clone(),
            address: cluster.config.address.clone(),
            labels: cluster.config.labels.clone(),
            started: Some(cluster.started),
            duration: heartbeat * HEARTBEATS_COUNTED,
            since,
            state: self.state,
            claims: claims.clone(),
        };
        let appended = tokio::time::timeout(heartbeat, said.append(&self.node)).await;
        let done = matches!(appended, Ok(Ok(_)));
        self.node.metrics.control().announced(done);
        match appended {
            Ok(Ok(revision)) => {
                self.told = claims;
                self.announce_at = began + heartbeat;
                let mut members = cluster.members.lock();
                members.own_since = members.own_since.or(revision);
            }
            Ok(Err(error)) => {
                debug!(%error, "the node could not announce itself, trying again");
                self.announce_at = self.node.clock.monotonic() + RETRY_PAUSE.min(heartbeat);
            }
            Err(_) => debug!("the node could not announce itself in time, trying again"),
        }
    }

    async fn listen_when_due(&mut self, cluster: &Cluster) {
        if self.heard.is_some() || self.node.clock.monotonic() < self.listen_at {
            return;
        }
        let from = cluster.members.lock().read_to.map_or(StreamPoint::Start, StreamPoint::At);
        let (stream, limit) = (self.node.nodes_stream(), PageLimit::events(PAGE_EVENTS));
        let opened = self.node.store.subscribe_stream(SubscribeStream { stream, from, limit });
        match tokio::time::timeout(cluster.config.heartbeat, opened).await {
            Ok(Ok(opened)) => self.heard = Some(opened),
            Ok(Err(error)) => debug!(%error, "the stream of nodes cannot be followed, trying again"),
            Err(_) => debug!("the stream of nodes could not be opened in time, trying again"),
        }
        self.listen_at = self.node.clock.monotonic() + RETRY_PAUSE;
    }
}

/// The next hand-out; never when there is no subscription.
async fn next_of(heard: &mut Option<Box<dyn Subscription>>) -> Result<Notice, SubscribeError> {
    match heard {
        Some(heard) => heard.next().await,
        None => std::future::pending().await,
    }
}

fn take_in(node: &Node, cluster: &Cluster, events: &[RecordedEvent]) {
    let now = node.clock.monotonic();
    let mut members = cluster.members.lock();
    members.in_contact(now);
    for event in events {
        members.read_to = Some(event.revision());
        members.heard_at(event.position(), now);
        if let Some(said) = Announcement::read(event).filter(|said| said.node != node.config.node) {
            members.take_in(event.revision(), said, now);
        }
    }
}
