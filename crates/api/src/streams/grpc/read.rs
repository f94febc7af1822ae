//! Owns reads that end: page by page, the next one only when the last has left.

use std::vec;

use forebay_access::Refused;
use forebay_event::{RecordedEvent, Revision, StreamName};
use forebay_store::{Direction, EventFilter, LogPoint, PageLimit, ReadAll, ReadError, ReadStream, StreamPoint};
use forebay_wire::event_store::client::streams::ReadResp;
use tonic::Status;

use super::names::IdForm;
use super::recorded;
use super::request::{ReadRequest, Target};
use super::service::{CallBounds, HAND_OUT};
use crate::status::grpc::{of_read, of_refused};
use crate::streams::links;

/// The first page of a read spans so many revisions, as clients of the protocol have it.
const FIRST_PAGE_EVENTS: u64 = 32;

/// Where the next page comes from.
enum Source {
    Stream { stream: StreamName, from: Option<StreamPoint> },
    All { filter: EventFilter, from: Option<LogPoint> },
}

/// A read on its way to one client.
pub(super) struct Reader {
    bounds: CallBounds,
    source: Source,
    direction: Direction,
    form: IdForm,
    resolve_links: bool,
    /// The first event's revision, when the page that was asked for lies before it; for callers that want it told.
    first: Option<Revision>,
    /// The stream's last revision, likewise.
    last: Option<Revision>,
    tells_last: bool,
    /// How many events are still wanted.
    left: u64,
    events: vec::IntoIter<RecordedEvent>,
    ended: bool,
}

/// What a read begins with.
pub(super) enum Begun {
    /// Events follow.
    Events(Box<Reader>),
    /// There is no such stream.
    NoStream(StreamName),
}

impl Reader {
    /// Reads the first page, so that a refusal is an answer of its own.
    pub(super) async fn begin(
        bounds: CallBounds,
        request: ReadRequest,
        (direction, count): (Direction, u64),
    ) -> Result<Begun, Status> {
        let ReadRequest { target, form, resolve_links, tells_last, .. } = request;
        let source = match target {
            Target::Stream { stream, from } => Source::Stream { stream, from: Some(from) },
            Target::All { from, filter } => {
                let filter = filter.map_or(EventFilter::All, |filter| filter.filter);
                Source::All { filter, from: Some(from) }
            }
        };
        let events = Vec::new().into_iter();
        let (first, last, left, ended) = (None, None, count, false);
        let asked = forward_from(&source, direction);
        let mut reader =
            Self { bounds, source, direction, form, resolve_links, first, last, tells_last, left, events, ended };
        match reader.turn().await {
            Ok(()) => {
                reader.first = asked.and_then(|asked| reader.behind_first_page(asked, count));
                Ok(Begun::Events(Box::new(reader)))
            }
            Err(Refused::Failed(ReadError::StreamNotFound { stream })) => Ok(Begun::NoStream(stream)),
            Err(refused) => Err(of_refused(refused, of_read)),
        }
    }

    /// The next message; none when the read is finished.
    pub(super) async fn next(mut self: Box<Self>) -> Option<(Result<ReadResp, Status>, Box<Self>)> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(first) = self.first.take().filter(|_| self.tells_last) {
                return Some((Ok(recorded::first_revision(first)), self));
            }
            if let Some(event) = self.take() {
                let message = self.message(&event).await;
                self.ended = message.is_err();
                return Some((message, self));
            }
            if self.left == 0 || self.is_exhausted() {
                self.ended = true;
                let last = self.last.filter(|_| self.tells_last)?;
                return Some((Ok(recorded::last_revision(last)), self));
            }
            if let Err(status) = self.turn_within_bounds().await {
                self.ended = true;
                return Some((Err(status), self));
            }
        }
    }

    /// The first event's revision, when it lies behind the page that was asked for.
    fn behind_first_page(&self, asked: Revision, count: u64) -> Option<Revision> {
        let first = self.events.as_slice().first()?.revision();
        (first.get() >= asked.get().saturating_add(count.min(FIRST_PAGE_EVENTS))).then_some(first)
    }

    fn take(&mut self) -> Option<RecordedEvent> {
        let left = self.left.checked_sub(1)?;
        let event = self.events.next()?;
        self.left = left;
        Some(event)
    }

    fn is_exhausted(&self) -> bool {
        match &self.source {
            Source::Stream { from, .. } => from.is_none(),
            Source::All { from, .. } => from.is_none(),
        }
    }

    async fn message(&self, event: &RecordedEvent) -> Result<ReadResp, Status> {
        if !self.resolve_links || !links::is_link(event) {
            return Ok(recorded::event(event, self.form));
        }
        let target = links::target(self.bounds.store(), event).await.map_err(|refused| of_refused(refused, of_read))?;
        Ok(recorded::resolved(event, target.as_ref(), self.form))
    }

    async fn turn_within_bounds(&mut self) -> Result<(), Status> {
        let bounds = self.bounds.clone();
        tokio::select! {
            biased;
            status = bounds.passed() => Err(status),
            turned = self.turn() => match turned {
                // Deleted while it was read: what was there has been answered.
                Ok(()) | Err(Refused::Failed(ReadError::StreamNotFound { .. })) => Ok(()),
                Err(refused) => Err(of_refused(refused, of_read)),
            },
        }
    }

    /// Reads the next page.
    async fn turn(&mut self) -> Result<(), Refused<ReadError>> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).clamp(1, HAND_OUT.events);
        let limit = PageLimit { events: wanted, ..HAND_OUT };
        let (store, direction) = (self.bounds.store(), self.direction);
        let events = match &mut self.source {
            Source::Stream { stream, from } => {
                let Some(point) = from.take() else { return Ok(()) };
                let page =
                    store.read_stream(ReadStream { stream: stream.clone(), direction, from: point, limit }).await?;
                *from = page.next.map(StreamPoint::At);
                self.last = Some(page.last_revision);
                page.events
            }
            Source::All { filter, from } => {
                let Some(point) = from.take() else { return Ok(()) };
                let page = store.read_all(ReadAll { direction, from: point, limit, filter: filter.clone() }).await?;
                *from = (!page.at_end).then_some(page.next);
                page.events
            }
        };
        self.events = events.into_iter();
        Ok(())
    }
}

/// Where a forward read of a stream was to begin.
fn forward_from(source: &Source, direction: Direction) -> Option<Revision> {
    match (source, direction) {
        (Source::Stream { from: Some(StreamPoint::Start), .. }, Direction::Forward) => Some(Revision::FIRST),
        (Source::Stream { from: Some(StreamPoint::At(revision)), .. }, Direction::Forward) => Some(*revision),
        _ => None,
    }
}
