//! Owns the answers of the log to the store port.

use std::sync::Arc;

use async_trait::async_trait;
use forebay_event::{ExpectedRevision, Position, ProposedEvent, Revision, StreamName};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, Direction, EventStore, LogPoint, METADATA_TYPE, ReadAll, ReadError,
    ReadStream, StreamMetadata, StreamPage, StreamPoint, SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};
use uuid::Uuid;

use crate::open::EmbeddedLog;
use crate::options::{LogLimits, STREAM_NAME_LEN_MAX};
use crate::plan::Write;
use crate::reader::{Scan, StreamScan, scan_backward, scan_forward, scan_stream};
use crate::shared::Shared;
use crate::states::{StreamState, Visible};
use crate::subscription::{AllSubscription, StreamSubscription};

#[async_trait]
impl EventStore for EmbeddedLog {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        check_append(&request, self.shared().limits)?;
        self.writer().write(Write::Append(request)).await
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        check_name(stream)?;
        placed(self.writer().write(Write::Delete(stream.clone(), expected)).await?)
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        check_name(stream)?;
        placed(self.writer().write(Write::Tombstone(stream.clone(), expected)).await?)
    }

    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError> {
        let shared = Arc::clone(self.shared());
        off_thread(move || read_stream(&shared, &read)).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError> {
        let shared = Arc::clone(self.shared());
        off_thread(move || read_all(&shared, &read)).await
    }

    async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError> {
        Ok(Box::new(AllSubscription::open(Arc::clone(self.shared()), subscribe)?))
    }

    async fn subscribe_stream(&self, subscribe: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError> {
        Ok(Box::new(StreamSubscription::open(Arc::clone(self.shared()), subscribe).await?))
    }

    async fn metadata(&self, stream: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        let shared = Arc::clone(self.shared());
        let stream = stream.clone();
        off_thread(move || {
            let (state, _) = shared.with_engine(|engine| shared.state(engine, &stream))?;
            if state.is_tombstoned() {
                return Err(ReadError::StreamDeleted { stream: stream.metadata_stream() });
            }
            Ok(state.metadata.map_or_else(Default::default, |said| {
                (said.metadata.as_ref().clone(), Some(Revision::new(said.revision)))
            }))
        })
        .await
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        let event = ProposedEvent::json(Uuid::new_v4(), METADATA_TYPE, metadata.to_data());
        self.append(AppendRequest { stream: stream.metadata_stream(), expected, events: vec![event] }).await
    }

    async fn head(&self) -> Result<Option<Position>, ReadError> {
        self.shared().with_engine(|_| Ok(Some(self.shared().head()).filter(|head| *head > 0).map(Position::new)))
    }
}

/// Runs blocking work on a thread that may block.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ReadError::Unavailable { reason: "the process is shutting down".to_owned() }),
    }
}

fn check_name(stream: &StreamName) -> Result<(), AppendError> {
    match stream.as_str() {
        "$all" => Err(AppendError::Invalid { reason: "the stream $all cannot be written" }),
        name if name.len() > STREAM_NAME_LEN_MAX => {
            Err(AppendError::Invalid { reason: "the stream's name is longer than 32 KiB" })
        }
        _ => Ok(()),
    }
}

fn check_append(request: &AppendRequest, limits: LogLimits) -> Result<(), AppendError> {
    check_name(&request.stream)?;
    let mut size = 0_usize;
    for event in &request.events {
        if event.event_type.is_empty() {
            return Err(AppendError::Invalid { reason: "an event has no type" });
        }
        if event.id.is_nil() {
            return Err(AppendError::Invalid { reason: "an event has no id" });
        }
        let event_size = event.size();
        if event_size > limits.event_size_max {
            return Err(AppendError::EventTooLarge { id: event.id, size: event_size, limit: limits.event_size_max });
        }
        size += event_size;
    }
    if size > limits.append_size_max {
        return Err(AppendError::AppendTooLarge { size, limit: limits.append_size_max });
    }
    Ok(())
}

fn placed(appended: Appended) -> Result<Position, AppendError> {
    appended.position.ok_or_else(|| AppendError::Unavailable { reason: "the write has no position".to_owned() })
}

fn read_all(shared: &Shared, read: &ReadAll) -> Result<AllPage, ReadError> {
    let head = shared.head();
    let mut scan = Scan { from: 0, head, filter: &read.filter, limit: read.limit, unmatched_max: usize::MAX };
    match read.direction {
        Direction::Forward => {
            scan.from = match read.from {
                LogPoint::Start => 1,
                LogPoint::End => head + 1,
                LogPoint::At(position) => position.commit().max(1),
            };
            let page = scan_forward(shared, &scan)?;
            let at_end = page.next > head;
            Ok(AllPage { events: page.events, next: LogPoint::At(Position::new(page.next)), at_end })
        }
        Direction::Backward => {
            scan.from = match read.from {
                LogPoint::Start => 0,
                LogPoint::End => head,
                LogPoint::At(position) => position.commit().saturating_sub(1),
            };
            let page = scan_backward(shared, &scan)?;
            // A backward read leaves out the position it begins at, so that is the last one examined.
            let next = LogPoint::At(Position::new(page.next + 1));
            Ok(AllPage { events: page.events, next, at_end: page.next == 0 })
        }
    }
}

fn read_stream(shared: &Shared, read: &ReadStream) -> Result<StreamPage, ReadError> {
    shared.with_engine(|engine| {
        let (state, head) = shared.state(engine, &read.stream)?;
        let last = last_readable(shared, engine, read, &state)?;
        let visible = Visible::of(&read.stream, &state, shared.clock.now());
        let first = visible.first;
        let is_upward = read.direction == Direction::Forward;
        let (from, to) = match (read.direction, read.from) {
            (Direction::Forward, StreamPoint::Start) => (0, last),
            (Direction::Forward, StreamPoint::End) => (last + 1, last),
            (Direction::Forward, StreamPoint::At(revision)) => (revision.get(), last),
            (Direction::Backward, StreamPoint::Start) => (0, first),
            (Direction::Backward, StreamPoint::End) => (0, last),
            (Direction::Backward, StreamPoint::At(revision)) => (0, revision.get().min(last)),
        };
        let scan = StreamScan { stream: &read.stream, from, to, head, visible, limit: read.limit };
        let page = scan_stream(shared, engine, &scan, is_upward)?;
        let next = page
            .examined
            .filter(|_| !page.is_complete)
            .and_then(|examined| if is_upward { Some(examined + 1) } else { examined.checked_sub(1) });
        Ok(StreamPage { events: page.events, next: next.map(Revision::new), last_revision: Revision::new(last) })
    })
}

/// The last revision of a stream that can be read.
fn last_readable(
    shared: &Shared,
    engine: &crate::engine::Engine,
    read: &ReadStream,
    state: &StreamState,
) -> Result<u64, ReadError> {
    let stream = || read.stream.clone();
    let described = match read.stream.described_stream() {
        Some(described) => Some(shared.state(engine, &described)?.0),
        None => None,
    };
    if state.is_tombstoned() || described.is_some_and(|described| described.is_tombstoned()) {
        return Err(ReadError::StreamDeleted { stream: stream() });
    }
    match state.last {
        Some(last) if !state.is_soft_deleted() => Ok(last.revision),
        _ => Err(ReadError::StreamNotFound { stream: stream() }),
    }
}
