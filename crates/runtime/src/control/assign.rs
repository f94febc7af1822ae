//! Owns which node should run which connector: one pure function, so that all nodes that know the same answer the same.
//!
//! ```text
//! held by a node that may ──▶ stays
//! held by nobody          ──▶ the node that may with the fewest shards of its connector, of those the least loaded
//! else, one per round     ──▶ held by a node that may not, or by one with two more than another that may: first of the
//!                             shards of one connector, then of everything
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_connector::settings::SettingsMap;
use uuid::Uuid;

use crate::settings::node_labels;

/// A node that may be given connectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node: Uuid,
    /// Nodes are as old as the log says: lower is older. No wall clock is asked.
    pub(crate) since: u64,
    pub(crate) labels: BTreeMap<String, String>,
    /// It goes down: it keeps what it has until it has handed that over, and takes nothing new.
    pub(crate) leaving: bool,
}

/// On which nodes a connector may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Affinity {
    /// Only on the oldest of those that may.
    pub(crate) leader: bool,
    /// Only on nodes with all of these labels.
    pub(crate) labels: Vec<(String, String)>,
}

/// A connector, or a shard of one, that is to run, and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) id: Arc<str>,
    /// The connector it is all or a part of.
    pub(crate) connector: Arc<str>,
    pub(crate) affinity: Affinity,
    /// The live node that has it, if any.
    pub(crate) holder: Option<Uuid>,
}

impl Affinity {
    /// Reads it from a connector's settings; what cannot be read was refused when they were given, and asks for nothing.
    pub(crate) fn of(settings: &SettingsMap) -> Self {
        let asked = settings.get("subscription:nodeAffinity").unwrap_or_default();
        let labels = settings.get("subscription:nodeLabels").and_then(node_labels).unwrap_or_default();
        Self { leader: asked.trim().eq_ignore_ascii_case("leader"), labels }
    }

    /// Whether its labels allow a node that is not going down.
    pub(crate) fn admits(&self, node: &Candidate) -> bool {
        !node.leaving && self.labels.iter().all(|(key, value)| node.labels.get(key) == Some(value))
    }
}

/// Says for each connector which node should run it; none when no live node may.
///
/// A connector that a live node holds is answered another node only when it is to move, and of those that need not move
/// for their affinity or for a node that leaves at most one is: applied round after round, the loads of any two nodes that
/// may run the same connectors come to differ by at most one, and so do the numbers of shards of any one connector.
pub(crate) fn assign(nodes: &[Candidate], wishes: &[Wish]) -> BTreeMap<Arc<str>, Option<Uuid>> {
    let mut round = Round::new(nodes, wishes);
    let settled = round.keep_and_place();
    if settled && !round.move_misplaced() && !round.move_sibling() {
        round.move_one();
    }
    round.answer()
}

/// One connector in a round, nodes as their index.
struct Place<'a> {
    wish: &'a Wish,
    /// The connector it belongs to, as its number.
    family: usize,
    /// The nodes that may run it, oldest first.
    may: Vec<usize>,
    node: Option<usize>,
}

struct Round<'a> {
    nodes: Vec<&'a Candidate>,
    /// How many connectors each node is to have.
    loads: Vec<usize>,
    /// How many shards of each connector each node is to have; of a connector without shards it has one or none.
    families: Vec<Vec<usize>>,
    places: Vec<Place<'a>>,
}

impl<'a> Round<'a> {
    fn new(nodes: &'a [Candidate], wishes: &'a [Wish]) -> Self {
        let mut nodes: Vec<_> = nodes.iter().collect();
        nodes.sort_by_key(|node| (node.since, node.node));
        let connectors: BTreeSet<&str> = wishes.iter().map(|wish| &*wish.connector).collect();
        let numbers: BTreeMap<&str, usize> = connectors.into_iter().zip(0..).collect();
        let mut places: Vec<_> = wishes
            .iter()
            .map(|wish| {
                let admitted = nodes.iter().enumerate().filter(|(_, node)| wish.affinity.admits(node));
                let most = if wish.affinity.leader { 1 } else { nodes.len() };
                let family = numbers.get(&*wish.connector).copied().unwrap_or(0);
                Place { wish, family, may: admitted.map(|(index, _)| index).take(most).collect(), node: None }
            })
            .collect();
        // Those with the fewest choices choose first.
        places.sort_by(|one, other| (one.may.len(), &one.wish.id).cmp(&(other.may.len(), &other.wish.id)));
        Self { loads: vec![0; nodes.len()], families: vec![vec![0; nodes.len()]; numbers.len()], nodes, places }
    }

    /// Leaves what is held where it is and gives the rest to the least loaded; whether nothing was on its way.
    fn keep_and_place(&mut self) -> bool {
        for index in 0..self.places.len() {
            let holder = self.holder_of(index).filter(|holder| !self.leaves(*holder));
            self.put(index, holder);
        }
        let mut settled = true;
        for index in 0..self.places.len() {
            let Some(place) = self.places.get(index).filter(|place| place.node.is_none()) else { continue };
            let least = self.least_loaded(place);
            settled &= least.is_none();
            self.put(index, least);
        }
        settled
    }

    /// Moves the first connector that its holder may not run, if there is one; where no node may, it goes nowhere.
    fn move_misplaced(&mut self) -> bool {
        let is_misplaced = |place: &Place<'_>| place.node.is_some_and(|node| !place.may.contains(&node));
        let Some(index) = self.places.iter().position(is_misplaced) else { return false };
        let to = self.places.get(index).and_then(|place| self.least_loaded(place));
        self.put(index, to);
        true
    }

    /// Moves one shard of a connector from a node that has two more of its shards than another that may run it; whether
    /// there is one.
    fn move_sibling(&mut self) -> bool {
        for family in 0..self.families.len() {
            let Some(counts) = self.families.get(family) else { continue };
            let most = counts.iter().copied().max().unwrap_or(0);
            if most < 2 {
                continue;
            }
            let movable = self.places.iter().enumerate().filter(|(_, place)| place.family == family);
            let moves = movable.filter_map(|(index, place)| {
                let (from, to) = (place.node?, self.least_loaded(place)?);
                let (more, less) = (self.siblings(family, from), self.siblings(family, to));
                (more >= less + 2).then_some((more - less, Reverse(index), to))
            });
            if let Some((_, Reverse(index), to)) = moves.max() {
                self.put(index, Some(to));
                return true;
            }
        }
        false
    }

    fn siblings(&self, family: usize, node: usize) -> usize {
        self.families.get(family).and_then(|counts| counts.get(node)).copied().unwrap_or(0)
    }

    /// Moves one connector from the node with the most to one that may run it and has at least two less.
    fn move_one(&mut self) {
        let mut by_load: Vec<usize> = (0..self.nodes.len()).collect();
        by_load.sort_by_key(|node| (Reverse(self.load(*node)), *node));
        for from in &by_load {
            for to in by_load.iter().rev() {
                if self.load(*from) < self.load(*to) + 2 {
                    break;
                }
                if let Some(index) = self.movable(*from, *to) {
                    self.put(index, Some(*to));
                    return;
                }
            }
        }
    }

    /// The connector of a node that another one is the most fit for.
    fn movable(&self, from: usize, to: usize) -> Option<usize> {
        let candidates = self.places.iter().enumerate();
        // A shard goes only where fewer of its connector are, so that they stay spread.
        let spreads = |place: &Place<'_>| self.siblings(place.family, to) < self.siblings(place.family, from);
        let fits = |place: &Place<'_>| place.node == Some(from) && place.may.contains(&to) && spreads(place);
        let movable = candidates.filter(|(_, place)| fits(place));
        movable.max_by_key(|(index, place)| (self.score(to, &place.wish.id), Reverse(*index))).map(|(index, _)| index)
    }

    fn least_loaded(&self, place: &Place<'_>) -> Option<usize> {
        let fitness = |node: &usize| {
            (self.siblings(place.family, *node), self.load(*node), Reverse(self.score(*node, &place.wish.id)))
        };
        place.may.iter().copied().min_by_key(fitness)
    }

    fn put(&mut self, index: usize, node: Option<usize>) {
        let Some(place) = self.places.get_mut(index) else { return };
        let before = std::mem::replace(&mut place.node, node);
        let mut none = Vec::new();
        let family = self.families.get_mut(place.family).unwrap_or(&mut none);
        for counts in [&mut self.loads, family] {
            if let Some(count) = before.and_then(|node| counts.get_mut(node)) {
                *count -= 1;
            }
            if let Some(count) = node.and_then(|node| counts.get_mut(node)) {
                *count += 1;
            }
        }
    }

    fn holder_of(&self, index: usize) -> Option<usize> {
        let holder = self.places.get(index)?.wish.holder?;
        self.nodes.iter().position(|node| node.node == holder)
    }

    fn leaves(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.leaving)
    }

    fn load(&self, node: usize) -> usize {
        self.loads.get(node).copied().unwrap_or(0)
    }

    fn score(&self, node: usize, id: &str) -> u64 {
        self.nodes.get(node).map_or(0, |node| score(node.node, id))
    }

    fn answer(&self) -> BTreeMap<Arc<str>, Option<Uuid>> {
        let id_of = |node: usize| self.nodes.get(node).map(|node| node.node);
        self.places.iter().map(|place| (Arc::clone(&place.wish.id), place.node.and_then(id_of))).collect()
    }
}

/// How fit a node is for a connector, by rendezvous hashing; the same in all versions, since all nodes must agree (FNV-1a,
/// its bits mixed once more).
fn score(node: Uuid, id: &str) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    const MIX: u64 = 0xff51_afd7_ed55_8ccd;
    let bytes = node.as_bytes().iter().chain(id.as_bytes());
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(MIX);
    mixed ^ (mixed >> 33)
}
