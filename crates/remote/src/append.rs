//! Owns appending: one append, made once, whatever becomes of connections on the way.
//!
//! ```text
//!  attempt ─▶ answered ─▶ done
//!     ▲  └──▶ no answer: it may have been made
//!     │          expected exactly ─▶ again: the server answers a repeated append as the first time
//!     └───────── expected loosely ─▶ looked for by its ids ─▶ found: done
//!                                                          └▶ not found: again, behind what was looked at
//! ```
//!
//! A server remembers ids of loosely expected appends for a while only, and forgets them when it is restarted. So after an
//! attempt without an answer the stream's end is read; what is not there is appended behind exactly that end, which no
//! late first attempt can make true twice.

use std::collections::HashMap;

use forebay_event::{ExpectedRevision, Position, ProposedEvent, RecordedEvent, Revision};
use forebay_store::{AppendError, AppendRequest, Appended, Direction, PageLimit, ReadError, ReadStream, StreamPoint};
use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::streams::append_req::options::ExpectedStreamRevision;
use forebay_wire::event_store::client::streams::append_req::{Content, Options, ProposedMessage};
use forebay_wire::event_store::client::streams::append_resp::success::{CurrentRevisionOption, PositionOption};
use forebay_wire::event_store::client::streams::append_resp::wrong_expected_version::{
    CurrentRevisionOption as WrongCurrent, CurrentRevisionOption2060 as LegacyCurrent,
};
use forebay_wire::event_store::client::streams::append_resp::{Result as Outcome, Success, WrongExpectedVersion};
use forebay_wire::event_store::client::streams::{AppendReq, AppendResp};
use futures_util::stream;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::failure::{Failure, exception, trailer};
use crate::port::Inner;
use crate::read::{Unread, in_time, try_stream_page};
use crate::small::{identifier, write_id};

/// An append without an answer is looked for among so many of the stream's last events, in pages.
const SEARCHED_MAX: usize = 4096;
const SEARCH_PAGE: PageLimit = PageLimit { events: 512, bytes: 4 << 20 };
/// Nobody writes to the log as a whole.
const ALL: &str = "$all";

/// What an attempt was answered with.
enum Answer {
    Appended(Appended),
    Wrong { current: Option<Revision> },
}

/// Appends events to one stream, all or none, exactly once.
pub(crate) async fn append(inner: &Inner, request: AppendRequest) -> Result<Appended, AppendError> {
    check(&request)?;
    let is_loose = matches!(request.expected, ExpectedRevision::Any | ExpectedRevision::StreamExists);
    let mut attempts = inner.attempts();
    let mut expected = request.expected;
    let mut is_in_doubt = false;
    loop {
        let failure = match attempts.bound(attempt(inner, &request, expected)).await {
            Ok(Answer::Appended(appended)) => return Ok(appended),
            Ok(Answer::Wrong { current }) if expected == request.expected => {
                return Err(AppendError::WrongExpectedRevision { stream: request.stream, expected, current });
            }
            // Others have appended since the stream's end was read: it is read again.
            Ok(Answer::Wrong { .. }) => Failure::NotNow { reason: "others append to the stream".to_owned() },
            Err(failure) => {
                is_in_doubt |= failure.leaves_doubt();
                failure
            }
        };
        pause(&mut attempts, failure, &request, is_in_doubt).await?;
        while is_in_doubt && is_loose && !request.events.is_empty() {
            match attempts.bound(search(inner, &request)).await {
                Ok(Search::Found(appended)) => return Ok(appended),
                Ok(Search::Absent { last }) => {
                    expected = last.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
                    break;
                }
                // What the stream is like, the append itself is told.
                Ok(Search::Nowhere) => {
                    expected = request.expected;
                    break;
                }
                Err(failure) => pause(&mut attempts, failure, &request, is_in_doubt).await?,
            }
        }
    }
}

async fn pause(
    attempts: &mut crate::backoff::Attempts,
    failure: Failure,
    request: &AppendRequest,
    is_in_doubt: bool,
) -> Result<(), AppendError> {
    attempts.pause_after(failure).await.map_err(|failure| refusal(failure, request, is_in_doubt))
}

async fn attempt(inner: &Inner, request: &AppendRequest, expected: ExpectedRevision) -> Result<Answer, Failure> {
    let (session, _permit) = inner.leader.session().await?;
    let options = Content::Options(Options {
        stream_identifier: Some(identifier(&request.stream)),
        expected_stream_revision: Some(wire_expected(expected)),
    });
    let events = request.events.clone().into_iter().map(|event| Content::ProposedMessage(proposed(event)));
    let messages = std::iter::once(options).chain(events).map(|content| AppendReq { content: Some(content) });
    let mut call = inner.to_leader(stream::iter(messages));
    call.set_timeout(inner.deadline());
    let answered = in_time(inner.deadline(), inner.streams(&session.connection).append(call)).await;
    let answer = answered.inspect_err(|failure| inner.leader.complain(&session, failure))?;
    read_answer(answer.into_inner())
}

fn proposed(event: ProposedEvent) -> ProposedMessage {
    let properties = [("type", event.event_type), ("content-type", event.content_type.media_type().to_owned())];
    ProposedMessage {
        id: Some(write_id(event.id)),
        metadata: HashMap::from(properties.map(|(name, value)| (name.to_owned(), value))),
        custom_metadata: event.metadata,
        data: event.data,
    }
}

fn wire_expected(expected: ExpectedRevision) -> ExpectedStreamRevision {
    match expected {
        ExpectedRevision::Any => ExpectedStreamRevision::Any(Empty {}),
        ExpectedRevision::NoStream => ExpectedStreamRevision::NoStream(Empty {}),
        ExpectedRevision::StreamExists => ExpectedStreamRevision::StreamExists(Empty {}),
        ExpectedRevision::Exact(revision) => ExpectedStreamRevision::Revision(revision.get()),
    }
}

fn read_answer(answer: AppendResp) -> Result<Answer, Failure> {
    match answer.result {
        Some(Outcome::Success(Success { current_revision_option, position_option })) => {
            let last_revision = match current_revision_option {
                Some(CurrentRevisionOption::CurrentRevision(revision)) => Some(Revision::new(revision)),
                Some(CurrentRevisionOption::NoStream(_)) | None => None,
            };
            let position = match position_option {
                Some(PositionOption::Position(at)) => {
                    Some(Position::from_parts(at.commit_position, at.prepare_position))
                }
                Some(PositionOption::NoPosition(_)) | None => None,
            };
            Ok(Answer::Appended(Appended { last_revision, position }))
        }
        Some(Outcome::WrongExpectedVersion(wrong)) => Ok(Answer::Wrong { current: current(&wrong) }),
        None => Err(Failure::Refused(Status::internal("the answer to an append is empty"))),
    }
}

fn current(wrong: &WrongExpectedVersion) -> Option<Revision> {
    match (&wrong.current_revision_option, &wrong.current_revision_option_20_6_0) {
        (Some(WrongCurrent::CurrentRevision(revision)), _) => Some(Revision::new(*revision)),
        (Some(WrongCurrent::CurrentNoStream(_)), _) => None,
        (None, Some(LegacyCurrent::CurrentRevision2060(revision))) => Some(Revision::new(*revision)),
        (None, Some(LegacyCurrent::NoStream2060(_)) | None) => None,
    }
}

/// What looking for an append found.
enum Search {
    /// It was made.
    Found(Appended),
    /// It was not made as far as was looked at, and this is where the stream ends.
    Absent { last: Option<Revision> },
    /// The stream cannot be read, for a reason that another append is told as well.
    Nowhere,
}

/// Looks for the events of an append among the last of its stream.
async fn search(inner: &Inner, request: &AppendRequest) -> Result<Search, Failure> {
    let mut newest_first: Vec<RecordedEvent> = Vec::new();
    let mut from = StreamPoint::End;
    let mut last = None;
    loop {
        let (direction, limit) = (Direction::Backward, SEARCH_PAGE);
        let read = ReadStream { stream: request.stream.clone(), direction, from, limit };
        let page = match try_stream_page(inner, &read).await {
            Ok(page) => page,
            Err(Unread::NotFound) => return Ok(Search::Absent { last: None }),
            Err(Unread::Failed(failure)) if failure.may_pass() => return Err(failure),
            Err(_) => return Ok(Search::Nowhere),
        };
        // Fixed by the first page: what comes behind it while reading makes the append that follows fail.
        last = last.or(Some(page.last_revision));
        newest_first.extend(page.events);
        if let Some(appended) = found(&newest_first, &request.events) {
            return Ok(Search::Found(appended));
        }
        match page.next {
            Some(next) if newest_first.len() < SEARCHED_MAX + request.events.len() => from = StreamPoint::At(next),
            _ => return Ok(Search::Absent { last }),
        }
    }
}

/// Where all of these events stand one behind the other, if they do.
fn found(newest_first: &[RecordedEvent], events: &[ProposedEvent]) -> Option<Appended> {
    let ids: Vec<Uuid> = events.iter().rev().map(|event| event.id).collect();
    let all =
        newest_first.windows(ids.len()).find(|stored| stored.iter().map(RecordedEvent::id).eq(ids.iter().copied()));
    let last = all?.first()?;
    Some(Appended { last_revision: Some(last.revision()), position: Some(last.position()) })
}

fn check(request: &AppendRequest) -> Result<(), AppendError> {
    if request.stream.as_str() == ALL {
        return Err(AppendError::Invalid { reason: "the stream $all cannot be written" });
    }
    for event in &request.events {
        if event.event_type.is_empty() {
            return Err(AppendError::Invalid { reason: "an event has no type" });
        }
        if event.id.is_nil() {
            return Err(AppendError::Invalid { reason: "an event has no id" });
        }
    }
    Ok(())
}

/// What a failed append is answered with.
fn refusal(failure: Failure, request: &AppendRequest, is_in_doubt: bool) -> AppendError {
    let Failure::Refused(status) = failure else {
        let reason = failure.reason();
        let doubt =
            if is_in_doubt { "; whether the append was made is not known, and repeating it is safe" } else { "" };
        return AppendError::Unavailable { reason: format!("{reason}{doubt}") };
    };
    let size = || request.events.iter().map(ProposedEvent::size).sum();
    match exception(&status) {
        Some("stream-deleted") => AppendError::StreamDeleted { stream: request.stream.clone() },
        Some("maximum-append-size-exceeded") => {
            AppendError::AppendTooLarge { size: size(), limit: number(&status, "maximum-append-size") }
        }
        Some("maximum-append-event-size-exceeded") => {
            let id = trailer(&status, "event-id").and_then(|id| Uuid::parse_str(id).ok()).unwrap_or_default();
            let size = number(&status, "proposed-append-event-size");
            AppendError::EventTooLarge { id, size, limit: number(&status, "maximum-append-event-size") }
        }
        _ if status.code() == Code::InvalidArgument => {
            tracing::warn!(stream = %request.stream, reason = status.message(), "the store refuses an append");
            AppendError::Invalid { reason: "the store takes no such append; the log says why" }
        }
        _ => AppendError::Unavailable { reason: Failure::Refused(status).reason() },
    }
}

fn number(status: &Status, key: &str) -> usize {
    trailer(status, key).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// An error of a read as one of a write that had to read first.
pub(crate) fn unreadable(error: ReadError) -> AppendError {
    match error {
        ReadError::StreamDeleted { stream } | ReadError::StreamNotFound { stream } => {
            AppendError::StreamDeleted { stream }
        }
        error => AppendError::Unavailable { reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::{StreamName, Timestamp};

    fn stored(ids: &[u128]) -> Vec<RecordedEvent> {
        let stream = StreamName::new("s").unwrap();
        let record = |(index, id): (usize, &u128)| {
            let event = ProposedEvent::json(Uuid::from_u128(*id), "T", "{}");
            let (revision, position) = (Revision::new(index as u64), Position::new(index as u64 + 10));
            RecordedEvent::record(&event, &stream, revision, position, Timestamp::default())
        };
        ids.iter().enumerate().map(record).rev().collect()
    }

    #[test]
    fn an_append_is_found_only_whole_and_in_order() {
        let events: Vec<_> = [3, 4].map(|id| ProposedEvent::json(Uuid::from_u128(id), "T", "{}")).to_vec();
        let appended = found(&stored(&[1, 3, 4, 5]), &events).unwrap();
        assert_eq!((appended.last_revision, appended.position), (Some(Revision::new(2)), Some(Position::new(12))));
        for others in [&[1, 3, 5][..], &[4, 3], &[4], &[], &[3, 9, 4]] {
            assert_eq!(found(&stored(others), &events), None, "{others:?}");
        }
    }
}
