//! Owns reading and appending to a connector's management stream: one writer at a time on this node, and the read
//! revision as the condition against writers elsewhere.

use forebay_event::{ExpectedRevision, Position, ProposedEvent, Revision, StreamName, Timestamp};
use forebay_store::{AppendError, AppendRequest, Direction, PageLimit, ReadError, ReadStream, StreamPoint};
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::OpenError;
use super::entity::Entity;
use super::event::{Happening, ManagementEvent};
use crate::control::{Journal, Node, Slot};

/// How many events of a management stream are read at once.
const PAGE_EVENTS: usize = 256;
/// How often a report is tried again when somebody else wrote first.
pub(crate) const CONFLICTS_MAX: u32 = 8;

/// Why an event was not recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Somebody else wrote first; what they wrote is taken in by now.
    #[error("the stream was changed by somebody else")]
    Conflict,
    /// The store did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The stream could not be read again.
    #[error(transparent)]
    Read(#[from] OpenError),
}

/// The id of an event that this node writes: the same attempt repeated has the same id, another one never has.
pub(crate) fn event_id(node: Uuid, stream: &StreamName, expected: ExpectedRevision, body: &str) -> Uuid {
    Uuid::new_v5(&node, format!("{stream}\n{expected}\n{body}").as_bytes())
}

/// The condition that a stream still ends where it was seen to end.
pub(crate) fn still_at(revision: Option<Revision>) -> ExpectedRevision {
    revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
}

/// Reads a connector's stream as far as it is not known yet and shows what became of it. The journal is held.
pub(crate) async fn refresh(node: &Node, slot: &Slot, journal: &mut Journal) -> Result<(), OpenError> {
    let mut entity = Entity::clone(&slot.entity());
    read_on(node, &mut entity).await?;
    journal.unsure = false;
    slot.publish(entity);
    node.plan_again();
    Ok(())
}

/// Reads a connector's stream behind what it has taken in.
pub(crate) async fn read_on(node: &Node, entity: &mut Entity) -> Result<(), OpenError> {
    let stream = node.management_stream(&entity.id);
    let mut from = entity.stream_revision.map_or(StreamPoint::Start, |seen| StreamPoint::At(seen.next()));
    loop {
        let read = ReadStream {
            stream: stream.clone(),
            direction: Direction::Forward,
            from,
            limit: PageLimit::events(PAGE_EVENTS),
        };
        let page = match node.store.read_stream(read).await {
            Err(ReadError::StreamNotFound { .. }) => return Ok(()),
            page => page?,
        };
        for event in &page.events {
            let happened = ManagementEvent::read(event).map_err(|error| OpenError::Unreadable {
                stream: stream.to_string(),
                revision: event.revision().get(),
                reason: error.to_string(),
            })?;
            if happened.is_none() {
                debug!(connector_id = %entity.id, event_type = event.event_type(), "passed over an unknown event");
            }
            entity.take_in((event.revision(), event.position()), happened.as_ref());
        }
        match page.next {
            Some(next) => from = StreamPoint::At(next),
            None => return Ok(()),
        }
    }
}

/// Appends what happens to a connector, on the condition that nothing else has, and shows what became of it.
pub(crate) async fn record(
    node: &Node,
    slot: &Slot,
    journal: &mut Journal,
    what: Happening,
) -> Result<(), RecordError> {
    let mut entity = Entity::clone(&slot.entity());
    let now = node.clock.now();
    let event = ManagementEvent { at: not_before_last(&entity, now), what };
    let stream = node.management_stream(&entity.id);
    let expected = still_at(entity.stream_revision);
    let body = event.body(&entity.id, now).to_string();
    let id = event_id(node.config.node, &stream, expected, &format!("{}\n{body}", event.event_type()));
    let proposed = ProposedEvent::json(id, &event.event_type(), body);
    journal.unsure = true;
    let appended = node.store.append(AppendRequest { stream, expected, events: vec![proposed] }).await;
    match appended {
        Ok(appended) => {
            let revision = appended.last_revision.unwrap_or_else(|| next_revision(entity.stream_revision));
            entity.take_in((revision, appended.position.unwrap_or(Position::START)), Some(&event));
            journal.unsure = false;
            tell(&entity, &event);
            slot.publish(entity);
            node.plan_again();
            node.recorded.send_modify(|count| *count += 1);
            Ok(())
        }
        Err(AppendError::WrongExpectedRevision { .. }) => {
            refresh(node, slot, journal).await?;
            Err(RecordError::Conflict)
        }
        Err(error) => Err(error.into()),
    }
}

/// A report of the host, checked against what is known by then: none when it no longer fits.
pub(crate) async fn report(
    node: &Node,
    slot: &Slot,
    fitting: impl Fn(&Entity) -> Option<Happening> + Send,
) -> Result<(), RecordError> {
    let mut journal = slot.journal.lock().await;
    let mut conflicts = 0;
    loop {
        if journal.unsure {
            refresh(node, slot, &mut journal).await?;
        }
        let Some(what) = fitting(&slot.entity()) else { return Ok(()) };
        match record(node, slot, &mut journal, what).await {
            Err(RecordError::Conflict) if conflicts < CONFLICTS_MAX => conflicts += 1,
            done => return done,
        }
    }
}

fn next_revision(last: Option<Revision>) -> Revision {
    last.map_or(Revision::FIRST, Revision::next)
}

/// Wall clocks jump; the history of one connector does not run backwards.
fn not_before_last(entity: &Entity, now: Timestamp) -> Timestamp {
    entity.facts.as_ref().map_or(now, |facts| facts.updated_at.max(now))
}

fn tell(entity: &Entity, event: &ManagementEvent) {
    let connector_id = &*entity.id;
    match &event.what {
        Happening::Created { .. } => info!(connector_id, "connector created"),
        Happening::Reconfigured { revision, .. } => info!(connector_id, revision, "connector reconfigured"),
        Happening::Renamed { name } => info!(connector_id, name, "connector renamed"),
        Happening::Activating { start_from: Some(position), .. } => {
            info!(connector_id, %position, "connector is to start behind a position");
        }
        Happening::Activating { start_from: None, .. } => info!(connector_id, "connector is to start"),
        Happening::Running => info!(connector_id, "connector runs"),
        Happening::Deactivating => info!(connector_id, "connector is to stop"),
        Happening::Stopped => info!(connector_id, "connector stopped"),
        Happening::Failed { error, next_restart: Some(at) } => {
            warn!(connector_id, code = error.code, error = error.message, next_restart = %at, "connector failed");
        }
        Happening::Failed { error, next_restart: None } => {
            error!(connector_id, code = error.code, error = error.message, "connector failed and stays stopped");
        }
        Happening::ParkedChanged { word, key, records, reason, .. } => {
            info!(connector_id, command = word, key, records, reason, "parked records are to be dealt with");
        }
        Happening::ShardRunning { shard } => info!(connector_id, generation = shard.0, shard = shard.1, "shard runs"),
        Happening::ShardStopped { shard } => {
            info!(connector_id, generation = shard.0, shard = shard.1, "shard stopped")
        }
        Happening::ShardsOpened { generation, .. } => info!(connector_id, generation, "shards may run"),
        Happening::Deleted => info!(connector_id, "connector deleted"),
    }
}
