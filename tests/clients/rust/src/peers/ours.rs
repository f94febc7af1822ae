//! Owns our own client, the remote store, as a peer.

use std::collections::VecDeque;

use forebay_event::{ContentType, ExpectedRevision, ProposedEvent, RecordedEvent, Revision, StreamName};
use forebay_remote::RemoteStore;
use forebay_store::{
    AppendError, AppendRequest, Direction, EventFilter, EventStore, FilterSubject, LogPoint, Matcher, Notice,
    PageLimit, ReadAll, ReadError, ReadStream, StreamMetadata, StreamPoint, SubscribeAll, SubscribeError,
    SubscribeStream, Subscription,
};
use serde_json::{Map, Value};

use super::peer::{Expected, Followed, Kept, New, Peer, Seen, Told, Way, Wrong};

/// Small pages, so that more than one is read.
const PAGE: PageLimit = PageLimit::events(4);

impl From<AppendError> for Wrong {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::WrongExpectedRevision { current, .. } => Self::Revision(current.map(Revision::get)),
            AppendError::StreamDeleted { .. } => Self::Deleted,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<ReadError> for Wrong {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::StreamNotFound { .. } => Self::NotFound,
            ReadError::StreamDeleted { .. } => Self::Deleted,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<SubscribeError> for Wrong {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::StreamDeleted { .. } => Self::Deleted,
            SubscribeError::Read(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

fn expected_revision(expected: Expected) -> ExpectedRevision {
    match expected {
        Expected::Any => ExpectedRevision::Any,
        Expected::NoStream => ExpectedRevision::NoStream,
        Expected::Exists => ExpectedRevision::StreamExists,
        Expected::At(revision) => ExpectedRevision::Exact(Revision::new(revision)),
    }
}

fn name(stream: &str) -> StreamName {
    StreamName::new(stream).expect("the name is valid")
}

fn filter(kept: &Kept) -> EventFilter {
    match kept {
        Kept::Streams(prefix) => EventFilter::Where(FilterSubject::Stream, Matcher::Prefixes(vec![prefix.clone()])),
        Kept::Types(prefix) => EventFilter::Where(FilterSubject::EventType, Matcher::Prefixes(vec![prefix.clone()])),
        Kept::StreamsLike(expression) => {
            EventFilter::Where(FilterSubject::Stream, Matcher::regex(expression).expect("it is an expression"))
        }
    }
}

fn seen(event: &RecordedEvent) -> Seen {
    Seen {
        stream: event.stream().to_owned(),
        revision: event.revision().get(),
        position: (event.position().commit(), event.position().prepare()),
        id: event.id(),
        event_type: event.event_type().to_owned(),
        is_json: event.content_type() == ContentType::Json,
        data: event.data_slice().to_vec(),
        metadata: event.metadata_slice().to_vec(),
        created_s: event.created().unix_millis() / 1000,
    }
}

/// A subscription and what it handed out that was not looked at yet.
pub(super) struct OurFollowed {
    subscription: Box<dyn Subscription>,
    waiting: VecDeque<Seen>,
}

impl From<Box<dyn Subscription>> for OurFollowed {
    fn from(subscription: Box<dyn Subscription>) -> Self {
        Self { subscription, waiting: VecDeque::new() }
    }
}

impl Followed for OurFollowed {
    async fn next(&mut self) -> Told<Option<Seen>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            match self.subscription.next().await? {
                Notice::Events(events) => self.waiting.extend(events.iter().map(seen)),
                Notice::CaughtUp { .. } => return Ok(None),
                Notice::Checkpoint(_) => {}
            }
        }
    }
}

impl Peer for RemoteStore {
    type Followed = OurFollowed;

    async fn append(&self, stream: &str, expected: Expected, events: &[New]) -> Told<(u64, u64)> {
        let event = |new: &New| ProposedEvent {
            id: new.id,
            event_type: new.event_type.clone(),
            content_type: if new.is_json { ContentType::Json } else { ContentType::Bytes },
            data: new.data.clone().into(),
            metadata: new.metadata.clone().into(),
        };
        let request = AppendRequest {
            stream: name(stream),
            expected: expected_revision(expected),
            events: events.iter().map(event).collect(),
        };
        let done = EventStore::append(self, request).await?;
        let told = done.last_revision.map(Revision::get).zip(done.position.map(|position| position.commit()));
        Ok(told.expect("an append with events tells where they are"))
    }

    async fn delete(&self, stream: &str, expected: Expected) -> Told<()> {
        Ok(EventStore::delete(self, &name(stream), expected_revision(expected)).await.map(drop)?)
    }

    async fn tombstone(&self, stream: &str, expected: Expected) -> Told<()> {
        Ok(EventStore::tombstone(self, &name(stream), expected_revision(expected)).await.map(drop)?)
    }

    async fn set_metadata(&self, stream: &str, expected: Expected, metadata: &Map<String, Value>) -> Told<()> {
        let metadata = StreamMetadata::new(metadata.clone());
        Ok(EventStore::set_metadata(self, &name(stream), expected_revision(expected), metadata).await.map(drop)?)
    }

    async fn metadata(&self, stream: &str) -> Told<Map<String, Value>> {
        Ok(EventStore::metadata(self, &name(stream)).await?.0.as_object().clone())
    }

    async fn read(&self, stream: &str, way: Way, count: usize) -> Told<Vec<Seen>> {
        let at = |revision: u64| StreamPoint::At(Revision::new(revision));
        let (direction, mut from) = match way {
            Way::Forward(from) => (Direction::Forward, from.map_or(StreamPoint::Start, at)),
            Way::Backward(from) => (Direction::Backward, from.map_or(StreamPoint::End, at)),
        };
        let mut events = Vec::new();
        loop {
            let limit = PageLimit::events(PAGE.events.min(count - events.len()));
            let page = self.read_stream(ReadStream { stream: name(stream), direction, from, limit }).await?;
            events.extend(page.events.iter().map(seen));
            match page.next.filter(|_| events.len() < count) {
                Some(next) => from = StreamPoint::At(next),
                None => return Ok(events),
            }
        }
    }

    async fn read_all(&self, forward: bool, kept: &Kept) -> Told<Vec<Seen>> {
        let (direction, mut from) =
            if forward { (Direction::Forward, LogPoint::Start) } else { (Direction::Backward, LogPoint::End) };
        let mut events = Vec::new();
        loop {
            let read = ReadAll { direction, from, limit: PAGE, filter: filter(kept) };
            let page = EventStore::read_all(self, read).await?;
            events.extend(page.events.iter().map(seen));
            if page.at_end {
                return Ok(events);
            }
            from = page.next;
        }
    }

    async fn follow(&self, stream: &str, behind: Option<u64>) -> Told<OurFollowed> {
        let from = behind.map_or(StreamPoint::Start, |revision| StreamPoint::At(Revision::new(revision)));
        Ok(self.subscribe_stream(SubscribeStream { stream: name(stream), from, limit: PAGE }).await?.into())
    }

    async fn follow_all(&self, kept: &Kept) -> Told<OurFollowed> {
        let (from, filter) = (LogPoint::Start, filter(kept));
        let subscribe = SubscribeAll { from, filter, limit: PAGE, checkpoint_every: 32 };
        Ok(self.subscribe_all(subscribe).await?.into())
    }
}
