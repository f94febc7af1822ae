//! Owns the targets about the client protocol: calls as bytes, and what their headers say.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_api::testing::{call_limit, dialled, grpc_call};
use forebay_event::{ExpectedRevision, Position, Revision, StreamName};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, EventFilter, EventStore, FilterSubject, Matcher, ReadAll, ReadError,
    ReadStream, StreamMetadata, StreamPage, SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};
use http::HeaderValue;

use super::sample::{halves, text};

/// Calls without a time limit end within this all the same, because their requests end.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// The highest code of a status.
const CODE_MAX: i32 = 16;
const METHODS: [&str; 5] = ["Read", "Append", "BatchAppend", "Delete", "Tombstone"];

/// A store that holds nothing, and looks at what it is asked.
struct Watching;

fn check(stream: &StreamName, expected: ExpectedRevision) {
    assert!(!stream.as_str().is_empty() && stream.as_str() != "$all", "nobody writes to {stream}");
    if let ExpectedRevision::Exact(revision) = expected {
        assert!(revision <= Revision::MAX);
    }
}

#[async_trait]
impl EventStore for Watching {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        check(&request.stream, request.expected);
        for event in &request.events {
            assert!(!event.id.is_nil(), "an event without an id is refused");
        }
        Ok(Appended { last_revision: None, position: None })
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        check(stream, expected);
        Ok(Position::START)
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        check(stream, expected);
        Ok(Position::START)
    }

    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError> {
        assert!(read.limit.events > 0 && read.limit.bytes > 0, "a page has bounds");
        Err(ReadError::StreamNotFound { stream: read.stream })
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError> {
        assert!(read.limit.events > 0 && read.limit.bytes > 0, "a page has bounds");
        if let EventFilter::Where(FilterSubject::Stream, Matcher::Prefixes(prefixes)) = &read.filter {
            assert!(!prefixes.is_empty(), "a filter that compares with nothing is refused");
        }
        Ok(AllPage { events: Vec::new(), next: read.from, at_end: true })
    }

    async fn subscribe_all(&self, _: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError> {
        Err(SubscribeError::Closed)
    }

    async fn subscribe_stream(&self, _: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError> {
        Err(SubscribeError::Closed)
    }

    async fn metadata(&self, _: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        Ok((StreamMetadata::default(), None))
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        _: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        check(stream, expected);
        Ok(Appended { last_revision: None, position: None })
    }

    async fn head(&self) -> Result<Option<Position>, ReadError> {
        Ok(None)
    }
}

thread_local! {
    static RUNTIME: RefCell<Option<tokio::runtime::Runtime>> = const { RefCell::new(None) };
}

/// Makes a call, and answers the status that it ends with.
fn run(method: &str, frames: &[u8]) -> i32 {
    let status = RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime.get_or_insert_with(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
        });
        runtime.block_on(async {
            let call = grpc_call(Arc::new(Watching), method, None, frames);
            tokio::time::timeout(CALL_LIMIT, call).await.expect("a call whose request has ended ends")
        })
    });
    let status = status.unwrap_or_else(|| panic!("{method} ends without a status"));
    assert!((0..=CODE_MAX).contains(&status), "{status} is no status");
    status
}

fn method(first: u8) -> &'static str {
    METHODS.get(usize::from(first) % METHODS.len()).copied().unwrap_or("Read")
}

/// A call: a byte for the method, then the frames of its request as they come over HTTP/2.
pub fn grpc_frames(bytes: &[u8]) {
    let Some((first, frames)) = bytes.split_first() else { return };
    run(method(*first), frames);
}

/// A call: a byte for the method, then the messages of its request, each behind a byte for its length; the frames around
/// them are right.
pub fn grpc_messages(bytes: &[u8]) {
    let Some((first, mut rest)) = bytes.split_first() else { return };
    let mut frames = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (message, next) = after.split_at(usize::from(*length).min(after.len()));
        frames.push(0);
        frames.extend(u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
        frames.extend(message);
        rest = next;
    }
    run(method(*first), &frames);
}

/// The time limit of a call, and after a line break its `Host`.
pub fn call_headers(bytes: &[u8]) {
    let (timeout, host) = halves(bytes);
    if let Some(limit) = call_limit(&text(timeout)) {
        assert!(limit <= Duration::from_secs(365 * 24 * 3600), "{limit:?} is no limit");
        assert!(timeout.len() <= 9, "eight digits and a unit");
    }
    let Ok(host) = HeaderValue::from_bytes(host) else { return };
    if let Some((name, _)) = dialled(&host) {
        assert!(!name.contains(['[', ']', '@', '/']), "{name} is no host");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has no meaning is refused early, and a corpus of it would show little.
    #[test]
    fn the_seeds_are_calls_that_mean_something() {
        for (seed, expected) in [
            (&include_bytes!("../../../../fuzz/corpus/grpc_frames/seed-append")[..], 0),
            (include_bytes!("../../../../fuzz/corpus/grpc_frames/seed-batch"), 0),
            (include_bytes!("../../../../fuzz/corpus/grpc_frames/seed-read-stream"), 0),
            (include_bytes!("../../../../fuzz/corpus/grpc_frames/seed-read-all"), 0),
            (include_bytes!("../../../../fuzz/corpus/grpc_frames/seed-subscribe"), 14),
            (include_bytes!("../../../../fuzz/corpus/grpc_frames/seed-delete"), 0),
            (include_bytes!("../../../../fuzz/corpus/grpc_frames/seed-tombstone"), 0),
        ] {
            assert_eq!(run(method(seed[0]), &seed[1..]), expected, "{}", method(seed[0]));
        }
    }
}
