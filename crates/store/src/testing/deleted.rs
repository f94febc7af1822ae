//! Cases of deleting: softly, again, undone by an append or by metadata, and for good.

use forebay_event::{ExpectedRevision, Revision, StreamName};
use serde_json::json;

use super::subject::{ANY, Bench, Case, case, event, exact, only, revisions};
use crate::{AppendError, METADATA_TYPE, ReadError, StreamMetadata, SubscribeError, TOMBSTONE_TYPE};

use ExpectedRevision::{NoStream, StreamExists};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("delete by state and condition", |bench| Box::pin(delete_table(bench))),
        case("delete hides and keeps", |bench| Box::pin(hides(bench))),
        case("an append undeletes", |bench| Box::pin(undelete_by_append(bench))),
        case("metadata undeletes", |bench| Box::pin(undelete_by_metadata(bench))),
        case("tombstone by state and condition", |bench| Box::pin(tombstone_table(bench))),
        case("tombstone ends a stream", |bench| Box::pin(ends(bench))),
    ]
}

#[derive(Clone, Copy, Debug)]
enum State {
    NeverWritten,
    OnlyMetadata,
    TwoEvents,
    SoftDeleted,
    Tombstoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    Wrong,
    Deleted,
}

async fn stream_in(bench: &Bench, state: State) -> StreamName {
    let stream = bench.fresh_stream();
    if matches!(state, State::TwoEvents | State::SoftDeleted | State::Tombstoned) {
        bench.add(&stream, 2).await;
    }
    match state {
        State::NeverWritten | State::TwoEvents => {}
        State::OnlyMetadata => {
            let metadata = StreamMetadata::default().with_max_count(3);
            bench.store().set_metadata(&stream, ANY, metadata).await.expect("metadata can be set");
        }
        State::SoftDeleted => drop(bench.store().delete(&stream, ANY).await.expect("it can be deleted")),
        State::Tombstoned => drop(bench.store().tombstone(&stream, ANY).await.expect("it can be tombstoned")),
    }
    stream
}

fn outcome<T>(answer: &Result<T, AppendError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(AppendError::WrongExpectedRevision { .. }) => Outcome::Wrong,
        Err(AppendError::StreamDeleted { .. }) => Outcome::Deleted,
        Err(other) => panic!("it fails otherwise: {other}"),
    }
}

/// Answers to any, no stream, stream exists, revision 1 (the last one), revision 0.
fn rows() -> [(State, [Outcome; 5]); 5] {
    use Outcome::{Deleted, Ok, Wrong};
    [
        (State::NeverWritten, [Wrong, Wrong, Wrong, Wrong, Wrong]),
        (State::OnlyMetadata, [Ok, Ok, Ok, Wrong, Wrong]),
        (State::TwoEvents, [Ok, Wrong, Ok, Ok, Wrong]),
        (State::SoftDeleted, [Ok, Ok, Deleted, Ok, Wrong]),
        (State::Tombstoned, [Deleted; 5]),
    ]
}

const CONDITIONS: fn() -> [ExpectedRevision; 5] = || [ANY, NoStream, StreamExists, exact(1), exact(0)];

async fn delete_table(bench: &mut Bench) {
    for (state, answers) in rows() {
        for (expected, answer) in CONDITIONS().into_iter().zip(answers) {
            let stream = stream_in(bench, state).await;
            let found = bench.store().delete(&stream, expected).await;
            assert_eq!(outcome(&found), answer, "delete, {state:?}, {expected}");
        }
    }
}

async fn tombstone_table(bench: &mut Bench) {
    for (state, mut answers) in rows() {
        if matches!(state, State::NeverWritten) {
            answers[0] = Outcome::Ok;
            answers[1] = Outcome::Ok;
        }
        for (expected, answer) in CONDITIONS().into_iter().zip(answers) {
            let stream = stream_in(bench, state).await;
            let found = bench.store().tombstone(&stream, expected).await;
            assert_eq!(outcome(&found), answer, "tombstone, {state:?}, {expected}");
        }
    }
}

async fn hides(bench: &mut Bench) {
    let before = bench.head().await;
    let (stream, _) = bench.stream_of(3).await;
    let position = bench.store().delete(&stream, exact(2)).await.expect("the revision is right");
    assert!(matches!(bench.unreadable(&stream).await, ReadError::StreamNotFound { .. }));
    assert_eq!(revisions(&bench.all_behind(before, &only(&stream)).await), [0, 1, 2], "the events stay");
    let written = bench.all_behind(before, &only(&stream.metadata_stream())).await;
    assert_eq!((written[0].event_type(), written[0].position()), (METADATA_TYPE, position));
    let (metadata, _) = bench.store().metadata(&stream).await.expect("metadata can be read");
    assert!(metadata.is_soft_deleted());
}

async fn undelete_by_append(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(3).await;
    bench.store().delete(&stream, ANY).await.expect("it can be deleted");
    bench.add(&stream, 2).await;
    assert_eq!(bench.visible(&stream).await, [3, 4]);
    let (metadata, _) = bench.store().metadata(&stream).await.expect("metadata can be read");
    assert_eq!(metadata.truncate_before(), Some(Revision::new(3)));

    bench.store().delete(&stream, ANY).await.expect("it can be deleted again");
    assert!(matches!(bench.unreadable(&stream).await, ReadError::StreamNotFound { .. }));
    bench.add(&stream, 1).await;
    assert_eq!(bench.visible(&stream).await, [5]);
    if bench.subject.reopen().await {
        assert_eq!(bench.visible(&stream).await, [5]);
    }
}

async fn undelete_by_metadata(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(3).await;
    bench.store().delete(&stream, ANY).await.expect("it can be deleted");
    let own = StreamMetadata::new(json!({"own": 1}).as_object().cloned().unwrap_or_default());
    bench.store().set_metadata(&stream, ANY, own).await.expect("metadata can be set");
    let (metadata, _) = bench.store().metadata(&stream).await.expect("metadata can be read");
    assert_eq!(metadata.truncate_before(), Some(Revision::new(3)), "old events stay hidden");
    assert_eq!(metadata.as_object().get("own"), Some(&json!(1)), "every other key is kept");
    bench.add(&stream, 1).await;
    assert_eq!(bench.visible(&stream).await, [3]);
}

async fn ends(bench: &mut Bench) {
    let before = bench.head().await;
    let (stream, _) = bench.stream_of(2).await;
    let position = bench.store().tombstone(&stream, exact(1)).await.expect("the revision is right");
    let events = bench.all_behind(before, &only(&stream)).await;
    let last = events.last().expect("the tombstone is in the log");
    assert_eq!((last.event_type(), last.revision(), last.position()), (TOMBSTONE_TYPE, Revision::MAX, position));
    assert_eq!(events.len(), 3);

    assert!(matches!(bench.unreadable(&stream).await, ReadError::StreamDeleted { .. }));
    let metadata_stream = stream.metadata_stream();
    assert!(
        matches!(bench.store().metadata(&stream).await, Err(ReadError::StreamDeleted { stream }) if stream == metadata_stream)
    );
    bench.append(&metadata_stream, ANY, vec![event(METADATA_TYPE)]).await.expect("its metadata can be written");
    assert!(matches!(bench.unreadable(&metadata_stream).await, ReadError::StreamDeleted { .. }));
    let subscribe = crate::SubscribeStream {
        stream: stream.clone(),
        from: crate::StreamPoint::Start,
        limit: crate::PageLimit::events(10),
    };
    let refused = match bench.store().subscribe_stream(subscribe).await {
        Err(error) => Err(error),
        Ok(mut subscription) => super::subject::waited(subscription.next()).await.map(|_| ()),
    };
    assert!(matches!(refused, Err(SubscribeError::StreamDeleted { .. })));
    if bench.subject.reopen().await {
        assert!(matches!(bench.unreadable(&stream).await, ReadError::StreamDeleted { .. }));
    }
}
