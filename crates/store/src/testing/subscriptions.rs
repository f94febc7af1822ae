//! Cases of subscriptions: where they begin, what they say, how they end.

use forebay_event::{Position, Revision};

use super::subject::{ANY, Bench, Case, at, case, history, live, next, only, revisions, waited};
use crate::{EventFilter, LogPoint, Notice, PageLimit, StreamPoint, SubscribeAll, SubscribeError};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("caught up comes once after history", |bench| Box::pin(caught_up(bench))),
        case("a subscription from the end", |bench| Box::pin(from_end(bench))),
        case("a subscription begins behind its point", |bench| Box::pin(behind(bench))),
        case("a store that ends before the point", |bench| Box::pin(behind_end(bench))),
        case("checkpoints without a match", |bench| Box::pin(checkpoints(bench))),
        case("checkpoints between matches", |bench| Box::pin(checkpoints_between(bench))),
        case("no checkpoints without a filter", |bench| Box::pin(unfiltered(bench))),
        case("a stream never written", |bench| Box::pin(never_written(bench))),
        case("a stream from its points", |bench| Box::pin(stream_points(bench))),
        case("a stream deleted while subscribed", |bench| Box::pin(deleted(bench))),
        case("a stream tombstoned while subscribed", |bench| Box::pin(tombstoned(bench))),
        case("a hidden history", |bench| Box::pin(hidden(bench))),
    ]
}

async fn caught_up(bench: &mut Bench) {
    let before = bench.head().await;
    let (stream, _) = bench.stream_of(70).await;
    let head = bench.head().await;
    let mut subscription = bench.subscribe_all(LogPoint::At(before), EventFilter::All, 10).await;
    let mut seen = Vec::new();
    let caught_up = loop {
        match next(&mut subscription).await {
            Notice::Events(events) => {
                assert!(events.len() <= 50, "a hand-out keeps to its bound");
                seen.extend(events);
            }
            Notice::CaughtUp { position } => break position,
            Notice::Checkpoint(_) => panic!("there is no filter"),
        }
    };
    seen.retain(|event| event.stream() == stream.as_str());
    assert_eq!(revisions(&seen), (0..70).collect::<Vec<_>>());
    assert!(caught_up >= Some(head));
    bench.add(&stream, 3).await;
    let mut more = live(&mut subscription, 3).await;
    more.retain(|event| event.stream() == stream.as_str());
    assert_eq!(revisions(&more), [70, 71, 72]);
}

async fn from_end(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(3).await;
    let head = bench.head().await;
    let mut all = bench.subscribe_all(LogPoint::End, EventFilter::All, 10).await;
    match next(&mut all).await {
        Notice::CaughtUp { position } => assert!(position >= Some(head)),
        other => panic!("nothing comes before it has caught up: {other:?}"),
    }
    let mut one = bench.subscribe_stream(&stream, StreamPoint::End).await;
    assert!(matches!(next(&mut one).await, Notice::CaughtUp { .. }));
    bench.add(&stream, 1).await;
    assert_eq!(revisions(&live(&mut one, 1).await), [3]);
    assert_eq!(live(&mut all, 1).await[0].position(), bench.head().await);
}

async fn behind(bench: &mut Bench) {
    let before = bench.head().await;
    let (stream, _) = bench.stream_of(4).await;
    let events = bench.all_behind(before, &only(&stream)).await;
    let from = LogPoint::At(events[1].position());
    let mut subscription = bench.subscribe_all(from, only(&stream), 1000).await;
    assert_eq!(revisions(&history(&mut subscription).await), [2, 3]);
}

async fn behind_end(bench: &mut Bench) {
    bench.stream_of(1).await;
    let from = Position::new(bench.head().await.commit() + 1_000_000);
    let subscribe = SubscribeAll {
        from: LogPoint::At(from),
        filter: EventFilter::All,
        limit: PageLimit::events(10),
        checkpoint_every: 10,
    };
    let refused = match bench.store().subscribe_all(subscribe).await {
        Err(error) => Err(error),
        Ok(mut subscription) => waited(subscription.next()).await.map(|_| ()),
    };
    match refused {
        Err(SubscribeError::BehindEnd { from: named, end }) => assert!(named == from && end < from),
        other => panic!("a position that is not there yet is refused: {other:?}"),
    }
}

async fn checkpoints(bench: &mut Bench) {
    let before = bench.head().await;
    bench.stream_of(95).await;
    let head = bench.head().await;
    let nothing = only(&bench.fresh_stream());
    let mut subscription = bench.subscribe_all(LogPoint::At(before), nothing, 10).await;
    let mut told = vec![before];
    loop {
        match next(&mut subscription).await {
            Notice::Checkpoint(position) => {
                let last = told[told.len() - 1];
                assert!(position > last, "checkpoints rise strictly");
                told.push(position);
            }
            Notice::CaughtUp { position } => {
                assert_eq!(position, told.last().copied(), "the last checkpoint is where it has caught up");
                break;
            }
            Notice::Events(_) => panic!("nothing matches"),
        }
    }
    assert!(told.len() > 9, "at the latest after ten events that do not match");
    assert!(told[told.len() - 1] >= head);
    bench.stream_of(20).await;
    match next(&mut subscription).await {
        Notice::Checkpoint(position) => assert!(position > head && position <= bench.head().await),
        other => panic!("a checkpoint is due in the live part too: {other:?}"),
    }
}

async fn checkpoints_between(bench: &mut Bench) {
    let before = bench.head().await;
    let wanted = bench.fresh_stream();
    let mut matching = Vec::new();
    for _ in 0..5 {
        bench.stream_of(7).await;
        matching.push(bench.add(&wanted, 1).await);
    }
    let mut subscription = bench.subscribe_all(LogPoint::At(before), only(&wanted), 3).await;
    let mut seen = Vec::new();
    let mut told = before;
    loop {
        match next(&mut subscription).await {
            Notice::Checkpoint(position) => {
                assert!(position > told, "checkpoints rise");
                let overtaken = matching.iter().filter(|event| **event <= position).count();
                assert_eq!(overtaken, seen.len(), "a checkpoint never overtakes an event");
                told = position;
            }
            Notice::Events(events) => {
                for event in events {
                    assert!(event.position() > told, "an event never comes behind its checkpoint");
                    seen.push(event.position());
                }
            }
            Notice::CaughtUp { .. } => break,
        }
    }
    assert_eq!(seen, matching);
}

async fn unfiltered(bench: &mut Bench) {
    let before = bench.head().await;
    bench.stream_of(30).await;
    let mut subscription = bench.subscribe_all(LogPoint::At(before), EventFilter::All, 1).await;
    loop {
        match next(&mut subscription).await {
            Notice::Events(_) => {}
            Notice::CaughtUp { .. } => break,
            Notice::Checkpoint(_) => panic!("there is no filter"),
        }
    }
}

async fn never_written(bench: &mut Bench) {
    let stream = bench.fresh_stream();
    let mut subscription = bench.subscribe_stream(&stream, StreamPoint::Start).await;
    assert!(matches!(next(&mut subscription).await, Notice::CaughtUp { .. }));
    bench.add(&bench.fresh_stream(), 3).await;
    bench.add(&stream, 2).await;
    assert_eq!(revisions(&live(&mut subscription, 2).await), [0, 1]);
}

async fn stream_points(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(5).await;
    let rows: [(StreamPoint, &[u64]); 4] =
        [(StreamPoint::Start, &[0, 1, 2, 3, 4]), (at(2), &[3, 4]), (at(4), &[]), (StreamPoint::At(Revision::MAX), &[])];
    for (from, wanted) in rows {
        let mut subscription = bench.subscribe_stream(&stream, from).await;
        assert_eq!(revisions(&history(&mut subscription).await), wanted, "from {from:?}");
    }
}

async fn deleted(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(2).await;
    let mut subscription = bench.subscribe_stream(&stream, StreamPoint::Start).await;
    assert_eq!(history(&mut subscription).await.len(), 2);
    bench.store().delete(&stream, ANY).await.expect("it can be deleted");
    bench.add(&stream, 1).await;
    assert_eq!(revisions(&live(&mut subscription, 1).await), [2]);
}

async fn tombstoned(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(2).await;
    let mut subscription = bench.subscribe_stream(&stream, StreamPoint::Start).await;
    assert_eq!(history(&mut subscription).await.len(), 2);
    bench.store().tombstone(&stream, ANY).await.expect("it can be tombstoned");
    loop {
        match waited(subscription.next()).await {
            Ok(Notice::Events(events)) => {
                assert_eq!(revisions(&events), [Revision::MAX.get()], "the tombstone may come")
            }
            Ok(other) => panic!("nothing else comes: {other:?}"),
            Err(SubscribeError::StreamDeleted { stream: named }) => {
                assert_eq!(named, stream);
                break;
            }
            Err(other) => panic!("it ends otherwise: {other}"),
        }
    }
}

async fn hidden(bench: &mut Bench) {
    let (stream, _) = bench.stream_of(6).await;
    let metadata = crate::StreamMetadata::default().with_truncate_before(Revision::new(4));
    bench.store().set_metadata(&stream, ANY, metadata).await.expect("metadata can be set");
    let mut subscription = bench.subscribe_stream(&stream, StreamPoint::Start).await;
    assert_eq!(revisions(&history(&mut subscription).await), [4, 5]);
}
