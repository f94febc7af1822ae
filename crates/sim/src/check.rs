//! Owns the judgement of a history: a model of its own, which shares no code with what it judges.
//!
//! | rule | what it refuses |
//! | --- | --- |
//! | order | a record at the target, parked or left out, before an earlier one of its key is |
//! | low water | a checkpoint that covers a record that is nowhere: neither at the target nor parked nor left out |
//! | repeats | a run offers what the checkpoint that it began with covers, or what its own sink has confirmed |
//! | parked key | a run that knows of a parked key offers a later record of it |
//! | policy | a record is parked or left out though the table says otherwise, or for the failure of another one |
//! | once | a transactional target that has a record twice |
//! | no loss, liveness | records or checkpoints that are missing long after the last fault |
//!
//! Who owns the connector is judged in `owners`, how much passes in `pace`, what becomes of parked records in `replayed`.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Fact, Life, Run, StoredCheckpoint};
use crate::owners::Owners;
use crate::pace::{Bounds, Pace};
use crate::policy::{Action, Refusals};
use crate::replayed::Replayed;

/// Violations beyond this are only counted.
const VIOLATIONS_MAX: usize = 20;

/// What the checker must know of the connector to judge it.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// All records are one key.
    pub(crate) one_key: bool,
    /// Streams that begin with this are to be delivered.
    pub(crate) wanted: &'static str,
    /// The target must have every record exactly once.
    pub(crate) once: bool,
    /// No clock stands still, so a lease can be relied on.
    pub(crate) sound_clocks: bool,
    /// What the target refuses, and what is to become of it.
    pub(crate) refusals: Refusals,
    /// Retries are bounded, so any record may be given up.
    pub(crate) gives_up: bool,
    /// How long a lease lasts.
    pub(crate) lease_ms: u64,
    /// Only nodes fail.
    pub(crate) is_drill: bool,
    /// Nodes know of each other.
    pub(crate) is_cluster: bool,
    /// How much may pass.
    pub(crate) bounds: Bounds,
}

/// The model.
#[derive(Debug)]
pub(crate) struct Checker {
    terms: Terms,
    /// Every record that is to be delivered: position to key and number within the key.
    records: BTreeMap<u64, Place>,
    keys: BTreeMap<String, KeyModel>,
    applied: BTreeSet<u64>,
    parked: BTreeSet<u64>,
    left_out: BTreeSet<u64>,
    parks: Vec<Park>,
    runs: BTreeMap<Run, RunModel>,
    owners: Owners,
    pace: Pace,
    replayed: Replayed,
    last_read: BTreeMap<Life, StoredCheckpoint>,
    parked_read: BTreeMap<Life, usize>,
    facts: usize,
    checkpoint: StoredCheckpoint,
    counts: Counts,
    violations: Vec<String>,
}

#[derive(Clone, Debug)]
struct Place {
    key: String,
    number: usize,
}

/// A key: its records, and how many of them from the first on are settled without a gap.
#[derive(Debug, Default)]
struct KeyModel {
    positions: Vec<u64>,
    reached: usize,
}

#[derive(Debug)]
struct Park {
    at: usize,
    key: String,
    position: u64,
    epoch: u64,
}

/// What a run began with and was told.
#[derive(Debug, Default)]
struct RunModel {
    began_with: StoredCheckpoint,
    knows_parked_up_to: usize,
    confirmed: BTreeSet<u64>,
}

/// What happened how often, for the summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were to be delivered.
    pub records: u64,
    /// Records at the target, repeats left out.
    pub applied: u64,
    /// Records that came to the target again.
    pub repeats: u64,
    /// Records set aside.
    pub parked: u64,
    /// Records left out, as the table says.
    pub left_out: u64,
    /// Runs of the pipeline.
    pub runs: u64,
    /// Crashes of nodes.
    pub crashes: u64,
    /// Transactions of an epoch that was over, refused.
    pub refused: u64,
    /// Leases that another node took when they had run out.
    pub take_overs: u64,
    /// The longest take-over of a drill, in thousandths of the lease.
    pub take_over_permille_max: u64,
    /// The most records of a run that were confirmed before it.
    pub repeats_max: u64,
    /// Operations on lease streams in histories that were found linearizable.
    pub lease_operations: u64,
    /// The same on checkpoint streams.
    pub checkpoint_operations: u64,
    /// Commands that operators gave about parked records.
    pub commands: u64,
    /// Parked records that were replayed.
    pub replayed: u64,
    /// Parked records that were dropped.
    pub dropped: u64,
    /// Edits of parked records.
    pub edited: u64,
    /// Connectors that one node handed over to another, in a drill or after the last fault.
    pub handed_over: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            applied: self.applied + other.applied,
            repeats: self.repeats + other.repeats,
            parked: self.parked + other.parked,
            left_out: self.left_out + other.left_out,
            runs: self.runs + other.runs,
            crashes: self.crashes + other.crashes,
            refused: self.refused + other.refused,
            take_overs: self.take_overs + other.take_overs,
            lease_operations: self.lease_operations + other.lease_operations,
            checkpoint_operations: self.checkpoint_operations + other.checkpoint_operations,
            commands: self.commands + other.commands,
            replayed: self.replayed + other.replayed,
            dropped: self.dropped + other.dropped,
            edited: self.edited + other.edited,
            handed_over: self.handed_over + other.handed_over,
            take_over_permille_max: self.take_over_permille_max.max(other.take_over_permille_max),
            repeats_max: self.repeats_max.max(other.repeats_max),
        }
    }
}

impl Checker {
    /// A checker of an empty history.
    pub(crate) fn new(terms: Terms) -> Self {
        let owners = Owners::new(terms.lease_ms, terms.is_drill, terms.sound_clocks).in_cluster(terms.is_cluster);
        let pace = Pace::new(terms.bounds);
        let replayed = Replayed::new(terms.one_key, terms.wanted);
        Self {
            terms,
            records: BTreeMap::new(),
            keys: BTreeMap::new(),
            applied: BTreeSet::new(),
            parked: BTreeSet::new(),
            left_out: BTreeSet::new(),
            parks: Vec::new(),
            runs: BTreeMap::new(),
            owners,
            pace,
            replayed,
            last_read: BTreeMap::new(),
            parked_read: BTreeMap::new(),
            facts: 0,
            checkpoint: StoredCheckpoint::default(),
            counts: Counts::default(),
            violations: Vec::new(),
        }
    }

    /// What was found to be wrong.
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// What happened how often.
    pub(crate) fn counts(&self) -> Counts {
        let (take_overs, replays) = (self.owners.take_overs(), self.replayed.counts());
        Counts {
            commands: replays.commands,
            replayed: replays.replayed,
            dropped: replays.dropped,
            edited: replays.edited,
            runs: self.runs.len() as u64,
            take_overs: take_overs.count,
            take_over_permille_max: take_overs.longest_permille,
            repeats_max: self.pace.repeats_most(),
            ..self.counts
        }
    }

    /// Judges the next fact.
    pub(crate) fn take_in(&mut self, at_ms: u64, fact: &Fact) {
        self.facts += 1;
        let wrong = self.owners.take_in(at_ms, fact).into_iter().chain(self.pace.take_in(at_ms, fact));
        let wrong = wrong.chain(self.replayed.take_in(fact));
        wrong.collect::<Vec<_>>().into_iter().for_each(|wrong| self.violate(wrong));
        match fact {
            Fact::Written { stream, position } => self.written(stream, *position),
            Fact::Checkpoint(checkpoint) => self.checkpoint(checkpoint),
            Fact::Parked { position, epoch } => self.parked(*position, *epoch),
            Fact::LeftOut { position, .. } => self.left_out(*position),
            Fact::ReadCheckpoint { life, checkpoint } => {
                self.last_read.insert(*life, checkpoint.clone().unwrap_or_default());
            }
            Fact::ReadParked { life } => {
                self.parked_read.insert(*life, self.facts);
            }
            Fact::Offered { run, positions, .. } => self.offered(*run, positions),
            Fact::Applied { position } => self.applied(*position),
            Fact::Marked { run, positions } => {
                if let Some(known) = self.runs.get_mut(run) {
                    known.confirmed.extend(positions);
                }
            }
            Fact::Refused { .. } => self.counts.refused += 1,
            Fact::Crashed { .. } => self.counts.crashes += 1,
            _ => {}
        }
    }

    /// What is still to be done: records that are neither at the target nor parked, and whether a checkpoint covers all.
    pub(crate) fn outstanding(&self) -> (Vec<u64>, bool) {
        let missing = self.records.keys().copied().filter(|position| !self.is_settled(*position)).collect();
        let covered = self.records.keys().all(|position| covers(&self.checkpoint, *position));
        (missing, covered)
    }

    /// What is known of parked records.
    pub(crate) fn replayed(&self) -> &Replayed {
        &self.replayed
    }

    /// Judges parked records at the end.
    pub(crate) fn judge_parked(&mut self) {
        self.replayed.at_rest().into_iter().for_each(|wrong| self.violate(wrong));
    }

    /// Takes in what somebody else found to be wrong.
    pub(crate) fn complain(&mut self, wrong: String) {
        self.violate(wrong);
    }

    /// Notes that histories of so many operations on the lease and the checkpoint were found linearizable.
    pub(crate) fn linearizable(&mut self, lease: usize, checkpoint: usize) {
        (self.counts.lease_operations, self.counts.checkpoint_operations) = (lease as u64, checkpoint as u64);
    }

    /// Says that something did not come about in time.
    pub(crate) fn came_to_rest(&mut self, in_time: bool) {
        let (missing, covered) = self.outstanding();
        if in_time {
            return;
        }
        if missing.is_empty() {
            self.violate(format!("liveness: no checkpoint covers all records (covered: {covered})"));
        } else {
            let first: Vec<_> = missing.iter().take(5).collect();
            self.violate(format!("loss: {} records are nowhere, the first of them at {first:?}", missing.len()));
        }
    }

    /// Compares what the last run says of itself, if it is on this node, with what was seen.
    pub(crate) fn accounts(&mut self, life: Life, account: Account) {
        let Account { read, delivered, skipped, parked } = account;
        let Some((_, owner)) = self.owners.owner().filter(|(holder, _)| *holder == life.node) else { return };
        if read != delivered + skipped + parked {
            self.violate(format!(
                "accounting: {read} read, but {delivered} delivered + {skipped} skipped + {parked} parked at rest"
            ));
        }
        let confirmed = self.runs.iter().find(|(run, _)| run.epoch == owner).map_or(0, |(_, run)| run.confirmed.len());
        if delivered != confirmed as u64 && !self.terms.once {
            self.violate(format!("accounting: {delivered} counted as delivered, but {confirmed} were confirmed"));
        }
    }

    fn violate(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }

    fn is_settled(&self, position: u64) -> bool {
        self.applied.contains(&position) || self.parked.contains(&position) || self.left_out.contains(&position)
    }

    fn written(&mut self, stream: &str, position: u64) {
        if !stream.starts_with(self.terms.wanted) {
            return;
        }
        let key = if self.terms.one_key { String::new() } else { stream.to_owned() };
        let model = self.keys.entry(key.clone()).or_default();
        self.records.insert(position, Place { key, number: model.positions.len() });
        model.positions.push(position);
        self.counts.records += 1;
    }

    fn checkpoint(&mut self, checkpoint: &StoredCheckpoint) {
        let early = self.records.keys().copied().find(|at| covers(checkpoint, *at) && !self.is_settled(*at));
        if let Some(position) = early {
            self.violate(format!(
                "low water: the checkpoint at {:?} {:?} covers the record at {position}, which is nowhere",
                checkpoint.mark, checkpoint.ranges
            ));
        }
        self.checkpoint = checkpoint.clone();
    }

    fn parked(&mut self, position: u64, epoch: u64) {
        let Some(place) = self.records.get(&position).cloned() else {
            self.violate(format!("parked key: what is parked at {position} was never to be delivered"));
            return;
        };
        if !self.parked.insert(position) {
            self.violate(format!("accounting: the record at {position} is parked twice"));
        }
        self.counts.parked += 1;
        self.in_order(position, &place, "parked");
        let stands_before = |park: &&Park| park.position < position && !self.replayed.is_over(park.position);
        let follows = self.parks.iter().filter(|park| park.key == place.key).any(|park| stands_before(&park));
        // A restart may set aside once more what had got through before the first of its key was parked.
        let was_settled = self.applied.contains(&position) || self.left_out.contains(&position);
        let is_repeat = was_settled && self.parks.iter().any(|park| park.key == place.key);
        if !follows && !is_repeat && !self.terms.gives_up && !self.is_to_be(position, Action::Park) {
            self.violate(format!(
                "policy: the record at {position} is parked, as the first of its key, and need not be"
            ));
        }
        self.parks.push(Park { at: self.facts, key: place.key, position, epoch });
    }

    fn left_out(&mut self, position: u64) {
        let Some(place) = self.records.get(&position).cloned() else {
            self.violate(format!("policy: what is left out at {position} was never to be delivered"));
            return;
        };
        if !self.left_out.insert(position) {
            self.violate(format!("accounting: the record at {position} is left out twice"));
        }
        self.counts.left_out += 1;
        self.in_order(position, &place, "left out");
        if !self.is_to_be(position, Action::Skip) {
            self.violate(format!("policy: the record at {position} is left out and need not be"));
        }
    }

    /// Whether the target refuses a record and the table says that this is to become of it.
    fn is_to_be(&self, position: u64, action: Action) -> bool {
        self.terms.refusals.of_record(position).is_some_and(|(_, wanted)| wanted == action)
    }

    fn offered(&mut self, run: Run, positions: &[u64]) {
        if !self.runs.contains_key(&run) {
            let began_with = self.last_read.get(&run.life).cloned().unwrap_or_default();
            let knows_parked_up_to = self.parked_read.get(&run.life).copied().unwrap_or(0);
            self.runs.insert(run, RunModel { began_with, knows_parked_up_to, ..RunModel::default() });
        }
        if !positions.is_sorted() {
            self.violate(format!("order: a batch is not in the order of the log: {positions:?}"));
        }
        for position in positions {
            if let Some(wrong) = self.wrong_offer(run, *position) {
                self.violate(wrong);
            }
        }
    }

    /// What is wrong with giving this record to a sink in this run.
    fn wrong_offer(&self, run: Run, position: u64) -> Option<String> {
        let Some(place) = self.records.get(&position) else {
            return Some(format!("filter: the record at {position} was never to be delivered"));
        };
        let known = self.runs.get(&run)?;
        if covers(&known.began_with, position) {
            return Some(format!(
                "repeats: {run:?} offers {position}, which the checkpoint it began with covers ({:?} {:?})",
                known.began_with.mark, known.began_with.ranges
            ));
        }
        if known.confirmed.contains(&position) {
            return Some(format!("repeats: {run:?} offers {position} again, which its sink had confirmed"));
        }
        let is_known = |park: &&Park| park.epoch == run.epoch || park.at < known.knows_parked_up_to;
        let is_over = |park: &&Park| self.replayed.is_over(park.position);
        let behind = |park: &&Park| park.key == place.key && park.position < position && !is_over(park);
        let park = self.parks.iter().filter(behind).find(is_known)?;
        Some(format!("parked key: {run:?} offers {position}, though its key is parked since {}", park.position))
    }

    fn applied(&mut self, position: u64) {
        let Some(place) = self.records.get(&position).cloned() else { return };
        if self.applied.insert(position) {
            self.counts.applied += 1;
        } else {
            self.counts.repeats += 1;
            if self.terms.once {
                self.violate(format!("once: the target has the record at {position} twice"));
            }
        }
        self.in_order(position, &place, "at the target");
    }

    /// A record was settled: every earlier one of its key must be, too.
    fn in_order(&mut self, position: u64, place: &Place, how: &str) {
        let (applied, parked, left_out) = (&self.applied, &self.parked, &self.left_out);
        let Some(model) = self.keys.get_mut(&place.key) else { return };
        let skipped = (place.number > model.reached).then(|| model.positions.get(model.reached).copied());
        let is_settled = |at: &&u64| applied.contains(at) || parked.contains(at) || left_out.contains(at);
        model.reached += model.positions.iter().skip(model.reached).take_while(is_settled).count();
        if let Some(missing) = skipped.flatten() {
            self.violate(format!("order: {position} is {how} before {missing} of the same key"));
        }
    }
}

/// What a run says of itself when it is at rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) read: u64,
    pub(crate) delivered: u64,
    pub(crate) skipped: u64,
    pub(crate) parked: u64,
}

fn covers(checkpoint: &StoredCheckpoint, position: u64) -> bool {
    checkpoint.mark.is_some_and(|mark| position <= mark)
        || checkpoint.ranges.iter().any(|(above, upto)| *above < position && position <= *upto)
}
