//! Owns the planning of one group commit: several appends, each seeing those before it, become one change.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use forebay_event::{ContentType, ExpectedRevision, Position, ProposedEvent, Revision, StreamName, Timestamp};
use forebay_store::{AppendError, AppendRequest, Appended, METADATA_TYPE, ReadError, StreamMetadata, TOMBSTONE_TYPE};
use uuid::Uuid;

use crate::decide::{Condition, History, Verdict, unreadable};
use crate::engine::{Change, Engine, NewEntries, Placed};
use crate::format::{Block, BlockBuilder, Packer, Recording};
use crate::options::BLOCK_RAW_TARGET;
use crate::recent_ids::RecentIds;
use crate::shared::Shared;
use crate::states::{MetadataState, StreamState};

/// One thing that a caller wants written.
pub(crate) enum Write {
    /// Events.
    Append(AppendRequest),
    /// A soft delete.
    Delete(StreamName, ExpectedRevision),
    /// A tombstone.
    Tombstone(StreamName, ExpectedRevision),
}

impl Write {
    /// Streams and types of all that it writes begin with `$`.
    pub(crate) fn is_bookkeeping(&self) -> bool {
        match self {
            Self::Append(AppendRequest { stream, events, .. }) => {
                stream.as_str().starts_with('$') && events.iter().all(|event| event.event_type.starts_with('$'))
            }
            Self::Delete(..) | Self::Tombstone(..) => false,
        }
    }

    /// What it takes in the queue and in a commit, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Append(request) => request.events.iter().map(ProposedEvent::size).sum(),
            Self::Delete(..) | Self::Tombstone(..) => 0,
        }
    }
}

/// A group commit being planned.
pub(crate) struct Plan<'a> {
    shared: &'a Shared,
    engine: &'a Engine,
    ids: &'a mut RecentIds,
    now: Timestamp,
    next: u64,
    states: HashMap<StreamName, Touched>,
    /// This plan's events, which neither engine nor blocks know yet.
    pending: Vec<Pending>,
    builder: BlockBuilder,
    blocks: Vec<Block>,
    index: NewEntries,
}

/// A stream as the plan leaves it.
#[derive(Default)]
struct Touched {
    state: StreamState,
    /// Its newest event among the pending ones.
    newest: Option<usize>,
}

struct Pending {
    id: Uuid,
    placed: Placed,
    /// The event of the same stream before it, among the pending ones.
    before: Option<usize>,
}

/// A planned commit.
pub(crate) struct Planned {
    /// What the engine is to change.
    pub(crate) change: Change,
    /// The new blocks, for readers of the live end.
    pub(crate) blocks: Vec<Block>,
    /// The streams as the commit leaves them.
    pub(crate) states: Vec<(StreamName, StreamState)>,
    /// Position of the last event.
    pub(crate) head: u64,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(shared: &'a Shared, engine: &'a Engine, ids: &'a mut RecentIds) -> Self {
        let next = shared.head() + 1;
        Self {
            shared,
            engine,
            ids,
            now: shared.clock.now(),
            next,
            states: HashMap::new(),
            pending: Vec::new(),
            builder: BlockBuilder::new(next),
            blocks: Vec::new(),
            index: NewEntries::default(),
        }
    }

    /// Decides on one write and adds what it changes. The answer is true only once the plan is committed.
    pub(crate) fn add(&mut self, write: &Write) -> Result<Appended, AppendError> {
        match write {
            Write::Append(request) => self.append(request),
            Write::Delete(stream, expected) => self.delete(stream, *expected),
            Write::Tombstone(stream, expected) => self.tombstone(stream, *expected),
        }
    }

    /// The change, or nothing when nothing is to be written.
    pub(crate) fn finish(mut self, packer: &mut Packer) -> Option<Planned> {
        self.blocks.extend(self.builder.finish());
        let change = Change {
            blocks: self.blocks.iter().map(|block| (block.first(), block.encode(packer))).collect(),
            index: self.index,
            ..Change::default()
        };
        let head = self.next - 1;
        let states = self.states.into_iter().map(|(stream, touched)| (stream, touched.state)).collect();
        (!change.blocks.is_empty()).then_some(Planned { change, blocks: self.blocks, states, head })
    }

    fn append(&mut self, request: &AppendRequest) -> Result<Appended, AppendError> {
        let stream = &request.stream;
        let state = self.state(stream).map_err(unreadable)?;
        let described = self.described_state(stream).map_err(unreadable)?;
        let ids: Vec<Uuid> = request.events.iter().map(|event| event.id).collect();
        match self.condition(stream, &state, request.expected).append(&ids, self)? {
            Verdict::Repeated(placed) => return Ok(appended(placed)),
            Verdict::Write if ids.is_empty() => {
                return Ok(Appended { last_revision: state.current(), position: None });
            }
            Verdict::Write => {}
        }
        let metadata_state = self.metadata_stream_state(stream, &state).map_err(unreadable)?;
        let first = state.next_revision();
        let last = self.record_all(stream, state, &request.events);
        if let Some((metadata_stream, metadata_state, old)) = metadata_state {
            let undeleted = old.as_ref().clone().with_truncate_before(Revision::new(first));
            self.record_metadata(stream, (metadata_stream, metadata_state), undeleted);
        }
        if let Some((name, state)) = described {
            self.apply_metadata(&name, state, (stream, &request.events));
        }
        Ok(appended(last))
    }

    fn delete(&mut self, stream: &StreamName, expected: ExpectedRevision) -> Result<Appended, AppendError> {
        if stream.is_metadata() {
            return Err(AppendError::Invalid { reason: "a metadata stream cannot be deleted" });
        }
        let state = self.state(stream).map_err(unreadable)?;
        self.condition(stream, &state, expected).end(false)?;
        let metadata_stream = stream.metadata_stream();
        let metadata_state = self.state(&metadata_stream).map_err(unreadable)?;
        self.touch(stream, state);
        let deleted = StreamMetadata::soft_deleted();
        Ok(appended(self.record_metadata(stream, (metadata_stream, metadata_state), deleted)))
    }

    fn tombstone(&mut self, stream: &StreamName, expected: ExpectedRevision) -> Result<Appended, AppendError> {
        if stream.is_metadata() {
            return Err(AppendError::Invalid { reason: "a metadata stream cannot be tombstoned" });
        }
        let mut state = self.state(stream).map_err(unreadable)?;
        self.condition(stream, &state, expected).end(true)?;
        let event = system_event(TOMBSTONE_TYPE, Bytes::new());
        let placed = self.record(stream, Revision::MAX.get(), (&event, None));
        state.last = Some(placed);
        self.touch(stream, state);
        Ok(appended(placed))
    }

    fn condition<'c>(
        &self,
        stream: &'c StreamName,
        state: &'c StreamState,
        expected: ExpectedRevision,
    ) -> Condition<'c> {
        Condition { stream, state, expected }
    }

    /// The stream as the plan leaves it so far.
    fn state(&self, stream: &StreamName) -> Result<StreamState, ReadError> {
        match self.states.get(stream) {
            Some(touched) => Ok(touched.state.clone()),
            None => Ok(self.shared.state(self.engine, stream)?.0),
        }
    }

    /// The stream that a metadata stream describes.
    fn described_state(&self, stream: &StreamName) -> Result<Option<(StreamName, StreamState)>, ReadError> {
        let Some(described) = stream.described_stream().filter(|described| !described.is_metadata()) else {
            return Ok(None);
        };
        let state = self.state(&described)?;
        Ok(Some((described, state)))
    }

    /// What is needed to undelete a stream, when it is soft-deleted.
    fn metadata_stream_state(
        &self,
        stream: &StreamName,
        state: &StreamState,
    ) -> Result<Option<(StreamName, StreamState, Arc<StreamMetadata>)>, ReadError> {
        let Some(old) = state.metadata.as_ref().filter(|_| state.is_soft_deleted()) else { return Ok(None) };
        let metadata_stream = stream.metadata_stream();
        let metadata_state = self.state(&metadata_stream)?;
        Ok(Some((metadata_stream, metadata_state, Arc::clone(&old.metadata))))
    }

    /// Events went to the metadata stream of this one: takes over what they say. Metadata that leaves a soft-deleted
    /// stream deleted, or says nothing of it, undeletes it and keeps the old events hidden.
    fn apply_metadata(&mut self, name: &StreamName, state: StreamState, written: (&StreamName, &[ProposedEvent])) {
        let (metadata_stream, events) = written;
        let Some(data) = events.last().map(|event| &event.data) else { return };
        let metadata = StreamMetadata::from_data(data);
        let Some(metadata_state) = self.states.get(metadata_stream).map(|touched| touched.state.clone()) else {
            return;
        };
        let revision = metadata_state.last.map_or(0, |last| last.revision);
        let leaves_deleted = metadata.truncate_before().is_none() || metadata.is_soft_deleted();
        let undelete = state.is_soft_deleted() && leaves_deleted && !state.is_tombstoned();
        let first = state.next_revision();
        let said = MetadataState { revision, metadata: Arc::new(metadata.clone()) };
        self.touch(name, StreamState { metadata: Some(said), ..state });
        if undelete {
            let undeleted = metadata.with_truncate_before(Revision::new(first));
            self.record_metadata(name, (metadata_stream.clone(), metadata_state), undeleted);
        }
    }

    /// Writes metadata of a stream whose state is part of the plan.
    fn record_metadata(
        &mut self,
        stream: &StreamName,
        target: (StreamName, StreamState),
        metadata: StreamMetadata,
    ) -> Placed {
        let (metadata_stream, metadata_state) = target;
        let event = system_event(METADATA_TYPE, metadata.to_data().into());
        let placed = self.record_all(&metadata_stream, metadata_state, std::slice::from_ref(&event));
        let said = MetadataState { revision: placed.revision, metadata: Arc::new(metadata) };
        self.states.entry(stream.clone()).or_default().state.metadata = Some(said);
        placed
    }

    /// Sets the state of a stream; its pending events stay known.
    fn touch(&mut self, stream: &StreamName, state: StreamState) {
        self.states.entry(stream.clone()).or_default().state = state;
    }

    /// Records events at the end of a stream and answers where the last one lies.
    fn record_all(&mut self, stream: &StreamName, mut state: StreamState, events: &[ProposedEvent]) -> Placed {
        let mut newest = self.states.get(stream).and_then(|touched| touched.newest);
        let mut last = Placed { revision: 0, position: 0 };
        for (revision, event) in (state.next_revision()..).zip(events) {
            last = self.record(stream, revision, (event, newest));
            newest = Some(self.pending.len() - 1);
        }
        state.last = Some(last);
        self.states.insert(stream.clone(), Touched { state, newest });
        last
    }

    /// Records one event; takes the pending event of the stream before it.
    fn record(&mut self, stream: &StreamName, revision: u64, recorded: (&ProposedEvent, Option<usize>)) -> Placed {
        let (event, before) = recorded;
        let placed = Placed { revision, position: self.next };
        let name = stream.as_str();
        if self.builder.is_full_for(BlockBuilder::event_len(name, event), BLOCK_RAW_TARGET) {
            let full = std::mem::replace(&mut self.builder, BlockBuilder::with_room(self.next));
            self.blocks.extend(full.finish());
        }
        self.builder.push(event, &Recording { stream: name, revision, created: self.now });
        self.index.add(name, placed);
        self.ids.remember(name, event.id, placed);
        self.pending.push(Pending { id: event.id, placed, before });
        self.next += 1;
        placed
    }

    /// The event of a stream at a revision, if this plan writes it.
    fn pending_at(&self, stream: &StreamName, revision: u64) -> Option<&Pending> {
        let mut next = self.states.get(stream).and_then(|touched| touched.newest);
        while let Some(pending) = next.and_then(|at| self.pending.get(at)) {
            if pending.placed.revision == revision {
                return Some(pending);
            }
            next = pending.before;
        }
        None
    }
}

impl History for Plan<'_> {
    fn id_at(&self, stream: &StreamName, revision: u64) -> Result<Option<(Uuid, Placed)>, ReadError> {
        if let Some(pending) = self.pending_at(stream, revision) {
            return Ok(Some((pending.id, pending.placed)));
        }
        let Some(placed) = self.engine.stream_entries(stream.as_str(), revision, revision).next().transpose()? else {
            return Ok(None);
        };
        let event = self.shared.block_holding(self.engine, placed.position)?.event(placed.position)?;
        Ok(Some((event.id(), placed)))
    }

    fn recent(&self, stream: &StreamName, id: Uuid) -> Result<Option<Placed>, ReadError> {
        let Some(placed) = self.ids.find(stream.as_str(), id) else { return Ok(None) };
        let stored = self.id_at(stream, placed.revision)?;
        Ok(stored.filter(|stored| *stored == (id, placed)).map(|(_, placed)| placed))
    }
}

fn system_event(event_type: &str, data: Bytes) -> ProposedEvent {
    ProposedEvent {
        id: Uuid::new_v4(),
        event_type: event_type.to_owned(),
        content_type: ContentType::Json,
        data,
        metadata: Bytes::new(),
    }
}

fn appended(placed: Placed) -> Appended {
    Appended { last_revision: Some(Revision::new(placed.revision)), position: Some(Position::new(placed.position)) }
}
