//! Owns what operators do about parked records while a run lasts: they look, try, replay, edit and drop, on any node, and
//! the target becomes milder.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay_runtime::Connectors;
use forebay_runtime::management::{CommandError, ParkedPage};
use forebay_runtime::pipeline::{ParkedCommand, ParkedOutcome};

use crate::chance::Chance;
use crate::history::{Fact, Ordered, Payload, Told};
use crate::life::Open;
use crate::mercy::MENDED;
use crate::scenario::connector_id;
use crate::variants::Operators;
use crate::world::World;

/// An operator who has no answer by then asks for something else.
const PATIENCE: Duration = Duration::from_secs(20);
/// At most so many records of a key are looked at.
const RECORDS_SHOWN: usize = 20;
/// The pause between two looks at what is still parked, in the end.
const LOOK: Duration = Duration::from_secs(1);

/// The staff: operators who share a count of their commands.
pub(crate) struct Staff {
    world: Arc<World>,
    doors: Vec<Open>,
    terms: Operators,
    asks: AtomicU64,
}

/// A key with parked records, as an operator sees it.
struct Seen {
    connector: usize,
    key: String,
    numbers: Vec<u64>,
}

impl Staff {
    /// None when this seed has no operators.
    pub(crate) fn new(world: &Arc<World>, doors: &[Open]) -> Option<Arc<Self>> {
        let terms = world.scenario.variants.operators?;
        Some(Arc::new(Self { world: Arc::clone(world), doors: doors.to_vec(), terms, asks: AtomicU64::new(0) }))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.terms.count
    }

    /// Deals with parked records, one after the other, for as long as it is run.
    pub(crate) async fn work(self: Arc<Self>, operator: usize) {
        let chance = Chance::of(self.world.scenario.seed, &format!("operator {operator}"));
        loop {
            tokio::time::sleep(chance.millis(100, self.terms.pause_ms_max)).await;
            if chance.hits(150) {
                self.forgive(chance.between(0, self.terms.forgiven_permille_max));
            }
            let connector = chance.size(0, self.world.scenario.connectors - 1);
            let Some(connectors) = chance.pick(&self.doors).and_then(|door| door.lock().clone()) else { continue };
            let Some(seen) = look(&connectors, connector, &chance).await else { continue };
            let (order, command) = choose(&seen, &chance);
            self.command(&seen, (order, command), &chance).await;
        }
    }

    /// In the end, where this seed says so: the target takes everything, and whatever is parked is replayed until nothing
    /// is.
    pub(crate) async fn clear(self: Arc<Self>) {
        if !self.terms.ends_empty {
            return;
        }
        let chance = Chance::of(self.world.scenario.seed, "clearance");
        self.forgive(1_000);
        loop {
            for connector in 0..self.world.scenario.connectors {
                let parked = self.world.history.checker(connector, |checker| {
                    let (standing, replaying) = (checker.replayed().standing(), checker.replayed().replaying());
                    standing.into_keys().filter(|key| !replaying.contains(key)).count()
                });
                let Some(connectors) = chance.pick(&self.doors).and_then(|door| door.lock().clone()) else { continue };
                if parked.unwrap_or_default() > 0
                    && let Some(seen) = look(&connectors, connector, &chance).await
                {
                    let command = ParkedCommand::Replay { records_per_s: None };
                    self.command(&seen, (Ordered::Replay, command), &chance).await;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether nothing may be parked in the end.
    pub(crate) fn ends_empty(&self) -> bool {
        self.terms.ends_empty
    }

    fn forgive(&self, permille: u64) {
        let forgiven_permille = self.world.mercy.forgive(permille);
        self.world.history.add(Fact::Milder { forgiven_permille });
    }

    /// Asks one node after the other, until one carries it out or says why it cannot be done.
    async fn command(&self, seen: &Seen, (order, command): (Ordered, ParkedCommand), chance: &Chance) {
        let first = chance.size(0, self.doors.len().saturating_sub(1));
        for door in self.doors.iter().cycle().skip(first).take(self.doors.len()) {
            let Some(connectors) = door.lock().clone() else { continue };
            let ask = self.asks.fetch_add(1, Ordering::Relaxed) + 1;
            let tell = |fact| self.world.history.add_of(Some(seen.connector), fact);
            tell(Fact::Asked { ask, key: seen.key.clone(), order });
            let id = connector_id(seen.connector);
            let asked = connectors.change_parked(&id, &seen.key, command.clone());
            let answer = tokio::time::timeout(PATIENCE, asked).await;
            tell(Fact::Answered { ask, answer: told(&answer) });
            if !matches!(answer, Ok(Err(CommandError::IllegalTransition { .. }))) {
                return;
            }
        }
    }
}

/// Looks for a key with parked records.
async fn look(connectors: &Connectors, connector: usize, chance: &Chance) -> Option<Seen> {
    let id = connector_id(connector);
    let (_, keys) = tokio::time::timeout(PATIENCE, connectors.parked_keys(&id)).await.ok()?.ok()?;
    let key = chance.pick(&keys)?.key.clone();
    let page = ParkedPage { skip: 0, take: RECORDS_SHOWN };
    let (_, records) = tokio::time::timeout(PATIENCE, connectors.parked_records(&id, &key, page)).await.ok()?.ok()?;
    Some(Seen { connector, key, numbers: records.iter().map(|record| record.number).collect() })
}

/// What to do about a key.
fn choose(seen: &Seen, chance: &Chance) -> (Ordered, ParkedCommand) {
    let reason = "the simulation says so".to_owned();
    // Most of the time it is the first record that is in the way.
    let number = if chance.hits(700) { seen.numbers.first() } else { chance.pick(&seen.numbers) };
    match (chance.between(0, 9), number.copied()) {
        (0 | 1, _) | (_, None) => (Ordered::Retry, ParkedCommand::Retry),
        (2 | 3, Some(number)) => {
            let what = if chance.hits(500) { MENDED } else { "changed" };
            let data = format!(r#"{{"{what}":{}}}"#, chance.between(1, 1_000));
            let payload = Payload::of(data.as_bytes());
            (Ordered::Edit { number, payload }, ParkedCommand::Edit { number, data: Bytes::from(data), reason })
        }
        (4 | 5, Some(number)) => {
            let number = Some(number).filter(|_| chance.hits(800));
            (Ordered::Drop { number }, ParkedCommand::Drop { number, reason })
        }
        _ => {
            let records_per_s = chance.hits(300).then(|| u32::try_from(chance.between(2, 50)).unwrap_or(2));
            (Ordered::Replay, ParkedCommand::Replay { records_per_s })
        }
    }
}

fn told(answer: &Result<Result<ParkedOutcome, CommandError>, tokio::time::error::Elapsed>) -> Told {
    match answer {
        Ok(Ok(ParkedOutcome::Delivered { .. })) => Told::Delivered,
        Ok(Ok(ParkedOutcome::Waiting { .. })) => Told::Waiting,
        Ok(Ok(ParkedOutcome::Refused { .. })) => Told::Refused,
        Ok(Ok(ParkedOutcome::Edited)) => Told::Edited,
        Ok(Ok(ParkedOutcome::Dropped { .. })) => Told::Dropped,
        Ok(Err(_)) | Err(_) => Told::Nothing,
    }
}
