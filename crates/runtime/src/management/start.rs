//! Owns starting a connector.

use std::time::Duration;

use forebay_event::Position;
use forebay_store::LogPoint;

use super::event::Happening;
use super::facade::Held;
use super::sharding::EARLIER_MAX;
use super::{CommandError, ConnectorState, Connectors};
use crate::control::{CUT_OFF_AFTER, last_checkpoint};

/// How much longer than a stop may take a start waits for it, so that the end is recorded.
const STOP_GRACE: Duration = Duration::from_secs(3);

impl Connectors {
    /// Starts a connector: behind the given point, else behind its checkpoint, else where its settings say. One that is
    /// about to stop is started when it has stopped.
    ///
    /// What "the end of the log" is gets settled here, so that a crash before the first checkpoint skips nothing.
    pub async fn start(&self, id: &str, from: Option<LogPoint>) -> Result<(), CommandError> {
        let (this, id) = (self.clone(), id.to_owned());
        self.detached(async move { this.start_now(&id, from).await }).await
    }

    async fn start_now(&self, id: &str, from: Option<LogPoint>) -> Result<(), CommandError> {
        let node = self.node();
        let limit = node.config.stop_limit + CUT_OFF_AFTER * 2 + STOP_GRACE;
        let deadline = tokio::time::Instant::now() + limit;
        let mut held = loop {
            let held = self.hold(id).await?;
            match held.state()? {
                ConnectorState::Stopped => break held,
                ConnectorState::Deactivating if tokio::time::Instant::now() < deadline => {
                    let mut seen = held.slot.follow();
                    drop(held);
                    let stopped = seen.wait_for(|entity| {
                        entity.live().is_none_or(|facts| facts.state != ConnectorState::Deactivating)
                    });
                    let _in_time = tokio::time::timeout_at(deadline, stopped).await;
                }
                state => return Err(held.illegal("start", state)),
            }
        };
        let start_from = match from {
            Some(from) => Some(self.settle_point(from).await?),
            None => self.first_point(&held).await?,
        };
        check_generations(&held, start_from).await?;
        activate(&mut held, start_from).await
    }

    /// The position that a point means now; fails when it is not in the log.
    pub(super) async fn settle_point(&self, from: LogPoint) -> Result<Position, CommandError> {
        let end = self.node().store.head().await?.unwrap_or(Position::START);
        match from {
            LogPoint::Start => Ok(Position::START),
            LogPoint::End => Ok(end),
            LogPoint::At(position) if position.commit() > end.commit() => {
                Err(CommandError::NoSuchPosition { position, end })
            }
            LogPoint::At(position) => Ok(position),
        }
    }

    /// Where a connector begins that was given no point. A point given earlier holds until a checkpoint was written behind
    /// it; then the checkpoint says where, and before the first one the settings do.
    async fn first_point(&self, held: &Held) -> Result<Option<Position>, CommandError> {
        let entity = held.slot.entity();
        let Some(facts) = entity.live() else { return Ok(None) };
        let sharding = &facts.sharding;
        if let (true, Some(last)) = (sharding.generation > 0, &facts.activation) {
            // Where shards begin is in their first checkpoints, once they have them.
            return Ok(if sharding.is_open() { None } else { last.start_from });
        }
        let checkpoint = match sharding.generation {
            0 => last_checkpoint(&held.node, &entity.id).await?,
            _ => None,
        };
        if let Some(last) = &facts.activation
            && last.start_from.is_some()
            && checkpoint.is_none_or(|checkpoint| checkpoint.written_at < last.position)
        {
            return Ok(last.start_from);
        }
        let initial = facts.settings.get("subscription:initialPosition");
        let from_now_on = initial.is_none_or(|initial| initial.trim().eq_ignore_ascii_case("latest"));
        let position_is_set = facts.settings.get("subscription:startPosition").is_some();
        if checkpoint.is_some() || position_is_set || !from_now_on {
            return Ok(None);
        }
        self.settle_point(LogPoint::End).await.map(Some)
    }
}

/// Refuses another way to spread records while too many earlier ones have left records to deliver.
async fn check_generations(held: &Held, start_from: Option<Position>) -> Result<(), CommandError> {
    let entity = held.slot.entity();
    let Some(facts) = entity.live() else { return Ok(()) };
    let sharding = &facts.sharding;
    let is_another = start_from.is_none() && sharding.changes_with(&facts.settings, false);
    if !is_another || sharding.earlier.len() < EARLIER_MAX {
        return Ok(());
    }
    let mut stands = Vec::new();
    for unit in entity.units() {
        stands.push(last_checkpoint(&held.node, &unit.name).await?.map(|checkpoint| checkpoint.position));
    }
    let lowest = stands.into_iter().min().flatten();
    let still_counts = |end: Option<Position>| end.is_none() || lowest < end;
    if sharding.earlier.iter().filter(|earlier| still_counts(earlier.horizon)).count() < EARLIER_MAX {
        return Ok(());
    }
    Err(CommandError::TooManyGenerations { id: held.id(), limit: EARLIER_MAX, shards: sharding.count() })
}

/// Records that a connector is to run with its present settings.
pub(super) async fn activate(held: &mut Held, start_from: Option<Position>) -> Result<(), CommandError> {
    let entity = held.slot.entity();
    let Some(facts) = entity.live() else { return Err(CommandError::Deleted { id: held.id() }) };
    held.record(Happening::Activating { settings: facts.settings.clone(), start_from }).await
}
