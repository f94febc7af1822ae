//! Owns making a connector.

use std::sync::Arc;

use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_event::{ExpectedRevision, StreamName};
use forebay_store::{AppendError, Direction, PageLimit, ReadError, ReadStream, StreamPoint};

use super::event::Happening;
use super::facade::Held;
use super::identity::{id_violations, name_violations};
use super::secrets::{Secrecy, unmask};
use super::{CommandError, Connectors, CreateConnector, Entity};
use crate::control::{Node, aside};
use crate::unit::{Shard, Unit};

/// How many events the checkpoint, lifecycle and lease streams keep.
pub(crate) const STREAM_EVENTS_MAX: u64 = 10;

impl Connectors {
    /// Makes a connector; it is stopped until started. The id of a deleted one may be taken again: its history stays, its
    /// checkpoints do not.
    pub async fn create(&self, id: &str, create: CreateConnector) -> Result<(), CommandError> {
        let (this, id) = (self.clone(), id.to_owned());
        self.detached(async move { this.create_now(&id, create).await }).await
    }

    async fn create_now(&self, id: &str, create: CreateConnector) -> Result<(), CommandError> {
        let name = create.name.filter(|name| !name.trim().is_empty());
        let mut violations = id_violations(id);
        violations.extend(name.iter().flat_map(|name| name_violations(name)));
        if !violations.is_empty() {
            return Err(CommandError::Invalid(violations));
        }
        let _creating = self.creating().await;
        let held = match self.hold(id).await {
            Ok(held) => held,
            Err(CommandError::NotFound { .. }) => {
                let slot = self.node().slot_or_new(id);
                Held::of(Arc::clone(self.node()), slot).await?
            }
            Err(error) => return Err(error),
        };
        let is_new = held.slot.entity().facts.is_none();
        let slot = Arc::clone(&held.slot);
        let done = created(held, name.unwrap_or_else(|| id.to_owned()), &create.settings).await;
        match &done {
            Ok(()) if is_new => self.node().spawn_supervisor(&slot),
            Err(_) if is_new => {
                drop(slot);
                self.node().forget_unknown(id);
            }
            _ => {}
        }
        done
    }
}

async fn created(mut held: Held, name: String, given: &SettingsMap) -> Result<(), CommandError> {
    let (id, node) = (held.id(), Arc::clone(&held.node));
    let entity = held.slot.entity();
    if entity.live().is_some() {
        return Err(CommandError::Exists { id });
    }
    let limit = node.config.connectors_max;
    if node.live_count() >= limit {
        return Err(CommandError::TooMany { limit });
    }
    let secrecy = Secrecy::of(given, &node.catalog);
    let plain = unmask(given, None, &secrecy)?;
    check(&node, &id, &plain).await?;
    let settings = node.vault.seal(&id, &plain, None, &secrecy);
    set_up_streams(&node, &entity).await?;
    held.record(Happening::Created { name, settings }).await.map_err(|error| match error {
        CommandError::Conflict { id } if held.slot.entity().live().is_some() => CommandError::Exists { id },
        error => error,
    })
}

/// Checks settings as an activation would; what it builds is thrown away.
pub(super) async fn check(node: &Arc<Node>, id: &str, plain: &SettingsMap) -> Result<(), SettingsErrors> {
    let (node, id, plain) = (Arc::clone(node), id.to_owned(), plain.clone());
    let checked = aside(move || node.runner.prepare(&id, &plain, &node.catalog).map(|_prepared| ())).await;
    match checked {
        Ok(checked) => checked,
        Err(_) => Err(SettingsErrors::single(
            "instanceTypeName",
            "made the check of the settings panic",
            "settings that can be checked; the server's log says where it happened",
        )),
    }
}

/// Bounds the connector's streams. Checkpoints and parked records of a deleted connector of the same
/// id stay out of sight.
async fn set_up_streams(node: &Node, entity: &Entity) -> Result<(), CommandError> {
    let id = &*entity.id;
    if entity.facts.is_some() {
        for stream in left_behind(node, entity) {
            hide(node, &stream).await?;
        }
    }
    let checkpoints = node.checkpoint_stream(id);
    let (lifecycle, leases) = (node.lifecycle_stream(id), node.lease_stream(id));
    tokio::try_join!(bound(node, &checkpoints), bound(node, &lifecycle), bound(node, &leases))?;
    Ok(())
}

/// Bounds one stream, unless it is bounded so already.
async fn bound(node: &Node, stream: &StreamName) -> Result<(), CommandError> {
    let (metadata, _) = node.store.metadata(stream).await?;
    if metadata.max_count() == Some(STREAM_EVENTS_MAX) {
        return Ok(());
    }
    let metadata = metadata.with_max_count(STREAM_EVENTS_MAX);
    node.store.set_metadata(stream, ExpectedRevision::Any, metadata).await.map_err(CommandError::Append)?;
    Ok(())
}

/// The streams of a connector that a later one of its id must not see. What shards have settled is never seen by a later
/// generation of another life, and says of what is closed that it is.
pub(super) fn left_behind(node: &Node, entity: &Entity) -> Vec<StreamName> {
    let mut streams = vec![node.parked_stream(&entity.id)];
    let Some(facts) = &entity.facts else { return streams };
    let sharding = &facts.sharding;
    if sharding.generation == 0 {
        streams.insert(0, node.checkpoint_stream(&entity.id));
    }
    let (generation, count) = (sharding.generation, sharding.count());
    let present = (0..count).map(|index| Unit::of(&entity.id, Shard { generation, index, count }));
    let present = present.filter(|_| generation > 0);
    let earlier = sharding.earlier.iter().flat_map(|earlier| earlier.units(&entity.id));
    streams.extend(present.chain(earlier).map(|unit| node.parked_stream(&unit.name)));
    streams.dedup();
    streams
}

/// Soft-deletes a stream, if there is anything to see in it.
pub(super) async fn hide(node: &Node, stream: &StreamName) -> Result<(), CommandError> {
    let read = ReadStream {
        stream: stream.clone(),
        direction: Direction::Backward,
        from: StreamPoint::End,
        limit: PageLimit::events(1),
    };
    match node.store.read_stream(read).await {
        Err(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. }) => return Ok(()),
        page => page?,
    };
    match node.store.delete(stream, ExpectedRevision::Any).await {
        Ok(_) | Err(AppendError::StreamDeleted { .. }) => Ok(()),
        Err(error) => Err(CommandError::Append(error)),
    }
}
