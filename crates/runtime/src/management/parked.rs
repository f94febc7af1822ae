//! Owns what users see of parked records and what they have done about them.

use forebay_connector::settings::decode;

use super::event::Happening;
use super::{CommandError, ConnectorState, Connectors, QueryError, Violation};
use crate::control::{Node, Slot};
use crate::pipeline::{
    ParkedCommand, ParkedCount, ParkedKey, ParkedLook, ParkedOutcome, ParkedRecord, ParkedRefusal, Surroundings,
};
use crate::settings::ConnectorSettings;

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
        let look = self.look_at_parked(id).await?;
        Ok((look.count().await, look.keys().await))
    }

    /// A key and its records, in the order in which they are delivered.
    pub async fn parked_records(
        &self,
        id: &str,
        key: &str,
        page: ParkedPage,
    ) -> Result<(ParkedKey, Vec<ParkedRecord>), QueryError> {
        let look = self.look_at_parked(id).await?;
        let no_key = || QueryError::NotParked { id: id.to_owned(), key: key.to_owned() };
        let found = look.key(key).await.ok_or_else(no_key)?;
        Ok((found, look.records(key, page.skip, page.take).await?))
    }

    async fn look_at_parked(&self, id: &str) -> Result<ParkedLook, QueryError> {
        let slot = self.node().slot(id).filter(|slot| slot.entity().live().is_some());
        let slot = slot.ok_or_else(|| QueryError::NotFound { id: id.to_owned() })?;
        Ok(look(self.node(), &slot).await?)
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
        let desk = held.slot.hosting.lock().parked.clone().filter(|desk| desk.is_open());
        let needs_sink = matches!(command, ParkedCommand::Retry | ParkedCommand::Replay { .. });
        if desk.is_none() && (needs_sink || state != ConnectorState::Stopped) {
            return Err(held.illegal(word_of(&command), state));
        }
        let look = look(&held.node, &held.slot).await?;
        let found = look.key(key).await.ok_or_else(|| refused(ParkedRefusal::NoKey { key: key.to_owned() }))?;
        held.record(audited(&found, &command)).await?;
        let Some(desk) = desk else {
            // Held all the while, so that no pipeline begins in between.
            return look.change(key, &command).await.map_err(refused);
        };
        drop(held);
        desk.ask(key, command).await.map_err(refused)
    }
}

async fn look(node: &Node, slot: &Slot) -> Result<ParkedLook, forebay_store::ReadError> {
    let entity = slot.entity();
    let settings = entity.live().map(|facts| node.vault.open_readable(&entity.id, &facts.settings)).unwrap_or_default();
    // Settings that cannot run any more still have their parked records, by stream.
    let settings = decode::<ConnectorSettings>(&settings).unwrap_or_else(|_| ConnectorSettings::of_nothing());
    let surroundings = Surroundings {
        store: node.store.clone(),
        clock: node.clock.clone(),
        metrics: node.metrics.clone(),
        traffic: node.traffic.clone(),
        checkpoints: node.checkpoint_stream(&entity.id),
    };
    let desk = slot.hosting.lock().parked.clone();
    ParkedLook::at(desk.as_ref(), &entity.id, &settings, &surroundings).await
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
