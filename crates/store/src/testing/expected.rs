//! Cases of the condition on an append: every state of a stream against every expected revision.

use forebay_event::{ExpectedRevision, StreamName};

use super::subject::{ANY, Bench, Case, case, event, exact, some_events};
use crate::{AppendError, StreamMetadata};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("never written", |bench| Box::pin(never_written(bench))),
        case("only metadata", |bench| Box::pin(only_metadata(bench))),
        case("has events", |bench| Box::pin(has_events(bench))),
        case("soft deleted", |bench| Box::pin(soft_deleted(bench))),
        case("tombstoned", |bench| Box::pin(tombstoned(bench))),
        case("empty append", |bench| Box::pin(empty_append(bench))),
        case("several events are one append", |bench| Box::pin(several_events(bench))),
        case("events that no store takes", |bench| Box::pin(invalid(bench))),
    ]
}

use ExpectedRevision::{NoStream, StreamExists};

const OK: Outcome = Outcome::Ok;
const DELETED: Outcome = Outcome::Deleted;

/// What an append of one new event is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    Wrong(Option<u64>),
    Deleted,
}

async fn outcome(bench: &Bench, stream: &StreamName, expected: ExpectedRevision) -> Outcome {
    match bench.append(stream, expected, some_events(1)).await {
        Ok(_) => Outcome::Ok,
        Err(AppendError::WrongExpectedRevision { current, .. }) => Outcome::Wrong(current.map(|current| current.get())),
        Err(AppendError::StreamDeleted { .. }) => Outcome::Deleted,
        Err(other) => panic!("an append to {stream} fails otherwise: {other}"),
    }
}

async fn never_written(bench: &mut Bench) {
    let rows = [
        (ANY, OK),
        (NoStream, OK),
        (StreamExists, Outcome::Wrong(None)),
        (exact(0), Outcome::Wrong(None)),
        (exact(7), Outcome::Wrong(None)),
    ];
    for (expected, answer) in rows {
        let stream = bench.fresh_stream();
        assert_eq!(outcome(bench, &stream, expected).await, answer, "never written, {expected}");
        if answer == OK {
            assert_eq!(bench.visible(&stream).await, [0], "the first revision is 0");
        }
    }
}

async fn only_metadata(bench: &mut Bench) {
    let rows = [(ANY, OK), (NoStream, OK), (StreamExists, OK), (exact(0), Outcome::Wrong(None))];
    for (expected, answer) in rows {
        let stream = bench.fresh_stream();
        bench
            .store()
            .set_metadata(&stream, ANY, StreamMetadata::default().with_max_count(5))
            .await
            .expect("metadata of a stream without events can be set");
        assert_eq!(outcome(bench, &stream, expected).await, answer, "only metadata, {expected}");
    }
}

async fn has_events(bench: &mut Bench) {
    let rows = [
        (ANY, OK),
        (NoStream, Outcome::Wrong(Some(2))),
        (StreamExists, OK),
        (exact(2), OK),
        (exact(1), Outcome::Wrong(Some(2))),
        (exact(0), Outcome::Wrong(Some(2))),
        (exact(3), Outcome::Wrong(Some(2))),
    ];
    for (expected, answer) in rows {
        let (stream, _) = bench.stream_of(3).await;
        assert_eq!(outcome(bench, &stream, expected).await, answer, "three events, {expected}");
        let written = if answer == OK { vec![0, 1, 2, 3] } else { vec![0, 1, 2] };
        assert_eq!(bench.visible(&stream).await, written, "three events, {expected}");
    }
}

async fn soft_deleted(bench: &mut Bench) {
    let rows = [
        (ANY, OK),
        (NoStream, OK),
        (StreamExists, DELETED),
        (exact(2), OK),
        (exact(1), Outcome::Wrong(Some(2))),
        (exact(3), Outcome::Wrong(Some(2))),
    ];
    for (expected, answer) in rows {
        let (stream, _) = bench.stream_of(3).await;
        bench.store().delete(&stream, ANY).await.expect("a stream with events can be deleted");
        assert_eq!(outcome(bench, &stream, expected).await, answer, "soft-deleted, {expected}");
        if answer == OK {
            assert_eq!(bench.visible(&stream).await, [3], "numbering goes on, old events stay hidden");
        }
    }
}

async fn tombstoned(bench: &mut Bench) {
    for expected in [ANY, NoStream, StreamExists, exact(2), exact(0)] {
        let (stream, _) = bench.stream_of(3).await;
        bench.store().tombstone(&stream, ANY).await.expect("a stream with events can be tombstoned");
        assert_eq!(outcome(bench, &stream, expected).await, DELETED, "tombstoned, {expected}");
    }
}

async fn empty_append(bench: &mut Bench) {
    let stream = bench.fresh_stream();
    let appended = bench.append(&stream, NoStream, Vec::new()).await.expect("the condition holds");
    assert_eq!((appended.last_revision, appended.position), (None, None));

    let (stream, _) = bench.stream_of(2).await;
    let appended = bench.append(&stream, exact(1), Vec::new()).await.expect("the condition holds");
    assert_eq!(appended.last_revision.map(|last| last.get()), Some(1));
    for expected in [exact(0), exact(5), NoStream] {
        let refused = bench.append(&stream, expected, Vec::new()).await;
        assert!(matches!(refused, Err(AppendError::WrongExpectedRevision { .. })), "empty append at {expected}");
    }
    assert_eq!(bench.visible(&stream).await, [0, 1]);
}

async fn several_events(bench: &mut Bench) {
    let before = bench.head().await;
    let (stream, events) = bench.stream_of(4).await;
    let stored = bench.all_behind(before, &super::subject::only(&stream)).await;
    assert_eq!(stored.len(), 4);
    assert!(stored.is_sorted_by(|a, b| a.position() < b.position()), "positions rise strictly");
    let ids: Vec<_> = stored.iter().map(|event| event.id()).collect();
    assert_eq!(ids, events.iter().map(|event| event.id).collect::<Vec<_>>());
    let appended = bench.append(&stream, exact(3), some_events(2)).await.expect("the revision is right");
    assert_eq!(appended.last_revision.map(|last| last.get()), Some(5));
    let last = bench.all_behind(before, &super::subject::only(&stream)).await;
    assert_eq!(last.last().map(|event| event.position()), appended.position, "the position is the last event's");
}

async fn invalid(bench: &mut Bench) {
    let stream = bench.fresh_stream();
    let untyped = bench.append(&stream, ANY, vec![event("")]).await;
    assert!(matches!(untyped, Err(AppendError::Invalid { .. })), "an event has a type");
    let all = StreamName::new("$all").expect("the name is not empty");
    assert!(matches!(bench.append(&all, ANY, some_events(1)).await, Err(AppendError::Invalid { .. })));
}
