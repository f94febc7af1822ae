//! Cases of stream metadata: what it hides, what it keeps, what it never touches.

use forebay_event::{ExpectedRevision, Revision};
use serde_json::json;

use super::subject::{ANY, Bench, Case, at, case, exact, only, revisions, some_events};
use crate::{AppendError, Direction, METADATA_TYPE, ReadError, StreamMetadata, StreamPoint};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("metadata of a stream without any", |bench| Box::pin(none(bench))),
        case("metadata is kept verbatim", |bench| Box::pin(verbatim(bench))),
        case("metadata revisions", |bench| Box::pin(revisions_of_metadata(bench))),
        case("max count hides", |bench| Box::pin(max_count(bench))),
        case("truncate before hides", |bench| Box::pin(truncate_before(bench))),
        case("max age hides", |bench| Box::pin(max_age(bench))),
        case("nothing is hidden in the whole log", |bench| Box::pin(whole_log(bench))),
        case("metadata stream shows its last event", |bench| Box::pin(metadata_stream(bench))),
        case("metadata that is not an object", |bench| Box::pin(not_an_object(bench))),
        case("metadata alone makes no stream", |bench| Box::pin(alone(bench))),
    ]
}

async fn none(bench: &mut Bench) {
    let (metadata, revision) = bench.store().metadata(&bench.fresh_stream()).await.expect("it is empty");
    assert_eq!((metadata, revision), (StreamMetadata::default(), None));
}

async fn verbatim(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(1).await;
    let object =
        json!({"$acl": {"$r": ["$admins", "ops"]}, "$maxCount": 12, "$cacheControl": 9, "own": {"k": [1, null]}});
    let metadata = StreamMetadata::new(object.as_object().cloned().unwrap_or_default());
    bench.store().set_metadata(&stream, ExpectedRevision::NoStream, metadata.clone()).await.expect("it is the first");
    assert_eq!(bench.store().metadata(&stream).await.expect("it was set"), (metadata, Some(Revision::FIRST)));
}

async fn revisions_of_metadata(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(1).await;
    let store = bench.store();
    let set = |expected, count| {
        let (store, stream) = (store.clone(), stream.clone());
        async move { store.set_metadata(&stream, expected, StreamMetadata::default().with_max_count(count)).await }
    };
    assert_eq!(set(ANY, 1).await.expect("any").last_revision, Some(Revision::FIRST));
    assert!(matches!(set(exact(4), 2).await, Err(AppendError::WrongExpectedRevision { .. })));
    assert_eq!(set(exact(0), 3).await.expect("the revision is right").last_revision, Some(Revision::new(1)));
    let (metadata, revision) = store.metadata(&stream).await.expect("it was set");
    assert_eq!((metadata.max_count(), revision), (Some(3), Some(Revision::new(1))));
}

async fn max_count(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(5).await;
    set(bench, &stream, StreamMetadata::default().with_max_count(2)).await;
    assert_eq!(bench.visible(&stream).await, [3, 4]);
    bench.add(&stream, 1).await;
    assert_eq!(bench.visible(&stream).await, [4, 5]);
    set(bench, &stream, StreamMetadata::default().with_max_count(4)).await;
    assert_eq!(bench.visible(&stream).await, [2, 3, 4, 5]);
}

async fn truncate_before(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(5).await;
    set(bench, &stream, StreamMetadata::default().with_truncate_before(Revision::new(3))).await;
    assert_eq!(bench.visible(&stream).await, [3, 4]);
    let below = bench.page(&stream, Direction::Backward, at(1), 10).await;
    assert_eq!((revisions(&below.events), below.next), (vec![], None), "nothing is below the first visible event");
    let back = bench.page(&stream, Direction::Backward, StreamPoint::End, 10).await;
    assert_eq!((revisions(&back.events), back.next), (vec![4, 3], None));
    let both = StreamMetadata::default().with_truncate_before(Revision::new(3)).with_max_count(1);
    set(bench, &stream, both).await;
    assert_eq!(bench.visible(&stream).await, [4]);
    set(bench, &stream, StreamMetadata::default().with_truncate_before(Revision::new(9))).await;
    assert_eq!(bench.visible(&stream).await, [0; 0], "all are hidden, the stream is there");
}

async fn max_age(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(2).await;
    let half_an_hour = json!({"$maxAge": 1800}).as_object().cloned().unwrap_or_default();
    set(bench, &stream, StreamMetadata::new(half_an_hour)).await;
    assert_eq!(bench.visible(&stream).await, [0, 1]);
    if !bench.subject.pass_an_hour().await {
        return;
    }
    bench.add(&stream, 1).await;
    assert_eq!(bench.visible(&stream).await, [2]);
}

async fn whole_log(bench: &mut Bench) {
    let before = bench.head().await;
    let (stream, _) = bench.stream_of(4).await;
    set(bench, &stream, StreamMetadata::default().with_max_count(1)).await;
    let events = bench.all_behind(before, &only(&stream)).await;
    assert_eq!(revisions(&events), [0, 1, 2, 3]);
}

async fn metadata_stream(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(1).await;
    for count in 1..4 {
        set(bench, &stream, StreamMetadata::default().with_max_count(count)).await;
    }
    let page = bench.page(&stream.metadata_stream(), Direction::Forward, StreamPoint::Start, 10).await;
    assert_eq!(revisions(&page.events), [2]);
    assert_eq!(page.events[0].event_type(), METADATA_TYPE);
}

async fn not_an_object(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(2).await;
    set(bench, &stream, StreamMetadata::default().with_max_count(1)).await;
    let odd = forebay_event::ProposedEvent::json(uuid::Uuid::new_v4(), METADATA_TYPE, "not json");
    bench.append(&stream.metadata_stream(), ANY, vec![odd]).await.expect("data is not looked at");
    assert_eq!(bench.visible(&stream).await, [0, 1], "it counts as empty");
}

async fn alone(bench: &mut Bench) {
    let stream = bench.fresh_stream();
    set(bench, &stream, StreamMetadata::default().with_max_count(1)).await;
    assert!(matches!(bench.unreadable(&stream).await, ReadError::StreamNotFound { .. }));
    bench.append(&stream, ANY, some_events(1)).await.expect("the stream takes events");
    assert_eq!(bench.visible(&stream).await, [0]);
}

async fn set(bench: &Bench, stream: &forebay_event::StreamName, metadata: StreamMetadata) {
    bench.store().set_metadata(stream, ANY, metadata).await.expect("metadata can be set");
}
