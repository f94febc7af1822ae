//! Owns tests of the lot that no pipeline shows: stored forms, large records and counts.

use std::sync::Arc;

use bytes::Bytes;
use forebay_connector::{Failure, FailureClass};
use forebay_event::{ExpectedRevision, ProposedEvent, Record, Reshape, StreamName, SystemClock};
use forebay_store::{AppendRequest, EventStore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::stored::PART;
use super::{LotSite, Opened, ParkError, ParkingLot, ToPark, last_count};
use crate::pipeline::key::{Key, Keying};
use crate::pipeline::testing::{MemoryStore, event};
use crate::settings::ParkingSettings;

const STREAM: &str = "$connectors/c/parked";

fn site(store: &Arc<MemoryStore>, epoch: u64) -> LotSite {
    LotSite {
        store: Arc::clone(store) as Arc<dyn EventStore>,
        clock: Arc::new(SystemClock::new()),
        connector_id: Arc::from("c"),
        epoch,
        numbers_base: 0,
        keying: Keying::Stream,
        stream: StreamName::new(STREAM).unwrap(),
        limits: ParkingSettings { bytes_max: 8 << 20, ..ParkingSettings::default() },
        metrics: None,
        fenced: CancellationToken::new(),
        redact: Arc::new(|text| text.replace("hunter2", "***")),
    }
}

async fn open(store: &Arc<MemoryStore>, epoch: u64) -> Opened {
    ParkingLot::open(site(store, epoch), None, false).await.unwrap().unwrap()
}

fn refused() -> Failure {
    Failure::reject(FailureClass::Status(422), "no, hunter2").with_excerpt(b"because of hunter2")
}

#[tokio::test]
async fn what_is_parked_is_found_again_with_its_key_and_without_secrets() {
    let store = MemoryStore::new();
    let opened = open(&store, 3).await;
    assert!(opened.keys.is_empty());
    let reshape = Reshape { data: Some(Bytes::from_static(b"[1]")), ..Reshape::default() };
    let record = Record::of(event("order-1", "Placed", "{}", r#"{"k":"v"}"#)).reshaped(reshape);
    let parked = ToPark { record: &record, failure: Some(&refused()), attempts: 2 };
    opened.lot.park(parked).await.unwrap();
    opened.lot.park(parked).await.unwrap();
    let again = open(&store, 4).await;
    let key = Key::of("order-1");
    assert!(again.keys.contains(&key) && again.known.contains(key, record.event().position()));
    again.lot.park(parked).await.unwrap();
    assert_eq!(again.lot.records_of(key).await, 1);
    let first = again.lot.first(key, 9, 9).await;
    let (read, is_untransformed) = again.lot.records(&first).await.unwrap().pop().unwrap();
    assert_eq!((read.data_slice(), is_untransformed), (&b"[1]"[..], false));
    assert_eq!(read.event().metadata_slice(), br#"{"k":"v"}"#);
    assert!(store.events(STREAM).iter().all(|event| !String::from_utf8_lossy(event.data_slice()).contains("hunter2")));
}

#[tokio::test]
async fn a_record_as_large_as_the_log_takes_is_parked_in_parts() {
    let store = MemoryStore::new();
    let opened = open(&store, 1).await;
    let (large, key) = ("x".repeat(1 << 20), Key::of("s-1"));
    let record = Record::of(event("s-1", "T", &large, ""));
    opened.lot.park(ToPark { record: &record, failure: Some(&refused()), attempts: 1 }).await.unwrap();
    let small = Record::of(event("s-2", "T", "{}", ""));
    opened.lot.park(ToPark { record: &small, failure: None, attempts: 0 }).await.unwrap();
    let edit = "y".repeat(2 << 20);
    let number = opened.lot.first(key, 1, 1).await[0].number.get();
    assert!(opened.lot.edited(key, number, (edit.as_bytes(), "why")).await.unwrap());
    for event in store.events(STREAM) {
        assert!(event.data_slice().len() <= 256 << 10, "{}", event.data_slice().len());
    }
    let counted = opened.lot.index().await.count();
    assert!(counted.bytes > 3 << 20, "what was edited counts: {counted:?}");
    // A crash in the middle of the parts of another one leaves nothing that counts.
    let part = store.events(STREAM).into_iter().find(|event| event.event_type() == PART).unwrap();
    let orphan = ProposedEvent { metadata: part.metadata(), ..ProposedEvent::json(Uuid::nil(), PART, part.data()) };
    let (stream, expected) = (StreamName::new(STREAM).unwrap(), ExpectedRevision::Any);
    store.append(AppendRequest { stream: stream.clone(), expected, events: vec![orphan] }).await.unwrap();
    assert_eq!(last_count(&*store, &stream).await.unwrap().records, 0, "before its record was counted");
    let again = open(&store, 2).await;
    assert_eq!(again.lot.index().await.count(), counted);
    let first = again.lot.first(key, 1, 1).await;
    let (read, _) = again.lot.records(&first).await.unwrap().pop().unwrap();
    assert_eq!(read.data_slice(), edit.as_bytes());
    // The bound on bytes holds for edits too.
    let over = "z".repeat(7 << 20);
    let error = again.lot.edited(key, number, (over.as_bytes(), "why")).await.unwrap_err();
    assert!(matches!(error, ParkError::FullOfBytes { .. }), "{error}");
    assert!(again.lot.edited(key, number, (b"{}", "smaller")).await.unwrap());
    assert!(again.lot.index().await.count().bytes < counted.bytes);
}
