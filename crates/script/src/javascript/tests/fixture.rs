//! Owns what the tests of transforms share: records, limits and ways to read an answer.

use std::time::Duration;

use bytes::Bytes;
use forebay_event::{Position, ProposedEvent, Record, RecordedEvent, Revision, StreamName, Timestamp};
use uuid::Uuid;

use super::super::{FailureKind, Transform, TransformFailure, Transformed};
use crate::limits::Limits;

pub(super) type Answer = Result<Transformed, TransformFailure>;

pub(super) fn proposed(data: impl Into<Bytes>) -> ProposedEvent {
    ProposedEvent::json(Uuid::from_u128(0x1234), "OrderPlaced", data)
}

pub(super) fn record_of(proposed: &ProposedEvent) -> Record {
    let stream = StreamName::new("order-1").unwrap();
    let created = Timestamp::from_ticks(17_637_120_000_000_001);
    Record::of(RecordedEvent::record(proposed, &stream, Revision::new(4), Position::new(42_123), created))
}

pub(super) fn record(data: impl Into<Bytes>) -> Record {
    record_of(&proposed(data))
}

pub(super) fn with_metadata(metadata: &str) -> Record {
    record_of(&ProposedEvent { metadata: Bytes::copy_from_slice(metadata.as_bytes()), ..proposed("{}") })
}

/// Generous in time: the machine that runs the tests may be busy.
pub(super) fn limits() -> Limits {
    Limits { time: Duration::from_secs(30), load_time: Duration::from_secs(30), ..Limits::default() }
}

pub(super) fn hasty() -> Limits {
    Limits { time: Duration::from_millis(200), load_time: Duration::from_secs(5), ..Limits::default() }
}

pub(super) fn start(source: &str, limits: Limits) -> Transform {
    Transform::start(source, limits).unwrap_or_else(|error| panic!("{error}: {source}"))
}

pub(super) async fn one(transform: &Transform, record: Record) -> Answer {
    let mut answers = transform.apply(vec![record]).await;
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// Runs the body of a `transform(record)` over `data`.
pub(super) async fn body(body: &str, data: &str) -> Answer {
    one(&start(&format!("function transform(record) {{ {body} }}"), limits()), record(data.to_owned())).await
}

pub(super) fn data(answer: &Answer) -> String {
    match answer {
        Ok(Transformed::Changed(record)) => {
            assert!(record.is_transformed());
            String::from_utf8(record.data().to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn changed(answer: Answer) -> Record {
    match answer {
        Ok(Transformed::Changed(record)) => record,
        other => panic!("{other:?}"),
    }
}

pub(super) fn failure(answer: Answer) -> TransformFailure {
    answer.expect_err("a failure")
}

pub(super) fn kind(answer: Answer) -> FailureKind {
    failure(answer).kind
}

pub(super) async fn body_kind(text: &str) -> FailureKind {
    kind(body(text, "{}").await)
}

/// Checks that a transform still works after whatever was done to it.
pub(super) async fn still_works(transform: &Transform) {
    assert_eq!(data(&one(transform, record(r#"{"ok":true}"#)).await), r#"{"ok":true}"#);
}
