//! Owns what is kept in memory of each stream: where it ends and what its metadata says. Bounded; read on demand.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_event::{Revision, StreamName, Timestamp};
use forebay_store::StreamMetadata;

use crate::engine::Placed;
use crate::options::STATES_MAX;

/// The newest metadata of a stream.
#[derive(Clone, Debug)]
pub(crate) struct MetadataState {
    /// Its revision in the metadata stream.
    pub(crate) revision: u64,
    /// What it says.
    pub(crate) metadata: Arc<StreamMetadata>,
}

/// Where a stream ends and what its metadata says.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamState {
    /// The last event; the tombstone, when there is one.
    pub(crate) last: Option<Placed>,
    /// The newest metadata; always none for a metadata stream.
    pub(crate) metadata: Option<MetadataState>,
}

impl StreamState {
    /// Whether the stream ended for good.
    pub(crate) fn is_tombstoned(&self) -> bool {
        self.last.is_some_and(|last| last.revision == Revision::MAX.get())
    }

    /// Whether the stream is soft-deleted.
    pub(crate) fn is_soft_deleted(&self) -> bool {
        self.metadata.as_ref().is_some_and(|state| state.metadata.is_soft_deleted())
    }

    /// The revision that the next event gets.
    pub(crate) fn next_revision(&self) -> u64 {
        self.last.map_or(0, |last| last.revision.saturating_add(1))
    }

    /// The last revision, as answers and refusals carry it.
    pub(crate) fn current(&self) -> Option<Revision> {
        self.last.map(|last| Revision::new(last.revision))
    }
}

/// What the metadata of a stream hides.
pub(crate) struct Visible {
    /// The first revision that may be visible.
    pub(crate) first: u64,
    /// Events recorded before this are hidden.
    pub(crate) since: Timestamp,
}

impl Visible {
    /// Everything from the first event on.
    pub(crate) const ALL: Self = Self { first: 0, since: Timestamp::from_ticks(0) };

    /// What a stream in this state shows; a metadata stream shows its last event only.
    pub(crate) fn of(stream: &StreamName, state: &StreamState, now: Timestamp) -> Self {
        let last = state.last.map_or(0, |last| last.revision);
        if stream.is_metadata() {
            return Self { first: last, ..Self::ALL };
        }
        let Some(MetadataState { metadata, .. }) = &state.metadata else { return Self::ALL };
        let by_count = metadata.max_count().map_or(0, |count| (last + 1).saturating_sub(count));
        let by_revision = metadata.truncate_before().map_or(0, Revision::get);
        let since =
            metadata.max_age().map_or(0, |age| now.ticks().saturating_sub(Timestamp::from_ticks(0).plus(age).ticks()));
        Self { first: by_count.max(by_revision), since: Timestamp::from_ticks(since) }
    }
}

/// Bounded memory of states: two generations, the older of which is dropped when the younger is full.
#[derive(Default)]
pub(crate) struct StateCache {
    young: HashMap<StreamName, StreamState>,
    old: HashMap<StreamName, StreamState>,
}

impl StateCache {
    /// The state of a stream, if it is kept.
    pub(crate) fn get(&mut self, stream: &StreamName) -> Option<StreamState> {
        if let Some(state) = self.young.get(stream) {
            return Some(state.clone());
        }
        let state = self.old.remove(stream)?;
        self.insert(stream.clone(), state.clone());
        Some(state)
    }

    /// Keeps the state of a stream.
    pub(crate) fn insert(&mut self, stream: StreamName, state: StreamState) {
        if self.young.len() >= STATES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&stream);
        self.young.insert(stream, state);
    }
}
