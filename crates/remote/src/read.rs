//! Owns reads that end: pages of a stream and of the whole log, metadata, and where the log ends.
//!
//! A position is sent as a server gave it. Where the next page begins is told as a position just behind an event; it is
//! asked for as that event's, which then comes again and is passed over.

use std::time::Duration;

use forebay_event::{Position, RecordedEvent, Revision, StreamName};
use forebay_store::{
    AllPage, Direction, EventFilter, LogPoint, PageLimit, ReadAll, ReadError, ReadStream, StreamMetadata, StreamPage,
    StreamPoint,
};
use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::streams::read_req::Options;
use forebay_wire::event_store::client::streams::read_req::options::all_options::AllOption;
use forebay_wire::event_store::client::streams::read_req::options::stream_options::RevisionOption;
use forebay_wire::event_store::client::streams::read_req::options::uuid_option::Content as UuidContent;
use forebay_wire::event_store::client::streams::read_req::options::{
    AllOptions, ControlOption, CountOption, FilterOption, Position as WirePosition, ReadDirection, StreamOption,
    StreamOptions, UuidOption,
};
use forebay_wire::event_store::client::streams::read_resp::Content;
use forebay_wire::event_store::client::streams::{ReadReq, ReadResp};
use tonic::Status;

use crate::failure::{Failure, exception};
use crate::filter;
use crate::link::Session;
use crate::port::Inner;
use crate::recorded::{self, Unreadable};
use crate::small::identifier;

/// A page has at most so many events and bytes, whatever is asked for.
const PAGE_EVENTS_MAX: usize = 10_000;
const PAGE_SIZE_MAX: usize = 64 << 20;
/// A filtered read says nothing while nothing matches; it may be silent for so long.
const SCAN_SILENCE_MAX: Duration = Duration::from_secs(600);
/// Asks the server to tell where a stream ends.
const TELLS_LAST: ControlOption = ControlOption { compatibility: 1 };

/// Why an attempt at a read has no page.
pub(crate) enum Unread {
    /// The call failed.
    Failed(Failure),
    /// There is no such stream.
    NotFound,
    /// What came cannot be read.
    Unreadable(Unreadable),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Unread {
    /// The error of a read of this stream; the whole log has no name.
    pub(crate) fn error(self, stream: Option<&StreamName>) -> ReadError {
        match (self, stream) {
            (Self::Failed(Failure::Refused(status)), Some(stream)) if exception(&status) == Some("stream-deleted") => {
                ReadError::StreamDeleted { stream: stream.clone() }
            }
            (Self::Failed(failure), _) => ReadError::Unavailable { reason: failure.reason() },
            (Self::NotFound, Some(stream)) => ReadError::StreamNotFound { stream: stream.clone() },
            (Self::NotFound, None) => ReadError::Unavailable { reason: "the node knows of no log".to_owned() },
            (Self::Unreadable(Unreadable::NoPositions), _) => {
                ReadError::Unavailable { reason: Unreadable::NoPositions.to_string() }
            }
            (Self::Unreadable(error @ Unreadable::Malformed { .. }), stream) => {
                let place = stream.map_or_else(|| "the log".to_owned(), |stream| format!("stream {stream}"));
                ReadError::Damaged { place, reason: error.to_string() }
            }
        }
    }
}

/// Reads one page of a stream.
pub(crate) async fn stream_page(inner: &Inner, read: &ReadStream) -> Result<StreamPage, ReadError> {
    let mut attempts = inner.attempts();
    loop {
        match attempts.bound(try_stream_page(inner, read)).await {
            Err(Unread::Failed(failure)) => {
                attempts
                    .pause_after(failure)
                    .await
                    .map_err(|failure| Unread::Failed(failure).error(Some(&read.stream)))?;
            }
            other => return other.map_err(|unread| unread.error(Some(&read.stream))),
        }
    }
}

/// One attempt at a page of a stream.
pub(crate) async fn try_stream_page(inner: &Inner, read: &ReadStream) -> Result<StreamPage, Unread> {
    // Backward from the beginning is the first visible event alone, wherever the numbering begins.
    let only_first = read.direction == Direction::Backward && read.from == StreamPoint::Start;
    let (direction, events_max) =
        if only_first { (Direction::Forward, 1) } else { (read.direction, read.limit.events) };
    let limit = bounded(PageLimit { events: events_max, ..read.limit });
    let mut page = Page::new(limit, &EventFilter::All, None);
    let options = stream_options(&read.stream, direction, read.from, limit.events);
    page.fill(inner, options, inner.deadline()).await?;
    let last = match page.told_last {
        Some(last) => last,
        None => last_revision(inner, &read.stream).await?,
    };
    let next = page.events.last().filter(|_| page.is_full() && !only_first).and_then(|event| match direction {
        Direction::Forward => (event.revision() < last).then(|| event.revision().next()),
        Direction::Backward => event.revision().get().checked_sub(1).map(Revision::new),
    });
    Ok(StreamPage { events: page.events, next, last_revision: last })
}

/// The last revision of a stream whose server does not tell it beside a page.
async fn last_revision(inner: &Inner, stream: &StreamName) -> Result<Revision, Unread> {
    let mut page = Page::new(PageLimit::events(1), &EventFilter::All, None);
    let options = stream_options(stream, Direction::Backward, StreamPoint::End, 1);
    page.fill(inner, options, inner.deadline()).await?;
    let last = page.told_last.or_else(|| page.events.last().map(RecordedEvent::revision));
    // The stream is there, and its metadata hides all of it.
    Ok(last.unwrap_or(Revision::FIRST))
}

/// Reads one page of the whole log.
pub(crate) async fn log_page(inner: &Inner, read: &ReadAll) -> Result<AllPage, ReadError> {
    let mut attempts = inner.attempts();
    loop {
        let attempt = try_log_page(inner, read);
        // A filtered read may take its time to find something.
        let page = if read.filter.is_all() { attempts.bound(attempt).await } else { attempt.await };
        match page {
            Err(Unread::Failed(failure)) => {
                attempts.pause_after(failure).await.map_err(|failure| Unread::Failed(failure).error(None))?;
            }
            page => return page.map_err(|unread| unread.error(None)),
        }
    }
}

async fn try_log_page(inner: &Inner, read: &ReadAll) -> Result<AllPage, Unread> {
    let limit = bounded(read.limit);
    let silence = if read.filter.is_all() { inner.deadline() } else { SCAN_SILENCE_MAX.max(inner.deadline()) };
    let from = match (read.direction, read.from) {
        (Direction::Forward, LogPoint::At(position)) => Some(position),
        _ => None,
    };
    // An event that the page begins behind comes again, and is passed over.
    let count = limit.events + usize::from(from.is_some_and(is_between));
    let filter = filter::option(&read.filter, usize::MAX);
    let mut page = Page::new(limit, &read.filter, from);
    page.fill(inner, log_options(read, count, filter), silence).await?;
    let next = match (page.examined, read.direction) {
        (None, _) => read.from,
        (Some(last), Direction::Forward) => LogPoint::At(behind(last)),
        (Some(last), Direction::Backward) => LogPoint::At(last),
    };
    let at_end = page.is_complete && page.received < count;
    Ok(AllPage { events: page.events, next, at_end })
}

/// Position of the last event of the log; none when it is empty.
pub(crate) async fn head(inner: &Inner) -> Result<Option<Position>, ReadError> {
    let read = ReadAll {
        direction: Direction::Backward,
        from: LogPoint::End,
        limit: PageLimit::events(1),
        filter: EventFilter::All,
    };
    let page = log_page(inner, &read).await?;
    Ok(page.events.first().map(RecordedEvent::position))
}

/// The newest metadata of a stream and its revision.
pub(crate) async fn metadata(
    inner: &Inner,
    stream: &StreamName,
) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
    let (direction, from, limit) = (Direction::Backward, StreamPoint::End, PageLimit::events(1));
    match stream_page(inner, &ReadStream { stream: stream.metadata_stream(), direction, from, limit }).await {
        Ok(page) => Ok(page.events.first().map_or_else(Default::default, |event| {
            (StreamMetadata::from_data(event.data_slice()), Some(event.revision()))
        })),
        Err(ReadError::StreamNotFound { .. }) => Ok(Default::default()),
        Err(error) => Err(error),
    }
}

/// A page as it fills.
struct Page<'a> {
    limit: PageLimit,
    filter: &'a EventFilter,
    /// Events before this position are passed over.
    from: Option<Position>,
    events: Vec<RecordedEvent>,
    size: usize,
    /// How many events came, whatever became of them.
    received: usize,
    /// Position of the last event that was looked at.
    examined: Option<Position>,
    /// The server has said all there is.
    is_complete: bool,
    told_last: Option<Revision>,
}

impl<'a> Page<'a> {
    fn new(limit: PageLimit, filter: &'a EventFilter, from: Option<Position>) -> Self {
        let (events, size, received, examined) = (Vec::new(), 0, 0, None);
        Self { limit, filter, from, events, size, received, examined, is_complete: false, told_last: None }
    }

    fn is_full(&self) -> bool {
        self.events.len() >= self.limit.events || self.is_heavy()
    }

    fn is_heavy(&self) -> bool {
        !self.events.is_empty() && self.size >= self.limit.bytes
    }

    /// Makes the call and takes what it answers, until it ends or the page is full.
    async fn fill(&mut self, inner: &Inner, options: Options, silence: Duration) -> Result<(), Unread> {
        let (session, _permit) = inner.leader.session().await?;
        let outcome = self.fill_from(inner, &session, options, silence).await;
        if let Err(Unread::Failed(failure)) = &outcome {
            inner.leader.complain(&session, failure);
        }
        outcome
    }

    async fn fill_from(
        &mut self,
        inner: &Inner,
        session: &Session,
        options: Options,
        silence: Duration,
    ) -> Result<(), Unread> {
        let request = inner.to_leader(ReadReq { options: Some(options) });
        let mut client = inner.streams(&session.connection);
        let mut answers = in_time(silence, client.read(request)).await?.into_inner();
        // Behind a page that is full by its bytes, more events follow; behind one that is full by its count, only where
        // the stream ends.
        while !self.is_heavy() {
            match in_time(silence, answers.message()).await? {
                Some(answer) => self.take(answer)?,
                None => {
                    self.is_complete = true;
                    break;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, answer: ReadResp) -> Result<(), Unread> {
        match answer.content {
            Some(Content::Event(message)) => {
                let event = recorded::read(message).map_err(Unread::Unreadable)?;
                self.received += 1;
                if self.from.is_some_and(|from| event.position() < from) {
                    return Ok(());
                }
                self.examined = Some(event.position());
                if self.filter.matches(&event) {
                    self.size += event.size();
                    self.events.push(event);
                }
            }
            Some(Content::StreamNotFound(_)) => return Err(Unread::NotFound),
            Some(Content::LastStreamPosition(last)) => self.told_last = Some(Revision::new(last)),
            _ => {}
        }
        Ok(())
    }
}

/// Waits for a part of an answer, and not longer.
pub(crate) async fn in_time<T>(limit: Duration, part: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, part).await {
        Ok(answer) => answer.map_err(Failure::of),
        Err(_) => Err(Failure::Late { limit }),
    }
}

fn bounded(limit: PageLimit) -> PageLimit {
    PageLimit { events: limit.events.clamp(1, PAGE_EVENTS_MAX), bytes: limit.bytes.min(PAGE_SIZE_MAX) }
}

/// The least position above: where a page begins that follows an event. No server is asked for it.
fn behind(position: Position) -> Position {
    Position::from_parts(position.commit(), position.prepare().saturating_add(1))
}

/// Whether this is a position of ours, behind an event, and none that a server gave.
pub(crate) fn is_between(position: Position) -> bool {
    position.prepare() > position.commit()
}

fn stream_options(stream: &StreamName, direction: Direction, from: StreamPoint, count: usize) -> Options {
    let revision = match from {
        StreamPoint::Start => RevisionOption::Start(Empty {}),
        StreamPoint::End => RevisionOption::End(Empty {}),
        StreamPoint::At(revision) => RevisionOption::Revision(revision.get()),
    };
    Options {
        stream_option: Some(stream_target(stream, revision)),
        control_option: Some(TELLS_LAST),
        ..counted(direction, count, FilterOption::NoFilter(Empty {}))
    }
}

/// One stream, from somewhere in it.
pub(crate) fn stream_target(stream: &StreamName, from: RevisionOption) -> StreamOption {
    let stream_identifier = Some(identifier(stream));
    StreamOption::Stream(StreamOptions { stream_identifier, revision_option: Some(from) })
}

fn log_options(read: &ReadAll, count: usize, filter: FilterOption) -> Options {
    let from = match read.from {
        LogPoint::Start => AllOption::Start(Empty {}),
        LogPoint::End => AllOption::End(Empty {}),
        LogPoint::At(position) => at(position),
    };
    let all = StreamOption::All(AllOptions { all_option: Some(from) });
    Options { stream_option: Some(all), ..counted(read.direction, count, filter) }
}

/// A position as a server gave it.
pub(crate) fn at(position: Position) -> AllOption {
    let (commit, prepare) = (position.commit(), position.prepare());
    let prepare_position = if is_between(position) { commit } else { prepare };
    AllOption::Position(WirePosition { commit_position: commit, prepare_position })
}

fn counted(direction: Direction, count: usize, filter: FilterOption) -> Options {
    let direction = match direction {
        Direction::Forward => ReadDirection::Forwards,
        Direction::Backward => ReadDirection::Backwards,
    };
    Options {
        read_direction: direction.into(),
        count_option: Some(CountOption::Count(count as u64)),
        filter_option: Some(filter),
        uuid_option: Some(structured_ids()),
        ..Options::default()
    }
}

/// Ids as two numbers.
pub(crate) fn structured_ids() -> UuidOption {
    UuidOption { content: Some(UuidContent::Structured(Empty {})) }
}
