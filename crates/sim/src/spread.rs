//! Owns the judgement of who runs which connectors, where nodes know of each other and share several of them.
//!
//! | rule | what it refuses |
//! | --- | --- |
//! | spread | connectors that are not spread evenly within a bounded time after the last fault |
//! | hand-over | a connector taken from a node that was able all the while and had not released it |
//! | drain | a new owner that repeats what the one that handed over to it had confirmed |
//! | rest | a connector that moves again although all were spread evenly and no node came or went |
//!
//! Hand-over and drain hold where an able node can rely on the store: in drills, and after the last fault.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::Fact;
use crate::link::CALL_LATE_MS_MAX;
use crate::scenario::Scenario;

/// After the last fault it takes so many leases, and so long besides, until all is spread: who took a connector in place
/// of another keeps it for thirty leases, then one moves after the other, each being drained first.
const SPREAD_LEASES: u64 = 36;
const SPREAD_MS: u64 = 60_000;
/// Violations beyond this are not told.
const VIOLATIONS_MAX: usize = 10;

/// What is judged here.
#[derive(Debug)]
pub(crate) struct Spread {
    /// Only nodes fail, so what an able node does can be relied on at any time.
    is_drill: bool,
    nodes: usize,
    lease_ms: u64,
    leases: Vec<Option<Lease>>,
    /// What each run confirmed, by connector and epoch.
    confirmed: BTreeMap<(usize, u64), BTreeSet<u64>>,
    /// From which epoch each epoch of a connector was handed over.
    handed_over: BTreeMap<(usize, u64), u64>,
    able_since: BTreeMap<usize, u64>,
    /// What was asked of the store during a fault may come about so much later.
    late_ms: u64,
    /// Since when there are no faults.
    peace_ms: Option<u64>,
    /// Since when all is spread evenly.
    even_ms: Option<u64>,
    /// Connectors that were released though all was spread evenly.
    released: BTreeSet<usize>,
    is_over: bool,
    count: u64,
    violations: Vec<String>,
}

#[derive(Clone, Debug)]
struct Lease {
    holder: String,
    epoch: u64,
    since_ms: u64,
    is_released: bool,
}

impl Spread {
    /// All connectors of a scenario.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let late_ms = if scenario.call_late_permille > 0 { CALL_LATE_MS_MAX } else { 0 };
        Self {
            is_drill: scenario.is_drill,
            ..Self::of(scenario.connectors, scenario.nodes, (scenario.lease_ms, late_ms))
        }
    }

    /// So many connectors on so many nodes.
    fn of(connectors: usize, nodes: usize, (lease_ms, late_ms): (u64, u64)) -> Self {
        Self {
            is_drill: false,
            nodes,
            lease_ms,
            late_ms,
            leases: vec![None; connectors],
            confirmed: BTreeMap::new(),
            handed_over: BTreeMap::new(),
            able_since: BTreeMap::new(),
            peace_ms: None,
            even_ms: None,
            released: BTreeSet::new(),
            is_over: false,
            count: 0,
            violations: Vec::new(),
        }
    }

    /// What was found to be wrong.
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// How many connectors were handed over while the owner could rely on the store.
    pub(crate) fn handed_over(&self) -> u64 {
        self.count
    }

    /// Nobody is asked to run anything any more: what follows is not judged.
    pub(crate) fn ends(&mut self) {
        self.is_over = true;
    }

    /// Whether all has been spread evenly for two leases.
    pub(crate) fn is_settled(&self, at_ms: u64) -> bool {
        self.even_ms.is_some_and(|since_ms| at_ms >= since_ms + 2 * self.lease_ms)
    }

    /// Says that it did not come about in time.
    pub(crate) fn came_to_rest(&mut self, at_ms: u64) {
        let bound_ms = SPREAD_LEASES * self.lease_ms + SPREAD_MS;
        let is_late = self.peace_ms.zip(self.even_ms).is_none_or(|(since_ms, even_ms)| even_ms > since_ms + bound_ms);
        if is_late || !self.is_settled(at_ms) {
            let holders: Vec<_> = self.leases.iter().map(|lease| lease.as_ref().map(|lease| &lease.holder)).collect();
            self.violate(format!(
                "spread: {at_ms} ms in, the connectors are not, or too late, spread evenly: {holders:?}"
            ));
        }
    }

    /// Judges the next fact, of a connector or of all.
    pub(crate) fn take_in(&mut self, at_ms: u64, connector: Option<usize>, fact: &Fact) {
        if self.is_over {
            return;
        }
        match (connector, fact) {
            (Some(connector), Fact::Lease { holder, epoch, released }) => {
                let lease = Lease { holder: holder.clone(), epoch: *epoch, since_ms: at_ms, is_released: *released };
                self.leased(at_ms, connector, lease);
            }
            (Some(connector), Fact::Marked { run, positions }) => {
                self.confirmed.entry((connector, run.epoch)).or_default().extend(positions);
            }
            (Some(connector), Fact::Offered { run, positions, .. }) => {
                self.offered((connector, run.epoch), positions);
            }
            (_, Fact::Able { node, is_able: true }) => {
                self.able_since.entry(*node).or_insert(at_ms);
                self.stirred();
            }
            (_, Fact::Able { node, .. }) => {
                self.able_since.remove(node);
                self.stirred();
            }
            (_, Fact::Fault { what: "no more faults", .. }) => self.peace_ms = Some(at_ms),
            _ => {}
        }
        let is_even = self.peace_ms.is_some() && self.is_even(at_ms);
        self.even_ms = if is_even { self.even_ms.or(Some(at_ms)) } else { None };
    }

    /// A node came or went: things may move.
    fn stirred(&mut self) {
        self.even_ms = None;
        self.released.clear();
    }

    fn leased(&mut self, at_ms: u64, connector: usize, lease: Lease) {
        let was_settled = self.released.remove(&connector) || self.is_settled(at_ms);
        if was_settled && lease.is_released {
            self.released.insert(connector);
        }
        let Some(known) = self.leases.get_mut(connector) else { return };
        let Some(last) = known.replace(lease.clone()) else { return };
        if last.holder == lease.holder {
            return;
        }
        let was_able = self.is_calm_since(last.since_ms) && self.was_able_since(&last.holder, last.since_ms);
        if was_able && !last.is_released {
            self.violate(format!(
                "hand-over: {} took connector {connector} from {}, which was able and had not released it",
                lease.holder, last.holder
            ));
        }
        if was_able && last.is_released {
            self.count += 1;
            self.handed_over.insert((connector, lease.epoch), last.epoch);
        }
        if was_settled {
            self.violate(format!(
                "rest: connector {connector} moves from {} to {} though all was spread evenly",
                last.holder, lease.holder
            ));
        }
    }

    fn offered(&mut self, (connector, epoch): (usize, u64), positions: &[u64]) {
        let from = self.handed_over.get(&(connector, epoch)).map(|from| (connector, *from));
        let Some(confirmed) = from.and_then(|from| self.confirmed.get(&from)) else { return };
        if let Some(repeated) = positions.iter().find(|position| confirmed.contains(position)).copied() {
            self.violate(format!(
                "drain: epoch {epoch} of connector {connector} offers {repeated}, confirmed before it was handed over"
            ));
        }
    }

    fn is_calm_since(&self, at_ms: u64) -> bool {
        self.is_drill || self.peace_ms.is_some_and(|since_ms| since_ms + self.late_ms <= at_ms)
    }

    fn was_able_since(&self, holder: &str, at_ms: u64) -> bool {
        self.able_since.get(&node_of(holder)).is_some_and(|since_ms| *since_ms <= at_ms)
    }

    /// Every node is able, every connector is held, and no two nodes differ by more than one.
    fn is_even(&self, at_ms: u64) -> bool {
        let mut loads: BTreeMap<usize, usize> = (0..self.nodes).map(|node| (node, 0)).collect();
        for lease in &self.leases {
            let is_held = |lease: &&Lease| !lease.is_released && at_ms <= lease.since_ms + self.lease_ms;
            let Some(lease) = lease.as_ref().filter(is_held) else { return false };
            *loads.entry(node_of(&lease.holder)).or_default() += 1;
        }
        let (least, most) = (loads.values().min(), loads.values().max());
        self.able_since.len() == self.nodes && most.zip(least).is_some_and(|(most, least)| most - least <= 1)
    }

    fn violate(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }
}

/// Nodes are numbered from 0, their ids from 1.
fn node_of(holder: &str) -> usize {
    let digits = holder.rsplit('-').next().unwrap_or_default();
    usize::from_str_radix(digits, 16).unwrap_or_default().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Life, Run};

    fn lease(node: u32, epoch: u64, released: bool) -> Fact {
        Fact::Lease { holder: format!("00000000-0000-0000-0000-{:012x}", node + 1), epoch, released }
    }

    fn offered(epoch: u64, positions: Vec<u64>) -> Fact {
        let run = Run { life: Life { node: 0, number: 1 }, epoch };
        Fact::Offered { run, lane: 0, attempt: 1, positions }
    }

    /// Two nodes and two connectors, both on the first node, in peace.
    fn uneven() -> Spread {
        let mut spread = Spread::of(2, 2, (1_000, 0));
        for node in [0, 1] {
            spread.take_in(0, None, &Fact::Able { node, is_able: true });
        }
        spread.take_in(10, None, &Fact::Fault { what: "no more faults", node: 0, millis: 0 });
        for connector in [0, 1] {
            spread.take_in(20, Some(connector), &lease(0, 1, false));
        }
        spread
    }

    fn rules(spread: &Spread) -> Vec<&str> {
        spread.violations().iter().filter_map(|wrong| wrong.split(':').next()).collect()
    }

    #[test]
    fn a_connector_that_is_handed_over_in_order_makes_it_even() {
        let mut spread = uneven();
        assert!(!spread.is_settled(100_000));
        let run = Run { life: Life { node: 0, number: 1 }, epoch: 1 };
        spread.take_in(25, Some(1), &Fact::Marked { run, positions: vec![5] });
        spread.take_in(30, Some(1), &lease(0, 1, true));
        spread.take_in(40, Some(1), &lease(1, 2, false));
        spread.take_in(50, Some(1), &offered(2, vec![6]));
        assert!(spread.is_settled(2_040) && spread.handed_over() == 1);
        assert_eq!(spread.violations(), &[] as &[String]);
        spread.take_in(60, Some(1), &offered(2, vec![5]));
        assert_eq!(rules(&spread), ["drain"]);
    }

    #[test]
    fn what_is_taken_from_an_able_node_must_be_released() {
        let mut spread = uneven();
        spread.take_in(40, Some(1), &lease(1, 2, false));
        assert_eq!(rules(&spread), ["hand-over"]);
    }

    #[test]
    fn nothing_moves_once_all_is_even() {
        let mut spread = uneven();
        spread.take_in(30, Some(1), &lease(0, 1, true));
        for at_ms in [40, 900, 1_800, 2_400] {
            spread.take_in(at_ms, Some(0), &lease(0, 1, false));
            spread.take_in(at_ms, Some(1), &lease(1, 2, false));
        }
        spread.take_in(2_500, Some(1), &lease(1, 2, true));
        assert_eq!(spread.violations(), &[] as &[String], "a release is no move");
        spread.take_in(2_501, Some(1), &lease(0, 3, false));
        assert_eq!(rules(&spread), ["rest"]);
    }

    #[test]
    fn a_move_without_need_and_what_is_never_even_are_refused() {
        let mut spread = uneven();
        spread.take_in(30, Some(1), &lease(0, 1, true));
        for at_ms in [40, 900, 1_800, 2_500] {
            spread.take_in(at_ms, Some(0), &lease(0, 1, false));
            spread.take_in(at_ms, Some(1), &lease(1, 2, false));
        }
        spread.take_in(2_600, Some(1), &lease(0, 3, false));
        assert_eq!(rules(&spread), ["hand-over", "rest"]);
        spread.came_to_rest(9_000);
        assert_eq!(rules(&spread), ["hand-over", "rest", "spread"]);
    }
}
