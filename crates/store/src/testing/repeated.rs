//! Cases of repeated appends: the same event ids again, under every kind of condition, also after a restart.

use forebay_event::ExpectedRevision;

use super::subject::{ANY, Bench, Case, case, event, exact, only, some_events};
use crate::AppendError;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("repeated append answers as the first time", |bench| Box::pin(repeated(bench, false))),
        case("repeated append after a restart", |bench| Box::pin(repeated(bench, true))),
        case("old and new together", |bench| Box::pin(mixed(bench))),
        case("same id elsewhere and twice", |bench| Box::pin(same_id(bench))),
        case("repeated at the same time", |bench| Box::pin(at_the_same_time(bench))),
    ]
}

async fn repeated(bench: &mut Bench, restarts: bool) {
    let before = bench.head().await;
    let stream = bench.fresh_stream();
    let first = some_events(3);
    let then = some_events(2);
    let answer = bench.append(&stream, ExpectedRevision::NoStream, first.clone()).await.expect("it is new");
    let later = bench.append(&stream, exact(2), then.clone()).await.expect("the revision is right");
    if restarts && !bench.subject.reopen().await {
        return;
    }
    for expected in [ANY, ExpectedRevision::StreamExists, ExpectedRevision::NoStream] {
        let again = bench.append(&stream, expected, first.clone()).await.expect("it was made before");
        assert_eq!(again, answer, "repeated at {expected}");
    }
    for expected in [ANY, ExpectedRevision::StreamExists, exact(2)] {
        let again = bench.append(&stream, expected, then.clone()).await.expect("it was made before");
        assert_eq!(again, later, "repeated at {expected}");
    }
    let part = bench.append(&stream, exact(0), first[1..].to_vec()).await.expect("it was made before");
    assert_eq!(part, answer);
    assert_eq!(bench.all_behind(before, &only(&stream)).await.len(), 5, "nothing is written twice");
}

async fn mixed(bench: &mut Bench) {
    let (stream, stored) = bench.stream_of(2).await;
    let old_then_new = vec![stored[1].clone(), event("New")];
    for expected in [ANY, ExpectedRevision::StreamExists, exact(0)] {
        let refused = bench.append(&stream, expected, old_then_new.clone()).await;
        assert!(matches!(refused, Err(AppendError::WrongExpectedRevision { .. })), "old, then new, at {expected}");
    }
    let other_order = bench.append(&stream, ExpectedRevision::NoStream, vec![stored[1].clone()]).await;
    assert!(matches!(other_order, Err(AppendError::WrongExpectedRevision { .. })));
    assert_eq!(bench.visible(&stream).await, [0, 1]);
}

async fn same_id(bench: &mut Bench) {
    let (_, events) = bench.stream_of(1).await;
    let other = bench.fresh_stream();
    bench.append(&other, ANY, events.clone()).await.expect("ids count within their stream");
    assert_eq!(bench.visible(&other).await, [0]);
    let twice = bench.fresh_stream();
    let one = event("Twice");
    bench.append(&twice, ANY, vec![one.clone(), one]).await.expect("the same id twice in one append is taken");
    assert_eq!(bench.visible(&twice).await, [0, 1]);
}

async fn at_the_same_time(bench: &mut Bench) {
    let stream = bench.fresh_stream();
    let events = some_events(3);
    let appends = (0..8).map(|_| {
        let store = bench.store();
        let request = crate::AppendRequest {
            stream: stream.clone(),
            expected: ExpectedRevision::NoStream,
            events: events.clone(),
        };
        tokio::spawn(async move { store.append(request).await })
    });
    let appends: Vec<_> = appends.collect();
    let mut answers = Vec::new();
    for append in appends {
        answers.push(append.await.expect("it does not panic").expect("one is new, the others repeat it"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "all are answered alike");
    assert_eq!(bench.visible(&stream).await, [0, 1, 2]);
}
