//! An event store in memory, with faults to order: for tests and benchmarks of the pipeline.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "only tests and benchmarks use it")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use forebay_event::{
    Clock, ExpectedRevision, Position, ProposedEvent, RecordedEvent, Revision, StreamName, SystemClock,
};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, Direction, EventFilter, EventStore, LogPoint, Notice, PageLimit,
    ReadAll, ReadError, ReadStream, StreamMetadata, StreamPage, StreamPoint, SubscribeAll, SubscribeError,
    SubscribeStream, Subscription,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

/// All in one list; positions count from 1.
pub(crate) struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    length: watch::Sender<usize>,
    clock: SystemClock,
    /// Subscriptions opened before the last change of this number are broken.
    generation: AtomicU64,
}

#[derive(Default)]
struct State {
    events: Vec<RecordedEvent>,
    streams: HashMap<String, Vec<usize>>,
    ids: HashSet<(String, Uuid)>,
    tombstones: HashSet<String>,
    /// Positions whose events are no longer handed out.
    scavenged: HashSet<u64>,
    /// Appends to streams that end with this fail so many times more.
    failing: Option<(String, u32)>,
}

#[allow(dead_code, reason = "each user needs its part")]
impl MemoryStore {
    pub(crate) fn new() -> Arc<Self> {
        let shared = Shared {
            state: Mutex::default(),
            length: watch::Sender::new(0),
            clock: SystemClock::new(),
            generation: AtomicU64::new(0),
        };
        Arc::new(Self { shared: Arc::new(shared) })
    }

    /// Appends one JSON event.
    pub(crate) async fn add(&self, stream: &str, event_type: &str, data: &str) -> Position {
        self.add_proposed(stream, ProposedEvent::json(Uuid::new_v4(), event_type, data.as_bytes().to_vec())).await
    }

    /// Appends one event.
    pub(crate) async fn add_proposed(&self, stream: &str, event: ProposedEvent) -> Position {
        let stream = StreamName::new(stream).unwrap();
        let request = AppendRequest { stream, expected: ExpectedRevision::Any, events: vec![event] };
        self.append(request).await.unwrap().position.unwrap()
    }

    /// All events of a stream.
    pub(crate) fn events(&self, stream: &str) -> Vec<RecordedEvent> {
        self.shared.events_of(stream)
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.shared.state.lock().events.len()
    }

    /// Lets events at these positions be gone, as after scavenging.
    pub(crate) fn scavenge(&self, positions: impl IntoIterator<Item = u64>) {
        self.shared.state.lock().scavenged.extend(positions);
    }

    /// Lets so many appends to streams that end with this fail.
    pub(crate) fn fail_appends(&self, stream_end: &str, times: u32) {
        self.shared.state.lock().failing = Some((stream_end.to_owned(), times));
    }

    /// Breaks all open subscriptions.
    pub(crate) fn break_subscriptions(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        self.shared.length.send_modify(|_| {});
    }

    fn subscription(&self, next: usize, what: What, limit: PageLimit) -> Box<dyn Subscription> {
        Box::new(MemorySubscription {
            shared: Arc::clone(&self.shared),
            length: self.shared.length.subscribe(),
            generation: self.shared.generation.load(Ordering::SeqCst),
            next,
            what,
            limit,
            caught_up: false,
            told: next,
        })
    }
}

impl Shared {
    fn events_of(&self, stream: &str) -> Vec<RecordedEvent> {
        let state = self.state.lock();
        let indices = state.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
        indices.iter().map(|index| state.events[*index].clone()).collect()
    }
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

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        let name = request.stream.as_str().to_owned();
        if let Some((end, times)) = &mut state.failing
            && *times > 0
            && name.ends_with(end.as_str())
        {
            *times -= 1;
            return Err(AppendError::Unavailable { reason: "ordered by a test".to_owned() });
        }
        if state.tombstones.contains(&name) {
            return Err(AppendError::StreamDeleted { stream: request.stream });
        }
        let mut indices = state.streams.remove(&name).unwrap_or_default();
        let is_repeat = !request.events.is_empty()
            && request.events.iter().all(|event| state.ids.contains(&(name.clone(), event.id)));
        let checked = if is_repeat { Ok(()) } else { check(&request, indices.len()) };
        if checked.is_ok() && !is_repeat {
            for event in &request.events {
                let revision = Revision::new(indices.len() as u64);
                let position = Position::new(state.events.len() as u64 + 1);
                let created = self.shared.clock.now();
                indices.push(state.events.len());
                state.events.push(RecordedEvent::record(event, &request.stream, revision, position, created));
                state.ids.insert((name.clone(), event.id));
            }
        }
        let last = indices.last().map(|index| state.events[*index].clone());
        if !indices.is_empty() {
            state.streams.insert(name, indices);
        }
        let length = state.events.len();
        drop(guard);
        checked?;
        self.shared.length.send_replace(length);
        Ok(Appended {
            last_revision: last.as_ref().map(RecordedEvent::revision),
            position: last.as_ref().map(RecordedEvent::position),
        })
    }

    async fn delete(&self, stream: &StreamName, _: ExpectedRevision) -> Result<Position, AppendError> {
        let request = AppendRequest {
            stream: stream.metadata_stream(),
            expected: ExpectedRevision::Any,
            events: vec![ProposedEvent::json(Uuid::new_v4(), "$metadata", StreamMetadata::soft_deleted().to_data())],
        };
        Ok(self.append(request).await?.position.unwrap())
    }

    async fn tombstone(&self, stream: &StreamName, _: ExpectedRevision) -> Result<Position, AppendError> {
        let events = vec![ProposedEvent::json(Uuid::new_v4(), "$streamDeleted", "{}")];
        let request = AppendRequest { stream: stream.clone(), expected: ExpectedRevision::Any, events };
        let position = self.append(request).await?.position.unwrap();
        self.shared.state.lock().tombstones.insert(stream.as_str().to_owned());
        Ok(position)
    }

    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError> {
        let events = self.shared.events_of(read.stream.as_str());
        let Some(last) = events.last().map(RecordedEvent::revision) else {
            return Err(ReadError::StreamNotFound { stream: read.stream });
        };
        let number = |revision: Revision| usize::try_from(revision.get()).unwrap();
        let (page, next): (Vec<_>, Option<u64>) = match read.direction {
            Direction::Forward => {
                let from = match read.from {
                    StreamPoint::Start => 0,
                    StreamPoint::End => events.len(),
                    StreamPoint::At(revision) => number(revision),
                };
                let page: Vec<_> = events.iter().skip(from).take(read.limit.events).cloned().collect();
                let end = from + page.len();
                (page, (end < events.len()).then_some(end as u64))
            }
            Direction::Backward => {
                let count = match read.from {
                    StreamPoint::Start => 0,
                    StreamPoint::End => events.len(),
                    StreamPoint::At(revision) => (number(revision) + 1).min(events.len()),
                };
                let page: Vec<_> = events[..count].iter().rev().take(read.limit.events).cloned().collect();
                let left = count - page.len();
                (page, left.checked_sub(1).map(|next| next as u64))
            }
        };
        Ok(StreamPage { events: page, next: next.map(Revision::new), last_revision: last })
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError> {
        let state = self.shared.state.lock();
        let at = |position: Position| usize::try_from(position.commit()).unwrap();
        let length = state.events.len();
        let (events, end, at_end): (Vec<_>, usize, bool) = match read.direction {
            Direction::Forward => {
                let from = match read.from {
                    LogPoint::Start => 0,
                    LogPoint::End => length,
                    LogPoint::At(position) => at(position).saturating_sub(1),
                };
                let end = (from + read.limit.events).min(length);
                (state.events[from.min(end)..end].to_vec(), end + 1, end == length)
            }
            Direction::Backward => {
                let count = match read.from {
                    LogPoint::Start => 0,
                    LogPoint::End => length,
                    LogPoint::At(position) => at(position).saturating_sub(1).min(length),
                };
                let start = count.saturating_sub(read.limit.events);
                (state.events[start..count].iter().rev().cloned().collect(), start + 1, start == 0)
            }
        };
        let events = events.into_iter().filter(|event| read.filter.matches(event)).collect();
        Ok(AllPage { events, next: LogPoint::At(Position::new(end as u64)), at_end })
    }

    async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError> {
        let end = self.len();
        let next = match subscribe.from {
            LogPoint::Start => 0,
            LogPoint::End => end,
            LogPoint::At(position) => usize::try_from(position.commit()).unwrap(),
        };
        if next > end {
            let (from, end) = (Position::new(next as u64), Position::new(end as u64));
            return Err(SubscribeError::BehindEnd { from, end });
        }
        Ok(self.subscription(next, What::Log(subscribe.filter), subscribe.limit))
    }

    async fn subscribe_stream(&self, subscribe: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError> {
        let name = subscribe.stream.as_str().to_owned();
        if self.shared.state.lock().tombstones.contains(&name) {
            return Err(SubscribeError::StreamDeleted { stream: subscribe.stream });
        }
        let next = match subscribe.from {
            StreamPoint::Start => 0,
            StreamPoint::End => self.shared.events_of(&name).len(),
            StreamPoint::At(revision) => usize::try_from(revision.get()).unwrap() + 1,
        };
        Ok(self.subscription(next, What::Stream(name), subscribe.limit))
    }

    async fn metadata(&self, _: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        Ok((StreamMetadata::default(), None))
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        let events = vec![ProposedEvent::json(Uuid::new_v4(), "$metadata", metadata.to_data())];
        self.append(AppendRequest { stream: stream.metadata_stream(), expected, events }).await
    }

    async fn head(&self) -> Result<Option<Position>, ReadError> {
        Ok(Some(self.len()).filter(|len| *len > 0).map(|len| Position::new(len as u64)))
    }
}

enum What {
    Log(EventFilter),
    Stream(String),
}

struct MemorySubscription {
    shared: Arc<Shared>,
    length: watch::Receiver<usize>,
    generation: u64,
    /// Index in the log, or in the stream.
    next: usize,
    what: What,
    limit: PageLimit,
    caught_up: bool,
    /// Up to where it was told that events do not match.
    told: usize,
}

impl MemorySubscription {
    fn page(&mut self) -> Vec<RecordedEvent> {
        let state = self.shared.state.lock();
        let mut page = Vec::new();
        match &self.what {
            What::Log(filter) => {
                while page.len() < self.limit.events
                    && let Some(event) = state.events.get(self.next)
                {
                    self.next += 1;
                    if filter.matches(event) && !state.scavenged.contains(&event.position().commit()) {
                        page.push(event.clone());
                    }
                }
            }
            What::Stream(name) => {
                let indices = state.streams.get(name).map(Vec::as_slice).unwrap_or_default();
                let part = indices.iter().skip(self.next).take(self.limit.events);
                page.extend(part.map(|index| state.events[*index].clone()));
                self.next += page.len();
            }
        }
        page
    }
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Result<Notice, SubscribeError> {
        loop {
            if self.generation != self.shared.generation.load(Ordering::SeqCst) {
                return Err(ReadError::Unavailable { reason: "ordered by a test".to_owned() }.into());
            }
            self.length.borrow_and_update();
            let page = self.page();
            if let Some(last) = page.last() {
                self.told = usize::try_from(last.position().commit()).unwrap();
                return Ok(Notice::Events(page));
            }
            let filtered = matches!(&self.what, What::Log(filter) if !filter.is_all());
            if filtered && self.told < self.next {
                self.told = self.next;
                return Ok(Notice::Checkpoint(Position::new(self.next as u64)));
            }
            if !self.caught_up {
                self.caught_up = true;
                let position = Some(self.next).filter(|next| *next > 0).map(|next| Position::new(next as u64));
                let position = position.filter(|_| matches!(self.what, What::Log(_)));
                return Ok(Notice::CaughtUp { position });
            }
            if self.length.changed().await.is_err() {
                return Err(SubscribeError::Closed);
            }
        }
    }
}
