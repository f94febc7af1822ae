//! Owns the simulated store: what is durable, what is not yet, and what a crash of it takes away.
//!
//! An append is written, then synced; only what is synced can be read, and only that is answered. A crash of the store
//! loses what is not synced, or all behind some append of it, and breaks every subscription. A sync that fails is a crash. Metadata is kept and bounds nothing: `$maxCount` hides no event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::{ExpectedRevision, Position, RecordedEvent, Revision, StreamName, Timestamp};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, Direction, EventFilter, LogPoint, ReadAll, ReadError, ReadStream,
    StreamPage, StreamPoint,
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::chance::Chance;
use crate::history::History;
use crate::reading::{connector_of, fact_of};

/// Created times start here and count up, one tick for each event: no rule looks at them.
const CREATED_START: u64 = 17_672_256_000_000_000;

/// The store that all nodes share.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    changed: Notify,
    chance: Chance,
    history: Arc<History>,
}

/// What an append is answered, the end of what must be synced before, and of which life of the store it is.
type Planned = (Result<Appended, AppendError>, usize, u64);

#[derive(Debug, Default)]
struct State {
    events: Vec<RecordedEvent>,
    /// The first so many events are synced.
    durable: usize,
    /// Where the appends end that are not synced.
    ends: Vec<usize>,
    /// The next sync fails.
    is_sync_to_fail: bool,
    streams: BTreeMap<String, Vec<usize>>,
    ids: BTreeMap<(String, Uuid), usize>,
    /// Counts the crashes of the store.
    generation: u64,
    is_down: bool,
}

impl Store {
    pub(crate) fn new(seed: u64, history: Arc<History>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), chance: Chance::of(seed, "store"), history }
    }

    /// Appends, and answers when it is durable.
    pub(crate) async fn append(&self, request: &AppendRequest, sync: Duration) -> Result<Appended, AppendError> {
        let (answer, end, generation) = self.write(request)?;
        if !sync.is_zero() {
            tokio::time::sleep(sync).await;
        }
        self.sync(end, generation)?;
        answer
    }

    /// Writes; the answer holds when all is synced that it rests on.
    fn write(&self, request: &AppendRequest) -> Result<Planned, AppendError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.is_down {
            return Err(unwritable());
        }
        let name = request.stream.as_str();
        let known: Vec<usize> =
            request.events.iter().filter_map(|event| state.ids.get(&(name.to_owned(), event.id)).copied()).collect();
        let is_repeat = !request.events.is_empty() && known.len() == request.events.len();
        if is_repeat {
            let last = known.last().copied().unwrap_or_default();
            return Ok((Ok(answer(state.events.get(last))), last + 1, state.generation));
        }
        let indices = state.streams.get(name).map(Vec::as_slice).unwrap_or_default();
        if let Err(refusal) = check(request, indices.len()) {
            return Ok((Err(refusal), indices.last().map_or(0, |last| last + 1), state.generation));
        }
        for event in &request.events {
            let indices = state.streams.entry(name.to_owned()).or_default();
            let revision = Revision::new(indices.len() as u64);
            let last = state.events.last().map_or(0, |last| last.position().commit());
            let position = Position::new(last + self.chance.between(1, 4));
            let created = Timestamp::from_ticks(CREATED_START + state.events.len() as u64);
            indices.push(state.events.len());
            state.ids.insert((name.to_owned(), event.id), state.events.len());
            state.events.push(RecordedEvent::record(event, &request.stream, revision, position, created));
        }
        let last = state.streams.get(name).and_then(|indices| indices.last()).and_then(|last| state.events.get(*last));
        let answer = answer(last);
        state.ends.push(state.events.len());
        Ok((Ok(answer), state.events.len(), state.generation))
    }

    fn sync(&self, end: usize, generation: u64) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        if state.generation != generation || state.is_down {
            return Err(unwritable());
        }
        if state.durable < end && std::mem::take(&mut state.is_sync_to_fail) {
            drop(state);
            self.crash();
            return Err(unwritable());
        }
        self.make_durable(&mut state, end);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    fn make_durable(&self, state: &mut State, end: usize) {
        while state.durable < end {
            if let Some(event) = state.events.get(state.durable)
                && let Some(fact) = fact_of(event)
            {
                self.history.add_of(connector_of(event.stream()), fact);
            }
            state.durable += 1;
        }
        state.ends.retain(|end| *end > state.durable);
    }

    /// Lets the next sync fail: what the disk holds of it nobody knows, and the store goes down.
    pub(crate) fn fail_next_sync(&self) {
        self.state.lock().is_sync_to_fail = true;
    }

    /// Goes down: what is not synced is lost, but for some appends from the first on that reached the disk all the same.
    pub(crate) fn crash(&self) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let kept = self.chance.size(0, state.ends.len());
        if let Some(end) = kept.checked_sub(1).and_then(|last| state.ends.get(last)).copied() {
            self.make_durable(state, end);
        }
        state.ends.clear();
        state.generation += 1;
        state.is_down = true;
        let durable = state.durable;
        state.events.truncate(durable);
        state.ids.retain(|_, index| *index < durable);
        for indices in state.streams.values_mut() {
            indices.retain(|index| *index < durable);
        }
        state.streams.retain(|_, indices| !indices.is_empty());
        drop(guard);
        self.changed.notify_waiters();
    }

    /// Comes back.
    pub(crate) fn recover(&self) {
        let mut state = self.state.lock();
        (state.is_down, state.is_sync_to_fail) = (false, false);
    }

    /// Counts the crashes; none while it is down.
    pub(crate) fn generation(&self) -> Option<u64> {
        let state = self.state.lock();
        (!state.is_down).then_some(state.generation)
    }

    /// Waits for something new. Made before looking, so that nothing is missed.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn head(&self) -> Result<Option<Position>, ReadError> {
        self.reading(|state| state.visible().last().map(RecordedEvent::position))
    }

    pub(crate) fn last_of(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        self.reading(|state| state.of(stream.as_str()).last().cloned())
    }

    pub(crate) fn read_stream(&self, read: &ReadStream) -> Result<StreamPage, ReadError> {
        let events = self.reading(|state| state.of(read.stream.as_str()))?;
        let Some(last) = events.last().map(RecordedEvent::revision) else {
            return Err(ReadError::StreamNotFound { stream: read.stream.clone() });
        };
        let (page, next) = match read.direction {
            Direction::Forward => {
                let from = match read.from {
                    StreamPoint::Start => 0,
                    StreamPoint::End => events.len(),
                    StreamPoint::At(revision) => index(revision.get()),
                };
                let page: Vec<_> = events.iter().skip(from).take(read.limit.events).cloned().collect();
                let end = from + page.len();
                (page, (end < events.len()).then_some(end))
            }
            Direction::Backward => {
                let count = match read.from {
                    StreamPoint::Start => 0,
                    StreamPoint::End => events.len(),
                    StreamPoint::At(revision) => index(revision.get().saturating_add(1)).min(events.len()),
                };
                let page: Vec<_> = events.iter().take(count).rev().take(read.limit.events).cloned().collect();
                let left = count - page.len();
                (page, left.checked_sub(1))
            }
        };
        Ok(StreamPage { events: page, next: next.map(|next| Revision::new(next as u64)), last_revision: last })
    }

    pub(crate) fn read_all(&self, read: &ReadAll) -> Result<AllPage, ReadError> {
        self.reading(|state| {
            let events = state.visible();
            let before = |position: Position| events.partition_point(|event| event.position() < position);
            let point = match read.from {
                LogPoint::Start => 0,
                LogPoint::End => events.len(),
                LogPoint::At(position) => before(position),
            };
            let (page, at_end, next): (Vec<_>, bool, _) = match read.direction {
                Direction::Forward => {
                    let end = (point + read.limit.events).min(events.len());
                    let page = events.get(point..end).unwrap_or_default().to_vec();
                    let next = events.get(end).map_or(LogPoint::End, |event| LogPoint::At(event.position()));
                    (page, end == events.len(), next)
                }
                Direction::Backward => {
                    let start = point.saturating_sub(read.limit.events);
                    let page = events.get(start..point).unwrap_or_default().iter().rev().cloned().collect();
                    let next = events.get(start).map_or(LogPoint::Start, |event| LogPoint::At(event.position()));
                    (page, start == 0, next)
                }
            };
            AllPage { events: page.into_iter().filter(|event| read.filter.matches(event)).collect(), next, at_end }
        })
    }

    /// Up to so many events of the log from an index on that match, and the index behind the last one looked at.
    pub(crate) fn log_from(&self, from: usize, limit: usize, filter: &EventFilter) -> (Vec<RecordedEvent>, usize) {
        let state = self.state.lock();
        let (mut page, mut next) = (Vec::new(), from);
        while let Some(event) = state.visible().get(next).filter(|_| page.len() < limit) {
            next += 1;
            if filter.matches(event) {
                page.push(event.clone());
            }
        }
        (page, next)
    }

    /// The index of the first event behind a point; where the log ends when it ends before.
    pub(crate) fn index_behind(&self, point: LogPoint) -> Result<usize, Position> {
        let state = self.state.lock();
        let events = state.visible();
        match point {
            LogPoint::Start => Ok(0),
            LogPoint::End => Ok(events.len()),
            LogPoint::At(position) => {
                let end = events.last().map_or(Position::START, RecordedEvent::position);
                if position > end { Err(end) } else { Ok(events.partition_point(|event| event.position() <= position)) }
            }
        }
    }

    /// The position of the last event before an index.
    pub(crate) fn position_before(&self, index: usize) -> Option<Position> {
        let state = self.state.lock();
        index.checked_sub(1).and_then(|last| state.events.get(last)).map(RecordedEvent::position)
    }

    fn reading<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, ReadError> {
        let state = self.state.lock();
        if state.is_down {
            return Err(ReadError::Unavailable { reason: "the simulated store is down".to_owned() });
        }
        Ok(read(&state))
    }
}

impl State {
    fn visible(&self) -> &[RecordedEvent] {
        self.events.get(..self.durable).unwrap_or_default()
    }

    fn of(&self, stream: &str) -> Vec<RecordedEvent> {
        let indices = self.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
        indices.iter().filter_map(|index| self.visible().get(*index)).cloned().collect()
    }
}

fn answer(last: Option<&RecordedEvent>) -> Appended {
    Appended { last_revision: last.map(RecordedEvent::revision), position: last.map(RecordedEvent::position) }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn unwritable() -> AppendError {
    AppendError::Unavailable { reason: "the simulated store is down".to_owned() }
}

fn check(request: &AppendRequest, count: usize) -> Result<(), AppendError> {
    let current = count.checked_sub(1).map(|last| Revision::new(last as u64));
    let fits = match request.expected {
        ExpectedRevision::Any => true,
        ExpectedRevision::NoStream => current.is_none(),
        ExpectedRevision::StreamExists => current.is_some(),
        ExpectedRevision::Exact(revision) => current == Some(revision),
    };
    let (stream, expected) = (request.stream.clone(), request.expected);
    if fits { Ok(()) } else { Err(AppendError::WrongExpectedRevision { stream, expected, current }) }
}
