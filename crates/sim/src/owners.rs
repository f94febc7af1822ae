//! Owns the judgement of who runs the connector: leases, epochs, take-overs and what an owner of the past may still do.
//!
//! | rule | what it refuses |
//! | --- | --- |
//! | one writer | two runs under one epoch, an epoch that goes back, a checkpoint of an epoch that is over |
//! | lease | an owner that offers records after another one has the lease, its clock being sound |
//! | fence | a transaction of an owner in a lane that a newer one has claimed |
//! | take-over | a lease that nobody has renewed or taken for two durations though some node was able all the while, and the connector had not failed: then nodes wait for the time of its restart |
//! | hand-over | an owner that closes in good order and keeps its lease |
//!
//! Nodes that know of each other are given four durations where another node came or went meanwhile, or the owner came.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Fact, Life};

/// What calls to the store, and clocks that drift, add to four durations.
const CALLS_MS: u64 = 200;
/// The longest that a node waits, by the default settings, before it starts a connector that has failed.
const RESTART_WAIT_MS_MAX: u64 = 5_000;

/// What is judged here.
#[derive(Debug)]
pub(crate) struct Owners {
    lease_ms: u64,
    /// How long a take-over lasts is held to a bound.
    is_drill: bool,
    /// No clock stands still, so a lease can be relied on.
    sound_clocks: bool,
    lease: Option<Lease>,
    /// Under which epoch a run offered records first, and on which node.
    offering: BTreeMap<u64, Life>,
    checkpoint_epoch: u64,
    claims: BTreeMap<u32, u64>,
    crashed: BTreeSet<Life>,
    /// Since when nodes are able.
    able: BTreeMap<usize, u64>,
    /// The last word on the connector is that it has failed.
    has_failed: bool,
    /// Until when some node may wait for the time of a restart: nodes that do not follow each other wait although the
    /// connector runs elsewhere meanwhile.
    waits_until_ms: u64,
    /// Nodes that close in good order and hold the lease, undisturbed so far.
    closing: BTreeSet<usize>,
    /// Nodes know of each other.
    is_cluster: bool,
    /// When each node last came, and went, as the others may see it.
    came: BTreeMap<usize, u64>,
    went: BTreeMap<usize, u64>,
    /// The lease for which a late take-over was told.
    told: Option<u64>,
    take_overs: TakeOvers,
}

#[derive(Clone, Debug)]
struct Lease {
    holder: usize,
    epoch: u64,
    since_ms: u64,
    is_released: bool,
}

/// How long take-overs lasted, from the last renewal of the old owner to the first lease of the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TakeOvers {
    pub(crate) count: u64,
    /// The longest, in thousandths of the lease, of those in which a node was able all the while.
    pub(crate) longest_permille: u64,
}

impl Owners {
    pub(crate) fn new(lease_ms: u64, is_drill: bool, sound_clocks: bool) -> Self {
        Self {
            lease_ms,
            is_drill,
            sound_clocks,
            lease: None,
            offering: BTreeMap::new(),
            checkpoint_epoch: 0,
            claims: BTreeMap::new(),
            crashed: BTreeSet::new(),
            able: BTreeMap::new(),
            has_failed: false,
            waits_until_ms: 0,
            closing: BTreeSet::new(),
            is_cluster: false,
            came: BTreeMap::new(),
            went: BTreeMap::new(),
            told: None,
            take_overs: TakeOvers::default(),
        }
    }

    /// The same for nodes that know of each other, or do not.
    pub(crate) fn in_cluster(self, is_cluster: bool) -> Self {
        Self { is_cluster, ..self }
    }

    pub(crate) fn take_overs(&self) -> TakeOvers {
        self.take_overs
    }

    /// The node that has the lease, and its epoch.
    pub(crate) fn owner(&self) -> Option<(usize, u64)> {
        self.lease.as_ref().map(|lease| (lease.holder, lease.epoch))
    }

    /// Judges the next fact: what is wrong with it.
    pub(crate) fn take_in(&mut self, at_ms: u64, fact: &Fact) -> Vec<String> {
        let late = self.late_take_over(at_ms);
        let wrong = match fact {
            Fact::Lease { holder, epoch, released } => {
                let lease = Lease { holder: node_of(holder), epoch: *epoch, since_ms: at_ms, is_released: *released };
                self.leased(at_ms, lease)
            }
            Fact::Checkpoint(checkpoint) => self.checkpoint(checkpoint.epoch),
            Fact::Offered { run, .. } | Fact::Tried { run, .. } => self.offered(run.life, run.epoch),
            Fact::Bookkeeping { event_type, .. } => {
                match event_type.as_str() {
                    "$conn-mngt-connector-failed" => {
                        self.has_failed = true;
                        self.waits_until_ms = at_ms + RESTART_WAIT_MS_MAX;
                    }
                    "$conn-mngt-connector-running" => self.has_failed = false,
                    _ => {}
                }
                None
            }
            Fact::Claimed { lane, epoch } => self.claimed(*lane, *epoch),
            Fact::Committed { lane, epoch, .. } => self.committed(*lane, *epoch),
            Fact::Able { node, is_able } => {
                let stirred = if *is_able { &mut self.came } else { &mut self.went };
                stirred.insert(*node, at_ms);
                if *is_able {
                    self.able.entry(*node).or_insert(at_ms);
                } else {
                    self.able.remove(node);
                }
                None
            }
            Fact::Closing { life } => {
                let able_since = self.able.get(&life.node).copied();
                let holds = |lease: &Lease| {
                    lease.holder == life.node && !lease.is_released && able_since.is_some_and(|at| at <= lease.since_ms)
                };
                if self.lease.as_ref().is_some_and(holds) {
                    self.closing.insert(life.node);
                }
                None
            }
            Fact::Fault { node, .. } => {
                self.closing.remove(node);
                None
            }
            Fact::Crashed { life } => {
                self.closing.remove(&life.node);
                self.crashed.insert(*life);
                None
            }
            Fact::Closed { life } => self.closed(life.node),
            _ => None,
        };
        late.into_iter().chain(wrong).collect()
    }

    fn leased(&mut self, at_ms: u64, lease: Lease) -> Option<String> {
        let last = self.lease.replace(lease.clone())?;
        if lease.epoch < last.epoch || (lease.epoch == last.epoch && last.holder != lease.holder) {
            return Some(format!(
                "one writer: node {} has the lease in epoch {} after node {} in epoch {}",
                lease.holder, lease.epoch, last.holder, last.epoch
            ));
        }
        if last.holder != lease.holder && !last.is_released {
            self.take_overs.count += 1;
            let lasted_ms = at_ms.saturating_sub(last.since_ms);
            if self.is_drill && !self.waits_for_restart(&last) && self.someone_was_able_since(last.since_ms) {
                let permille = lasted_ms * 1000 / self.lease_ms.max(1);
                self.take_overs.longest_permille = self.take_overs.longest_permille.max(permille);
            }
        }
        None
    }

    /// In a drill, as long as some node is able the lease is never older than two of its durations.
    fn late_take_over(&mut self, at_ms: u64) -> Option<String> {
        let lease = self.lease.as_ref().filter(|lease| self.is_drill && !self.waits_for_restart(lease))?;
        let age_ms = at_ms.saturating_sub(lease.since_ms);
        if age_ms < self.bound_ms(lease)
            || self.told == Some(lease.since_ms)
            || !self.someone_was_able_since(lease.since_ms)
        {
            return None;
        }
        self.told = Some(lease.since_ms);
        Some(format!(
            "take-over: nobody has renewed or taken the lease of node {} for {age_ms} ms, it lasts {} ms",
            lease.holder, self.lease_ms
        ))
    }

    /// So long after it began a lease is taken over. A node that came or went shortly before is heard of only then.
    fn bound_ms(&self, lease: &Lease) -> u64 {
        let since_ms = lease.since_ms.saturating_sub(self.lease_ms);
        let has_come = self.came.values().any(|at_ms| *at_ms >= since_ms);
        let has_gone = self.went.iter().any(|(node, at_ms)| *node != lease.holder && *at_ms >= since_ms);
        if self.is_cluster && (has_come || has_gone) { 4 * self.lease_ms + CALLS_MS } else { 2 * self.lease_ms }
    }

    fn waits_for_restart(&self, lease: &Lease) -> bool {
        self.has_failed || !self.is_cluster && lease.since_ms < self.waits_until_ms
    }

    fn someone_was_able_since(&self, at_ms: u64) -> bool {
        self.able.values().any(|since| *since <= at_ms)
    }

    fn checkpoint(&mut self, epoch: u64) -> Option<String> {
        let last = self.checkpoint_epoch;
        self.checkpoint_epoch = epoch;
        (epoch < last).then(|| format!("one writer: epoch {epoch} stored a checkpoint after epoch {last} had"))
    }

    fn offered(&mut self, life: Life, epoch: u64) -> Option<String> {
        let owner = *self.offering.entry(epoch).or_insert(life);
        if owner != life {
            return Some(format!("one writer: {owner:?} and {life:?} both deliver in epoch {epoch}"));
        }
        if self.crashed.contains(&life) {
            return Some(format!("one writer: {life:?} delivers after its end"));
        }
        let newest = self.lease.as_ref().map_or(0, |lease| lease.epoch);
        (self.sound_clocks && epoch < newest)
            .then(|| format!("lease: epoch {epoch} delivers while epoch {newest} has the lease"))
    }

    fn claimed(&mut self, lane: u32, epoch: u64) -> Option<String> {
        let last = self.claims.insert(lane, epoch).unwrap_or_default();
        (epoch < last).then(|| format!("fence: epoch {epoch} has claimed lane {lane} after epoch {last} had"))
    }

    fn committed(&self, lane: u32, epoch: u64) -> Option<String> {
        let owner = self.claims.get(&lane).copied().unwrap_or_default();
        (epoch != owner)
            .then(|| format!("fence: epoch {epoch} wrote rows in lane {lane}, which epoch {owner} has claimed"))
    }

    fn closed(&mut self, node: usize) -> Option<String> {
        let was_undisturbed = self.closing.remove(&node);
        let keeps = self.lease.as_ref().is_some_and(|lease| lease.holder == node && !lease.is_released);
        (self.is_drill && was_undisturbed && keeps)
            .then(|| format!("hand-over: node {node} has closed in good order and keeps its lease"))
    }
}

/// Nodes are numbered from 0, their ids from 1.
fn node_of(holder: &str) -> usize {
    let digits = holder.rsplit('-').next().unwrap_or_default();
    usize::from_str_radix(digits, 16).unwrap_or_default().saturating_sub(1)
}
