//! Owns waiting for one's turn and for the lease: a supervisor tries for a connector's lease only when the plan gives it
//! to this node, or when the node that should have it does not take it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::activate::{CUT_OFF_AFTER, Supervisor, unwanted};
use super::cluster::{Place, Plan, Plans};
use super::lease::{self, ACQUISITION_LIMIT, HeldLease, TakeError};
use super::registry::{Node, Phase};
use crate::management::Activation;

/// A connector that nobody has for so many leases is taken by another node than the one that should.
const UNTAKEN_LEASES: u32 = 3;
/// Leases of other nodes' connectors are looked at once in so many leases.
const LOOK_LEASES: u32 = 6;
/// Who took a connector in place of another keeps it for so many leases before the plan counts again.
const KEEP_LEASES: u32 = 30;

/// Why a supervisor tries for the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    /// The plan gives the connector to this node, or there are no other nodes.
    #[default]
    Given,
    /// The node that should have it does not.
    Orphaned,
}

/// What was seen while waiting.
#[derive(Default)]
struct Waiting {
    /// Since when no live node has it.
    unheld_since: Option<Duration>,
    /// When its lease was last looked at, or waiting began.
    looked_at: Duration,
    /// When it is anybody's, if no live node has it by then.
    orphaned_at: Option<Duration>,
    /// Its lease was looked at since its holder became silent, or since nobody has it: a lease that nobody renews is taken
    /// so much the sooner.
    primed: bool,
    /// It was told that no node may run it.
    told: bool,
}

impl Supervisor {
    /// Waits until this node is to run the connector; none when something else is wanted by then.
    pub(super) async fn wait_for_turn(&mut self, activation: &Activation) -> Option<Turn> {
        let node = Arc::clone(&self.node);
        let Some(cluster) = &node.cluster else { return Some(Turn::Given) };
        let id = Arc::clone(&self.slot.entity().id);
        let mut plans = cluster.follow();
        let mut waiting = Waiting { looked_at: node.clock.monotonic(), ..Waiting::default() };
        loop {
            let (place, older) = {
                let plan = plans.look();
                (plan.place(&id).cloned(), plan.older)
            };
            let now = node.clock.monotonic();
            if place.as_ref().is_some_and(|place| is_ours(place, &node, &id)) {
                self.keep_until = None;
                return Some(Turn::Given);
            }
            if cluster.has(&id) && self.keep_until.is_some_and(|until| now < until) {
                return Some(Turn::Given);
            }
            if let Some(place) = &place {
                self.pass_on(&id, place);
                if place.node.is_none() && place.holder.is_none() && !std::mem::replace(&mut waiting.told, true) {
                    warn!(connector_id = &*id, "no live node has the labels that the connector asks for; it waits");
                }
            }
            let pause = place.as_ref().and_then(|place| waiting.pause(place, older, (now, node.config.lease)));
            tokio::select! {
                biased;
                () = unwanted(&node, self.seen.clone(), activation.revision) => return None,
                () = plans.changed() => {}
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {
                    if self.is_orphaned(&mut waiting, &id).await {
                        self.keep_until = Some(node.clock.monotonic() + node.config.lease * KEEP_LEASES);
                        return Some(Turn::Orphaned);
                    }
                }
            }
        }
    }

    /// Takes the lease, waiting while another node has it, at most for a limit; none when the connector is not to run here
    /// by then.
    pub(super) async fn take_lease(
        &mut self,
        activation: &Activation,
        lost: &CancellationToken,
    ) -> Option<Result<HeldLease, TakeError>> {
        let (node, id) = (Arc::clone(&self.node), Arc::clone(&self.slot.entity().id));
        let limit = if self.turn == Turn::Given { ACQUISITION_LIMIT } else { Duration::ZERO };
        let began = node.clock.monotonic();
        let not_here = self.not_here(activation.revision);
        tokio::pin!(not_here);
        loop {
            let taken = {
                let attempt = lease::take(&node, &id, &mut self.watch, lost.clone());
                tokio::pin!(attempt);
                tokio::select! {
                    biased;
                    taken = &mut attempt => taken,
                    () = &mut not_here => {
                        // It may have been written by now; what is held must be given back.
                        if let Ok(Ok(held)) = tokio::time::timeout(CUT_OFF_AFTER, attempt).await {
                            held.release().await;
                        }
                        return None;
                    }
                }
            };
            match taken {
                Err(_) if node.clock.monotonic().saturating_sub(began) < limit => {}
                taken => return Some(taken),
            }
            tokio::select! {
                biased;
                () = &mut not_here => return None,
                () = tokio::time::sleep(self.watch.pause(node.config.lease, node.clock.monotonic())) => {}
            }
        }
    }

    /// It is another node's: gives it up if this node had it.
    fn pass_on(&mut self, id: &str, place: &Place) {
        if let Some(cluster) = &self.node.cluster
            && cluster.unclaim(id)
        {
            info!(connector_id = id, to = ?place.node, "handed the connector over");
            self.node.metrics.control().handed_over();
        }
        self.hosted = false;
        self.keep_until = None;
        let elsewhere = place.holder.is_some_and(|holder| holder != self.node.config.node);
        self.slot.hosting.lock().phase = if elsewhere { Phase::Elsewhere } else { Phase::Idle };
    }

    /// Whether it is time to take what another node should have.
    async fn is_orphaned(&mut self, waiting: &mut Waiting, id: &str) -> bool {
        let node = Arc::clone(&self.node);
        let now = node.clock.monotonic();
        if waiting.orphaned_at.is_some_and(|at| now >= at) {
            waiting.unheld_since = None;
            warn!(connector_id = id, "the node that should run the connector does not take it");
            return true;
        }
        waiting.looked_at = now;
        waiting.primed = true;
        let free_for = match lease::look(&node, id, &mut self.watch).await {
            Ok(free_for) => free_for,
            Err(error) => {
                debug!(connector_id = id, %error, "the lease could not be looked at");
                return false;
            }
        };
        let waits = self.slot.entity().live().is_some_and(|facts| facts.next_restart.is_some());
        let orphaned = !waits
            && waiting.unheld_since.is_none()
            && free_for.is_some_and(|free_for| free_for >= node.config.lease * UNTAKEN_LEASES);
        if orphaned {
            warn!(connector_id = id, "the node that says it runs the connector does not hold its lease");
        }
        orphaned
    }

    /// Another live node has the connector.
    pub(super) fn is_elsewhere(&self) -> bool {
        let Some(cluster) = &self.node.cluster else { return false };
        let plan = cluster.plan();
        let holder = plan.place(&self.slot.entity().id).and_then(|place| place.holder);
        holder.is_some_and(|holder| holder != self.node.config.node)
    }

    /// This node has nothing to do with the connector any more.
    pub(super) fn let_go(&self) {
        if let Some(cluster) = &self.node.cluster {
            cluster.unclaim(&self.slot.entity().id);
        }
    }
}

impl Waiting {
    /// How long to wait until something must be done even if the plan stays; none when nothing ever must.
    fn pause(&mut self, place: &Place, older: u32, (now, lease): (Duration, Duration)) -> Option<Duration> {
        if place.holder.is_some() {
            self.unheld_since = None;
            self.primed &= place.is_suspect;
        } else if place.node.is_some() && self.unheld_since.is_none() {
            self.unheld_since = Some(now);
        }
        // Not all at once: the older nodes first.
        let limit = lease * UNTAKEN_LEASES + lease / 4 * older.min(LOOK_LEASES);
        self.orphaned_at = self.unheld_since.map(|since| since + limit);
        if !place.may_here || place.node.is_none() {
            return None;
        }
        if let Some(since) = self.unheld_since {
            let next = if self.primed { since + limit } else { since + lease / 4 };
            return Some(next.saturating_sub(now));
        }
        if place.is_suspect && !self.primed {
            return Some(Duration::ZERO);
        }
        Some((self.looked_at + lease * LOOK_LEASES).saturating_sub(now))
    }
}

/// The plan gives the connector to this node, or was made before this node took it.
fn is_ours(place: &Place, node: &Node, id: &str) -> bool {
    let has = || node.cluster.as_ref().is_some_and(|cluster| cluster.has(id));
    place.is_turn_of(node.config.node) || place.holder.is_none() && has()
}

/// Waits until the plan gives the connector to another node; for ever when there are no others.
pub(super) async fn passed_on(node: Arc<Node>, id: Arc<str>, keep_until: Option<Duration>) {
    let Some(cluster) = &node.cluster else { return std::future::pending().await };
    if let Some(until) = keep_until {
        tokio::time::sleep(until.saturating_sub(node.clock.monotonic())).await;
    }
    let is_others = |plan: &Plan| plan.place(&id).is_some_and(|place| !is_ours(place, &node, &id));
    cluster.follow().wait_for(is_others).await;
}

/// Waits until the plan changes; for ever when there are no others.
pub(super) async fn replanned(plans: Option<Plans>) {
    match plans {
        Some(mut plans) => plans.changed().await,
        None => std::future::pending().await,
    }
}
