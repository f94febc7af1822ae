//! Owns the frame of the suite: the store under test, the list of cases, and the small steps that cases are made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use forebay_event::{ExpectedRevision, Position, ProposedEvent, RecordedEvent, Revision, StreamName};
use uuid::Uuid;

use super::{border, deleted, expected, metadata, pages, repeated, subscriptions};
use crate::{
    AppendError, AppendRequest, Appended, Direction, EventFilter, EventStore, FilterSubject, LogPoint, Matcher, Notice,
    PageLimit, ReadAll, ReadStream, StreamPage, StreamPoint, SubscribeAll, SubscribeStream, Subscription,
};

/// A store that a suite runs against.
#[async_trait]
pub trait StoreUnderTest: Send + Sync {
    /// The store.
    fn store(&self) -> Arc<dyn EventStore>;

    /// Stops the store and starts it again over the same data; answers false when this store cannot.
    async fn reopen(&mut self) -> bool {
        false
    }

    /// Makes an hour pass for the store; answers false when this store's time cannot be moved.
    async fn pass_an_hour(&mut self) -> bool {
        false
    }
}

type CaseFuture<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One behaviour, by name.
pub struct Case {
    /// What it says of a store.
    pub name: &'static str,
    run: for<'a> fn(&'a mut Bench) -> CaseFuture<'a>,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(expected::cases());
    cases.extend(repeated::cases());
    cases.extend(metadata::cases());
    cases.extend(deleted::cases());
    cases.extend(pages::cases());
    cases.extend(subscriptions::cases());
    cases.extend(border::cases());
    cases
}

/// Runs every case against a store of its own; answers how many ran. A case that fails panics, and says its name before.
pub async fn run_all<M, F>(make: M) -> usize
where
    M: Fn() -> F,
    F: Future<Output = Box<dyn StoreUnderTest>>,
{
    let cases = cases();
    for case in &cases {
        let mut bench = Bench { subject: make().await, name: case.name, streams: AtomicU64::new(0) };
        let named = NameOnPanic(case.name);
        (case.run)(&mut bench).await;
        drop(named);
    }
    cases.len()
}

struct NameOnPanic(&'static str);

impl Drop for NameOnPanic {
    #[expect(clippy::print_stderr, reason = "a suite says which case fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the store does not pass: {}", self.0);
        }
    }
}

/// A case of the list.
pub(super) const fn case(name: &'static str, run: for<'a> fn(&'a mut Bench) -> CaseFuture<'a>) -> Case {
    Case { name, run }
}

/// What a case works with.
pub(super) struct Bench {
    pub(super) subject: Box<dyn StoreUnderTest>,
    name: &'static str,
    streams: AtomicU64,
}

pub(super) const ANY: ExpectedRevision = ExpectedRevision::Any;

impl Bench {
    pub(super) fn store(&self) -> Arc<dyn EventStore> {
        self.subject.store()
    }

    /// A stream that nobody has written to.
    pub(super) fn fresh_stream(&self) -> StreamName {
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        let name = self.name.replace(' ', "_");
        StreamName::new(&format!("{name}-{number}-{}", Uuid::new_v4())).expect("the name is not empty")
    }

    /// A stream with so many events.
    pub(super) async fn stream_of(&self, events: usize) -> (StreamName, Vec<ProposedEvent>) {
        let stream = self.fresh_stream();
        let events = some_events(events);
        self.append(&stream, ANY, events.clone()).await.expect("a fresh stream takes events");
        (stream, events)
    }

    pub(super) async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<ProposedEvent>,
    ) -> Result<Appended, AppendError> {
        self.store().append(AppendRequest { stream: stream.clone(), expected, events }).await
    }

    /// Appends so many new events without a condition; answers the position of the last.
    pub(super) async fn add(&self, stream: &StreamName, events: usize) -> Position {
        let appended = self.append(stream, ANY, some_events(events)).await.expect("the stream takes events");
        appended.position.expect("events were appended")
    }

    pub(super) async fn head(&self) -> Position {
        self.store().head().await.expect("the head can be read").unwrap_or(Position::START)
    }

    pub(super) async fn page(
        &self,
        stream: &StreamName,
        direction: Direction,
        from: StreamPoint,
        events: usize,
    ) -> StreamPage {
        let limit = PageLimit::events(events);
        let read = ReadStream { stream: stream.clone(), direction, from, limit };
        self.store().read_stream(read).await.expect("the stream can be read")
    }

    /// Revisions of all visible events of a stream, read forward.
    pub(super) async fn visible(&self, stream: &StreamName) -> Vec<u64> {
        revisions(&self.page(stream, Direction::Forward, StreamPoint::Start, 1000).await.events)
    }

    /// Why a stream cannot be read.
    pub(super) async fn unreadable(&self, stream: &StreamName) -> crate::ReadError {
        let read = ReadStream {
            stream: stream.clone(),
            direction: Direction::Forward,
            from: StreamPoint::Start,
            limit: PageLimit::events(10),
        };
        self.store().read_stream(read).await.expect_err("the stream cannot be read")
    }

    /// All events of the whole log behind a position that pass a filter.
    pub(super) async fn all_behind(&self, behind: Position, filter: &EventFilter) -> Vec<RecordedEvent> {
        let mut from = LogPoint::At(behind);
        let mut found = Vec::new();
        loop {
            let read =
                ReadAll { direction: Direction::Forward, from, limit: PageLimit::events(100), filter: filter.clone() };
            let page = self.store().read_all(read).await.expect("the log can be read");
            found.extend(page.events.into_iter().filter(|event| event.position() > behind));
            if page.at_end {
                return found;
            }
            assert_ne!(from, page.next, "a page that is not the last moves on");
            from = page.next;
        }
    }

    pub(super) async fn subscribe_all(
        &self,
        from: LogPoint,
        filter: EventFilter,
        every: usize,
    ) -> Box<dyn Subscription> {
        let limit = PageLimit::events(50);
        let subscribe = SubscribeAll { from, filter, limit, checkpoint_every: every };
        self.store().subscribe_all(subscribe).await.expect("the log can be subscribed to")
    }

    pub(super) async fn subscribe_stream(&self, stream: &StreamName, from: StreamPoint) -> Box<dyn Subscription> {
        let subscribe = SubscribeStream { stream: stream.clone(), from, limit: PageLimit::events(50) };
        self.store().subscribe_stream(subscribe).await.expect("the stream can be subscribed to")
    }
}

/// An event of a fresh id.
pub(super) fn event(event_type: &str) -> ProposedEvent {
    ProposedEvent::json(Uuid::new_v4(), event_type, "{\"n\":1}")
}

/// So many events of fresh ids.
pub(super) fn some_events(count: usize) -> Vec<ProposedEvent> {
    (0..count).map(|_| event("Happened")).collect()
}

pub(super) fn exact(revision: u64) -> ExpectedRevision {
    ExpectedRevision::Exact(Revision::new(revision))
}

pub(super) fn at(revision: u64) -> StreamPoint {
    StreamPoint::At(Revision::new(revision))
}

pub(super) fn revisions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.revision().get()).collect()
}

/// A filter for one stream.
pub(super) fn only(stream: &StreamName) -> EventFilter {
    EventFilter::Where(FilterSubject::Stream, Matcher::Prefixes(vec![stream.as_str().to_owned()]))
}

/// The next hand-out, within a time that no store needs.
pub(super) async fn next(subscription: &mut Box<dyn Subscription>) -> Notice {
    waited(subscription.next()).await.expect("the subscription goes on")
}

/// Waits for something that comes soon.
pub(super) async fn waited<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(20), future).await.expect("it comes within 20 s")
}

/// Events up to the notice that the subscription has caught up.
pub(super) async fn history(subscription: &mut Box<dyn Subscription>) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    loop {
        match next(subscription).await {
            Notice::Events(more) => {
                assert!(!more.is_empty(), "a hand-out of events is not empty");
                events.extend(more);
            }
            Notice::Checkpoint(_) => {}
            Notice::CaughtUp { .. } => return events,
        }
    }
}

/// So many events of a subscription that has caught up.
pub(super) async fn live(subscription: &mut Box<dyn Subscription>, count: usize) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        match next(subscription).await {
            Notice::Events(more) => events.extend(more),
            Notice::Checkpoint(_) => {}
            Notice::CaughtUp { .. } => panic!("the subscription had caught up before"),
        }
    }
    events
}
