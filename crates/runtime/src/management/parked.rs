//! Owns what users see of parked records and what they have done about them.

use forebay_connector::settings::decode;
use forebay_store::ReadError;

use super::event::Happening;
use super::{CommandError, ConnectorState, Connectors, QueryError, Violation};
use crate::control::{Node, Slot};
use crate::pipeline::{
    ParkedCommand, ParkedCount, ParkedDesk, ParkedKey, ParkedLook, ParkedOutcome, ParkedRecord, ParkedRefusal,
    Surroundings,
};
use crate::settings::ConnectorSettings;
use crate::unit::{Unit, put_order};

/// A reason is at most so long, in bytes.
const REASON_BYTES_MAX: usize = 1_000;
/// The fastest replay that can be asked for, in records per second.
const RATE_MAX: u32 = 1_000_000;

/// Which records of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedPage {
    /// So many records are passed over.
    pub skip: usize,
    /// At most so many are shown.
    pub take: usize,
}

impl Connectors {
    /// How much is parked, and all keys, ordered by name.
    pub async fn parked_keys(&self, id: &str) -> Result<(ParkedCount, Vec<ParkedKey>), QueryError> {
        let (mut count, mut keys) = (ParkedCount::default(), Vec::new());
        for look in self.look_at_parked(id).await? {
            let one = look.parked.count().await;
            count.keys += one.keys;
            count.records += one.records;
            count.bytes += one.bytes;
            keys.extend(look.parked.keys().await);
        }
        keys.sort_by(|left: &ParkedKey, right| left.key.cmp(&right.key));
        Ok((count, keys))
    }

    /// A key and its records, in the order in which they are delivered.
    pub async fn parked_records(
        &self,
        id: &str,
        key: &str,
        page: ParkedPage,
    ) -> Result<(ParkedKey, Vec<ParkedRecord>), QueryError> {
        let found = with_key(self.look_at_parked(id).await?, key).await;
        let (look, found) = found.ok_or_else(|| QueryError::NotParked { id: id.to_owned(), key: key.to_owned() })?;
        Ok((found, look.parked.records(key, page.skip, page.take).await?))
    }

    async fn look_at_parked(&self, id: &str) -> Result<Vec<Look>, QueryError> {
        let slot = self.node().slot(id).filter(|slot| slot.entity().live().is_some());
        let slot = slot.ok_or_else(|| QueryError::NotFound { id: id.to_owned() })?;
        Ok(looks(self.node(), &slot).await?)
    }

    /// Tries, replays, changes or gives up parked records. What needs the target is refused while the connector does not
    /// run here. Recorded in the connector's stream before it is done.
    pub async fn change_parked(
        &self,
        id: &str,
        key: &str,
        command: ParkedCommand,
    ) -> Result<ParkedOutcome, CommandError> {
        check(&command)?;
        let (this, id, key) = (self.clone(), id.to_owned(), key.to_owned());
        self.detached(async move { this.change_parked_now(&id, &key, command).await }).await
    }

    async fn change_parked_now(
        &self,
        id: &str,
        key: &str,
        command: ParkedCommand,
    ) -> Result<ParkedOutcome, CommandError> {
        let refused = |refusal| CommandError::Parked { id: id.to_owned(), refusal: Box::new(refusal) };
        let mut held = self.hold(id).await?;
        let state = held.state()?;
        let needs_sink = matches!(command, ParkedCommand::Retry | ParkedCommand::Replay { .. });
        let hostings = held.slot.hostings();
        let runs = hostings.iter().any(|(_, hosting)| hosting.parked.as_ref().is_some_and(ParkedDesk::is_open));
        // Until a generation of shards is open, what the earlier one has parked is on its way to it.
        let is_open = held.slot.entity().live().is_some_and(|facts| facts.sharding.is_open());
        let is_spread = hostings.iter().any(|(unit, _)| unit.shard.is_some());
        if !is_open || !runs && !is_spread && (needs_sink || state != ConnectorState::Stopped) {
            return Err(held.illegal(word_of(&command), state));
        }
        let found = with_key(looks(&held.node, &held.slot).await?, key).await;
        let (look, found) = found.ok_or_else(|| refused(ParkedRefusal::NoKey { key: key.to_owned() }))?;
        if look.desk.is_none() && (needs_sink || state != ConnectorState::Stopped) {
            return Err(match self.elsewhere(&look.unit) {
                Some(node) if is_spread => refused(ParkedRefusal::Elsewhere { key: key.to_owned(), node }),
                _ => held.illegal(word_of(&command), state),
            });
        }
        held.record(audited(&found, &command)).await?;
        let Some(desk) = look.desk else {
            // Held all the while, so that no pipeline begins in between.
            return look.parked.change(key, &command).await.map_err(refused);
        };
        drop(held);
        desk.ask(key, command).await.map_err(refused)
    }
}

/// What one unit of a connector has parked, and where commands about it are handed in while it runs here.
struct Look {
    unit: Unit,
    parked: ParkedLook,
    desk: Option<ParkedDesk>,
}

/// The unit that has a key parked.
async fn with_key(looks: Vec<Look>, key: &str) -> Option<(Look, ParkedKey)> {
    for look in looks {
        if let Some(found) = look.parked.key(key).await {
            return Some((look, found));
        }
    }
    None
}

/// Looks at all units of a connector. Until a generation of shards is open, what is parked is with the earlier one.
async fn looks(node: &Node, slot: &Slot) -> Result<Vec<Look>, ReadError> {
    let entity = slot.entity();
    let mut settings =
        entity.live().map(|facts| node.vault.open_readable(&entity.id, &facts.settings)).unwrap_or_default();
    let sharding = entity.live().map(|facts| facts.sharding.clone()).unwrap_or_default();
    let (units, order) = match sharding.earlier.last().filter(|_| !sharding.is_open()) {
        Some(last) => (last.units(&entity.id), Some(&last.order)),
        None => (entity.units(), sharding.order().filter(|_| sharding.generation > 0)),
    };
    // Keys of shards are made as they were when records were spread by them.
    if let Some(order) = order {
        put_order(&mut settings, order);
    }
    // Settings that cannot run any more still have their parked records, by stream.
    let settings = decode::<ConnectorSettings>(&settings).unwrap_or_else(|_| ConnectorSettings::of_nothing());
    let mut looks = Vec::new();
    for unit in units {
        let surroundings = Surroundings {
            store: node.store.clone(),
            clock: node.clock.clone(),
            metrics: node.metrics.clone(),
            traffic: node.traffic.clone(),
            checkpoints: node.checkpoint_stream(&unit.name),
        };
        let is_present = sharding.is_open();
        let desk = slot.hosting_of(&unit).lock().parked.clone().filter(|desk| is_present && desk.is_open());
        let parked = ParkedLook::at(desk.as_ref(), &entity.id, &settings, &surroundings).await?;
        looks.push(Look { unit, parked, desk });
    }
    Ok(looks)
}

fn check(command: &ParkedCommand) -> Result<(), CommandError> {
    let wrong = |field, problem: String| Err(CommandError::Invalid(vec![Violation { field, problem }]));
    match command {
        ParkedCommand::Retry | ParkedCommand::Replay { records_per_s: None } => Ok(()),
        ParkedCommand::Replay { records_per_s: Some(rate) } if (1..=RATE_MAX).contains(rate) => Ok(()),
        ParkedCommand::Replay { .. } => wrong("RecordsPerSecond", format!("must be from 1 to {RATE_MAX}")),
        ParkedCommand::Edit { reason, .. } | ParkedCommand::Drop { reason, .. } => match reason.trim().len() {
            0 => wrong("Reason", "must not be empty".to_owned()),
            1..=REASON_BYTES_MAX => Ok(()),
            long => wrong("Reason", format!("must have at most {REASON_BYTES_MAX} bytes, it has {long}")),
        },
    }
}

fn word_of(command: &ParkedCommand) -> &'static str {
    match command {
        ParkedCommand::Retry => "retry",
        ParkedCommand::Replay { .. } => "replay",
        ParkedCommand::Edit { .. } => "edit",
        ParkedCommand::Drop { .. } => "drop",
    }
}

fn audited(key: &ParkedKey, command: &ParkedCommand) -> Happening {
    let (number, reason, records_per_s) = match command {
        ParkedCommand::Retry => (None, None, None),
        ParkedCommand::Replay { records_per_s } => (None, None, *records_per_s),
        ParkedCommand::Edit { number, reason, .. } => (Some(*number), Some(reason.clone()), None),
        ParkedCommand::Drop { number, reason } => (*number, Some(reason.clone()), None),
    };
    let (word, key, records) = (word_of(command).to_owned(), key.key.clone(), key.records);
    Happening::ParkedChanged { word, key, records, number, records_per_s, reason }
}
