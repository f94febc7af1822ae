//! Owns finding all connectors at start without reading the whole log: a stream of snapshots that says which there are.
//!
//! A snapshot is a list and a position: every connector created at or before the position is on the list. What a connector
//! is comes always from its own stream; the rest of an item is for people to read. Losing all snapshots costs one scan of
//! the log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::{ExpectedRevision, Position, ProposedEvent, RecordedEvent};
use forebay_store::{
    AppendRequest, Direction, EventFilter, FilterSubject, LogPoint, Matcher, PageLimit, ReadAll, ReadError, ReadStream,
    StreamPoint,
};
use serde_json::{Value, json};
use tracing::{debug, warn};
use uuid::Uuid;

use super::event::position as read_position;
use super::event::position_value;
use super::journal::refresh;
use super::{ConnectorView, OpenError, queries};
use crate::control::{Node, Slot};

/// The type of a snapshot.
const SNAPSHOT_TYPE: &str = "$conn-mngt-connectors-snapshot";
/// How many snapshots are kept.
const SNAPSHOTS_MAX: u64 = 10;
/// A snapshot larger than this, in bytes, leaves the settings out; stores bound the size of an event.
const SNAPSHOT_BYTES_MAX: usize = 512 << 10;
/// So many management events make a new snapshot due.
pub(crate) const EVENTS_BETWEEN_SNAPSHOTS: u64 = 100;
/// A snapshot is due when the log has moved on so far (events in the embedded log, bytes in a cluster's).
const LOG_BETWEEN_SNAPSHOTS: u64 = 1_000_000;
/// How often it is looked whether a snapshot is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How many events a page of the scan holds.
const PAGE_EVENTS: usize = 1024;

/// How far this node's list of connectors reaches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    /// Every connector created up to here is known; none when the log was empty.
    pub(super) position: Option<Position>,
    /// The position of the newest stored snapshot.
    stored: Option<Position>,
    /// Management events counted when that was stored.
    recorded: u64,
}

/// Finds all connectors and reads what they are.
pub(crate) async fn load(node: &Arc<Node>) -> Result<Reach, OpenError> {
    let (mut ids, position) = newest(node).await?.unwrap_or_default();
    let mut reach = Reach { position, stored: position, recorded: 0 };
    ids.extend(created_since(node, &mut reach).await?);
    for id in ids {
        let slot = node.slot_or_new(&id);
        let mut journal = slot.journal.lock().await;
        refresh(node, &slot, &mut journal).await?;
    }
    Ok(reach)
}

/// A connector that this node has not heard of, perhaps created by another one.
pub(crate) async fn find(node: &Arc<Node>, id: &str) -> Result<Option<Arc<Slot>>, OpenError> {
    if !super::identity::id_violations(id).is_empty() {
        return Ok(None);
    }
    let mut entity = super::Entity::unknown(id);
    super::journal::read_on(node, &mut entity).await?;
    if entity.facts.is_none() {
        return Ok(None);
    }
    Ok(Some(adopt(node, id).await?))
}

/// Knows a connector as far as its stream goes, with a supervisor from the first time on.
pub(super) async fn adopt(node: &Arc<Node>, id: &str) -> Result<Arc<Slot>, OpenError> {
    let slot = node.slot_or_new(id);
    let mut journal = slot.journal.lock().await;
    let was_known = slot.entity().facts.is_some();
    refresh(node, &slot, &mut journal).await?;
    if !was_known && slot.entity().facts.is_some() {
        node.spawn_supervisor(&slot);
    }
    drop(journal);
    Ok(slot)
}

/// How far the list reaches, shared by whoever stores snapshots.
pub(crate) type SharedReach = Arc<tokio::sync::Mutex<Reach>>;

/// Stores snapshots when they are due, until the node goes down.
pub(crate) async fn keep(node: Arc<Node>, reach: SharedReach) {
    let mut recorded = node.recorded.subscribe();
    loop {
        let due_at = reach.lock().await.recorded + EVENTS_BETWEEN_SNAPSHOTS;
        tokio::select! {
            biased;
            () = node.closing.cancelled() => return,
            _ = recorded.wait_for(|count| *count >= due_at) => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let mut reach = reach.lock().await;
        if is_due(&node, &reach).await {
            store_or_tell(&node, &mut reach).await;
        }
    }
}

/// Stores a last snapshot, if anything has happened since the last one.
pub(crate) async fn keep_last(node: &Arc<Node>, reach: &SharedReach) {
    let mut reach = reach.lock().await;
    if *node.recorded.borrow() > reach.recorded || is_due(node, &reach).await {
        store_or_tell(node, &mut reach).await;
    }
}

async fn is_due(node: &Node, reach: &Reach) -> bool {
    let recorded = *node.recorded.borrow();
    if recorded >= reach.recorded + EVENTS_BETWEEN_SNAPSHOTS {
        return true;
    }
    let stored = reach.stored.unwrap_or(Position::START).commit();
    matches!(node.store.head().await, Ok(Some(head)) if head.commit() >= stored.saturating_add(LOG_BETWEEN_SNAPSHOTS))
}

async fn store_or_tell(node: &Arc<Node>, reach: &mut Reach) {
    // Counted before the state is read: what is recorded meanwhile counts for the next snapshot.
    let recorded = *node.recorded.borrow();
    match store(node, reach).await {
        Ok(()) => debug!(connectors = node.slots().len(), "stored a snapshot of the connectors"),
        Err(error) => warn!(%error, "no snapshot of the connectors was stored; the next start reads more of the log"),
    }
    reach.recorded = recorded;
}

/// Why no snapshot was stored.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] forebay_store::AppendError),
}

async fn store(node: &Arc<Node>, reach: &mut Reach) -> Result<(), SnapshotError> {
    for id in created_since(node, reach).await? {
        if node.slot(&id).is_none_or(|slot| slot.entity().facts.is_none()) {
            adopt(node, &id).await?;
        }
    }
    let Some(position) = reach.position else { return Ok(()) };
    let mut body = body(node, position, true);
    if body.len() > SNAPSHOT_BYTES_MAX {
        body = self::body(node, position, false);
    }
    let stream = node.snapshot_stream();
    let (metadata, _) = node.store.metadata(&stream).await?;
    if metadata.max_count() != Some(SNAPSHOTS_MAX) {
        node.store.set_metadata(&stream, ExpectedRevision::Any, metadata.with_max_count(SNAPSHOTS_MAX)).await?;
    }
    let events = vec![ProposedEvent::json(Uuid::new_v4(), SNAPSHOT_TYPE, body)];
    node.store.append(AppendRequest { stream, expected: ExpectedRevision::Any, events }).await?;
    reach.stored = Some(position);
    Ok(())
}

fn body(node: &Node, position: Position, with_settings: bool) -> String {
    let mut items: Vec<Value> = node.slots().iter().filter_map(|slot| item(node, slot)).collect();
    if !with_settings {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.remove("settings");
        }
    }
    let log_position = position_value(position);
    json!({"connectors": items, "logPosition": log_position, "takenAt": node.clock.now().to_string()}).to_string()
}

/// One connector as the snapshot lists it: as the list of the REST API has it, secrets masked.
fn item(node: &Node, slot: &Slot) -> Option<Value> {
    let entity = slot.entity();
    let view = queries::shown(node, slot, &entity.id, entity.facts.as_ref()?)?;
    let ConnectorView { id, kind, name, state, settings, .. } = view;
    let settings: serde_json::Map<_, _> = settings.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    let mut item = json!({
        "connectorId": id,
        "instanceTypeName": kind,
        "name": name,
        "state": state.wire_name(),
        "stateUpdateTime": view.state_at.to_string(),
        "settings": settings,
        "settingsUpdateTime": view.settings_at.to_string(),
        "createTime": view.created_at.to_string(),
        "updateTime": view.updated_at.to_string(),
    });
    if let Some(item) = item.as_object_mut() {
        if let Some(at) = view.deleted_at {
            item.insert("deleteTime".to_owned(), json!(at.to_string()));
        }
        if let Some(error) = view.error {
            item.insert("errorDetails".to_owned(), json!({"code": error.code, "message": error.message}));
        }
    }
    Some(item)
}

type Known = (BTreeSet<String>, Option<Position>);

/// The newest snapshot; one that cannot be read counts as none.
async fn newest(node: &Node) -> Result<Option<Known>, OpenError> {
    let read = ReadStream {
        stream: node.snapshot_stream(),
        direction: Direction::Backward,
        from: StreamPoint::End,
        limit: PageLimit::events(1),
    };
    let page = match node.store.read_stream(read).await {
        Err(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. }) => return Ok(None),
        page => page?,
    };
    let Some(event) = page.events.first() else { return Ok(None) };
    let known = known(event);
    if known.is_none() {
        let revision = event.revision().get();
        warn!(revision, "the newest snapshot of the connectors cannot be read; the whole log is scanned instead");
    }
    Ok(known)
}

fn known(event: &RecordedEvent) -> Option<Known> {
    let body: Value = serde_json::from_slice(event.data_slice()).ok()?;
    let position = read_position(body.get("logPosition")?.as_object()?)??;
    let ids = body
        .get("connectors")?
        .as_array()?
        .iter()
        .map(|item| item.get("connectorId").and_then(Value::as_str).map(ToOwned::to_owned))
        .collect::<Option<BTreeSet<_>>>()?;
    Some((ids, Some(position)))
}

/// The names of all management streams, as a regular expression.
pub(super) fn streams_of_connectors(node: &Node) -> String {
    format!("^{}[^/]+$", regex::escape(&format!("{}/", node.config.stream_prefix)))
}

/// Which connectors have management events behind what was reached; moves the reach to the end of the log.
async fn created_since(node: &Node, reach: &mut Reach) -> Result<BTreeSet<String>, ReadError> {
    // Taken first: what comes behind it while reading is read again the next time.
    let Some(head) = node.store.head().await? else { return Ok(BTreeSet::new()) };
    let start = format!("{}/", node.config.stream_prefix);
    let expression = streams_of_connectors(node);
    let mut from = reach.position.map_or(LogPoint::Start, LogPoint::At);
    let mut ids = BTreeSet::new();
    loop {
        let matcher =
            Matcher::regex(&expression).map_err(|error| ReadError::Unavailable { reason: error.to_string() })?;
        let read = ReadAll {
            direction: Direction::Forward,
            from,
            limit: PageLimit::events(PAGE_EVENTS),
            filter: EventFilter::Where(FilterSubject::Stream, matcher),
        };
        let page = node.store.read_all(read).await?;
        ids.extend(page.events.iter().filter_map(|event| event.stream().strip_prefix(&start).map(ToOwned::to_owned)));
        let past_head = matches!(page.next, LogPoint::At(next) if next > head);
        if page.at_end || past_head {
            break;
        }
        from = page.next;
    }
    reach.position = Some(head);
    Ok(ids)
}
