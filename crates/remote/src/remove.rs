//! Owns deleting and tombstoning: each can be said again, so an answer that was lost is asked for once more.

use forebay_event::{ExpectedRevision, Position, Revision, StreamName};
use forebay_store::{
    AppendError, Direction, EventFilter, FilterSubject, LogPoint, Matcher, PageLimit, ReadAll, TOMBSTONE_TYPE,
};
use forebay_wire::event_store::client::Empty;
use forebay_wire::event_store::client::streams::delete_req::options::ExpectedStreamRevision as DeleteExpected;
use forebay_wire::event_store::client::streams::tombstone_req::options::ExpectedStreamRevision as TombstoneExpected;
use forebay_wire::event_store::client::streams::{
    DeleteReq, TombstoneReq, delete_req, delete_resp, tombstone_req, tombstone_resp,
};
use tonic::{Code, Status};

use crate::append::unreadable;
use crate::failure::{Failure, exception, trailer};
use crate::port::Inner;
use crate::read::{self, in_time};
use crate::small::identifier;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Hides the events; a later append goes on.
    Delete,
    /// Ends the stream for good.
    Tombstone,
}

/// Removes a stream; answers the position of the event that says so.
pub(crate) async fn remove(
    inner: &Inner,
    removal: Removal,
    stream: &StreamName,
    expected: ExpectedRevision,
) -> Result<Position, AppendError> {
    let mut attempts = inner.attempts();
    let mut is_in_doubt = false;
    loop {
        let failure = match attempts.bound(attempt(inner, removal, stream, expected)).await {
            Ok(Some(position)) => return Ok(position),
            Ok(None) => return Err(AppendError::Unavailable { reason: "the removal has no position".to_owned() }),
            Err(failure) => failure,
        };
        if let Failure::Refused(status) = &failure
            && is_in_doubt
            && exception(status) == Some("stream-deleted")
        {
            // The attempt without an answer was made.
            return made(inner, removal, stream).await;
        }
        is_in_doubt |= failure.leaves_doubt();
        attempts.pause_after(failure).await.map_err(|failure| refusal(failure, stream, expected))?;
    }
}

async fn attempt(
    inner: &Inner,
    removal: Removal,
    stream: &StreamName,
    expected: ExpectedRevision,
) -> Result<Option<Position>, Failure> {
    let (session, _permit) = inner.leader.session().await?;
    let mut client = inner.streams(&session.connection);
    let limit = inner.deadline();
    let answered = match removal {
        Removal::Delete => {
            let mut call = inner.to_leader(delete_request(stream, expected));
            call.set_timeout(limit);
            in_time(limit, client.delete(call)).await.map(|answer| match answer.into_inner().position_option {
                Some(delete_resp::PositionOption::Position(at)) => Some((at.commit_position, at.prepare_position)),
                Some(delete_resp::PositionOption::NoPosition(_)) | None => None,
            })
        }
        Removal::Tombstone => {
            let mut call = inner.to_leader(tombstone_request(stream, expected));
            call.set_timeout(limit);
            in_time(limit, client.tombstone(call)).await.map(|answer| match answer.into_inner().position_option {
                Some(tombstone_resp::PositionOption::Position(at)) => Some((at.commit_position, at.prepare_position)),
                Some(tombstone_resp::PositionOption::NoPosition(_)) | None => None,
            })
        }
    };
    let position = answered.inspect_err(|failure| inner.leader.complain(&session, failure))?;
    Ok(position.map(|(commit, prepare)| Position::from_parts(commit, prepare)))
}

fn delete_request(stream: &StreamName, expected: ExpectedRevision) -> DeleteReq {
    let expected = match expected {
        ExpectedRevision::Any => DeleteExpected::Any(Empty {}),
        ExpectedRevision::NoStream => DeleteExpected::NoStream(Empty {}),
        ExpectedRevision::StreamExists => DeleteExpected::StreamExists(Empty {}),
        ExpectedRevision::Exact(revision) => DeleteExpected::Revision(revision.get()),
    };
    let stream_identifier = Some(identifier(stream));
    DeleteReq { options: Some(delete_req::Options { stream_identifier, expected_stream_revision: Some(expected) }) }
}

fn tombstone_request(stream: &StreamName, expected: ExpectedRevision) -> TombstoneReq {
    let expected = match expected {
        ExpectedRevision::Any => TombstoneExpected::Any(Empty {}),
        ExpectedRevision::NoStream => TombstoneExpected::NoStream(Empty {}),
        ExpectedRevision::StreamExists => TombstoneExpected::StreamExists(Empty {}),
        ExpectedRevision::Exact(revision) => TombstoneExpected::Revision(revision.get()),
    };
    let stream_identifier = Some(identifier(stream));
    TombstoneReq {
        options: Some(tombstone_req::Options { stream_identifier, expected_stream_revision: Some(expected) }),
    }
}

/// The position of the event that removed the stream: its tombstone, or the newest metadata.
async fn made(inner: &Inner, removal: Removal, stream: &StreamName) -> Result<Position, AppendError> {
    let name = match removal {
        Removal::Delete => stream.metadata_stream(),
        Removal::Tombstone => stream.clone(),
    };
    let prefix = Matcher::Prefixes(vec![name.as_str().to_owned()]);
    let filter = EventFilter::Where(FilterSubject::Stream, prefix);
    let (direction, mut from, limit) = (Direction::Backward, LogPoint::End, PageLimit::events(16));
    loop {
        let read = ReadAll { direction, from, limit, filter: filter.clone() };
        let page = read::log_page(inner, &read).await.map_err(unreadable)?;
        let fits = |event: &&forebay_event::RecordedEvent| {
            let is_wanted = removal == Removal::Delete || event.event_type() == TOMBSTONE_TYPE;
            event.stream() == name.as_str() && is_wanted
        };
        if let Some(event) = page.events.iter().find(fits) {
            return Ok(event.position());
        }
        if page.at_end {
            return Err(AppendError::StreamDeleted { stream: stream.clone() });
        }
        from = page.next;
    }
}

fn refusal(failure: Failure, stream: &StreamName, expected: ExpectedRevision) -> AppendError {
    let stream = stream.clone();
    let Failure::Refused(status) = failure else {
        return AppendError::Unavailable { reason: failure.reason() };
    };
    match exception(&status) {
        Some("stream-deleted") => AppendError::StreamDeleted { stream },
        Some("wrong-expected-version") => {
            AppendError::WrongExpectedRevision { stream, expected, current: actual(&status) }
        }
        _ if status.code() == Code::InvalidArgument => {
            tracing::warn!(%stream, reason = status.message(), "the store refuses to remove a stream");
            AppendError::Invalid { reason: "the store takes no such removal; the log says why" }
        }
        _ => AppendError::Unavailable { reason: Failure::Refused(status).reason() },
    }
}

/// Where the stream is; a negative number says that it has no events.
fn actual(status: &Status) -> Option<Revision> {
    trailer(status, "actual-version")?.parse().ok().map(Revision::new)
}
