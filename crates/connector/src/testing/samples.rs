//! Owns records and batches for tests.

use std::sync::Arc;

use bytes::Bytes;
use forebay_event::{ContentType, Position, ProposedEvent, Record, RecordedEvent, Revision, StreamName, Timestamp};
use uuid::Uuid;

use crate::{Batch, Epoch, Lane, SinkContext};

/// The time at which samples were recorded: 2025-11-21T08:00:00.0000001Z.
pub const SAMPLE_TIME: Timestamp = Timestamp::from_ticks(17_637_120_000_000_001);

/// The context of a connector called `sample`.
pub fn sample_context() -> SinkContext {
    SinkContext { connector_id: Arc::from("sample"), ignore_system_headers: true }
}

/// A JSON record of `order-{number % 3}` at position `100 + number`, whose revision is `number / 3`.
pub fn sample_record(number: u64) -> Record {
    sample_record_of(number, ContentType::Json, Bytes::from(format!("{{\"number\":{number}}}")))
}

/// The same with other data.
///
/// # Panics
/// Never: the stream's name is not empty.
pub fn sample_record_of(number: u64, content_type: ContentType, data: Bytes) -> Record {
    let proposed = ProposedEvent {
        id: Uuid::from_u128(0x0f0e_0000_0000_4000_8000_0000_0000_0000 + u128::from(number)),
        event_type: "OrderPlaced".to_owned(),
        content_type,
        data,
        metadata: Bytes::from_static(b"{\"tenant\":\"north\",\"$correlationId\":\"c1\"}"),
    };
    let stream = StreamName::new(&format!("order-{}", number % 3)).expect("the name is not empty");
    let (revision, position) = (Revision::new(number / 3), Position::new(100 + number));
    Record::of(RecordedEvent::record(&proposed, &stream, revision, position, SAMPLE_TIME))
}

/// A batch of sample records with these numbers, which are given in order.
///
/// # Panics
/// When there are no numbers.
pub fn sample_batch(numbers: impl IntoIterator<Item = u64>) -> Batch {
    batch_of(numbers.into_iter().map(sample_record).collect())
}

/// A batch of these records.
///
/// # Panics
/// When there are no records.
pub fn batch_of(records: Vec<Record>) -> Batch {
    Batch::new(Lane(0), Epoch(1), SAMPLE_TIME, records).expect("a batch has records")
}
