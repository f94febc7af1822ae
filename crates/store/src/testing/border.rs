//! Cases of the border between history and live: under concurrent appends, neither gap nor repeat, whatever is dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use forebay_event::{Position, StreamName};

use super::subject::{Bench, Case, case, next, revisions, some_events, waited};
use crate::{AppendRequest, EventFilter, LogPoint, Notice, StreamPoint, Subscription};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("no gap and no repeat in the whole log", |bench| Box::pin(whole_log(bench))),
        case("no gap and no repeat in a stream", |bench| Box::pin(one_stream(bench))),
        case("calls that are dropped lose nothing", |bench| Box::pin(dropped(bench))),
        case("many readers see the same", |bench| Box::pin(many_readers(bench))),
    ]
}

const WRITERS: usize = 4;
const APPENDS: usize = 60;
const EVENTS: usize = 3;

/// Starts writers, each to a stream of its own.
fn start_writers(bench: &Bench) -> (Vec<StreamName>, Vec<tokio::task::JoinHandle<()>>) {
    let streams: Vec<_> = (0..WRITERS).map(|_| bench.fresh_stream()).collect();
    let writers = streams.iter().map(|stream| {
        let (store, stream) = (bench.store(), stream.clone());
        tokio::spawn(async move {
            for _ in 0..APPENDS {
                let request = AppendRequest {
                    stream: stream.clone(),
                    expected: super::subject::ANY,
                    events: some_events(EVENTS),
                };
                store.append(request).await.expect("the store takes events");
            }
        })
    });
    let writers = writers.collect();
    (streams, writers)
}

async fn whole_log(bench: &mut Bench) {
    let before = bench.head().await;
    let (streams, writers) = start_writers(bench);
    let mut subscription = bench.subscribe_all(LogPoint::At(before), EventFilter::All, 10).await;
    let seen = read_own(&mut subscription, &streams, before).await;
    for writer in writers {
        writer.await.expect("the writer does not panic");
    }
    assert_each_once(&seen, &streams);
}

/// Reads until everything the writers wrote was seen, in order of position.
async fn read_own(
    subscription: &mut Box<dyn Subscription>,
    streams: &[StreamName],
    before: Position,
) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    let mut last = before;
    let mut caught_up = 0;
    while seen.len() < WRITERS * APPENDS * EVENTS {
        match next(subscription).await {
            Notice::Events(events) => {
                for event in events {
                    assert!(event.position() > last, "positions rise strictly");
                    last = event.position();
                    if streams.iter().any(|stream| stream.as_str() == event.stream()) {
                        seen.push((event.stream().to_owned(), event.revision().get()));
                    }
                }
            }
            Notice::CaughtUp { .. } => caught_up += 1,
            Notice::Checkpoint(_) => {}
        }
    }
    assert!(caught_up <= 1, "it does not say again that it has caught up");
    seen
}

fn assert_each_once(seen: &[(String, u64)], streams: &[StreamName]) {
    for stream in streams {
        let own: Vec<u64> =
            seen.iter().filter(|(name, _)| name == stream.as_str()).map(|(_, revision)| *revision).collect();
        assert_eq!(own, (0..(APPENDS * EVENTS) as u64).collect::<Vec<_>>(), "each event once and in order");
    }
}

async fn one_stream(bench: &mut Bench) {
    let (streams, writers) = start_writers(bench);
    let mut subscription = bench.subscribe_stream(&streams[0], StreamPoint::Start).await;
    let mut seen = Vec::new();
    while seen.len() < APPENDS * EVENTS {
        if let Notice::Events(events) = next(&mut subscription).await {
            seen.extend(revisions(&events));
        }
    }
    for writer in writers {
        writer.await.expect("the writer does not panic");
    }
    assert_eq!(seen, (0..(APPENDS * EVENTS) as u64).collect::<Vec<_>>());
}

async fn dropped(bench: &mut Bench) {
    let before = bench.head().await;
    let (streams, writers) = start_writers(bench);
    let mut subscription = bench.subscribe_all(LogPoint::At(before), EventFilter::All, 10).await;
    let mut seen = Vec::new();
    while seen.len() < WRITERS * APPENDS * EVENTS {
        // Polled once and dropped: whatever it had begun is begun again by the next call.
        let at_once = {
            let mut call = pin!(subscription.next());
            poll_fn(|context| match call.as_mut().poll(context) {
                Poll::Ready(notice) => Poll::Ready(Some(notice)),
                Poll::Pending => Poll::Ready(None),
            })
            .await
        };
        let notice = match at_once {
            Some(notice) => notice,
            None => waited(subscription.next()).await,
        };
        if let Notice::Events(events) = notice.expect("the subscription goes on") {
            let own = events.iter().filter(|event| streams.iter().any(|stream| stream.as_str() == event.stream()));
            seen.extend(own.map(|event| (event.stream().to_owned(), event.revision().get())));
        }
    }
    for writer in writers {
        writer.await.expect("the writer does not panic");
    }
    assert_each_once(&seen, &streams);
}

async fn many_readers(bench: &mut Bench) {
    let before = bench.head().await;
    let (streams, writers) = start_writers(bench);
    let mut readers = Vec::new();
    for _ in 0..6 {
        let mut subscription = bench.subscribe_all(LogPoint::At(before), EventFilter::All, 10).await;
        let streams = streams.clone();
        readers.push(tokio::spawn(async move { read_own(&mut subscription, &streams, before).await }));
    }
    for task in writers {
        task.await.expect("the writer does not panic");
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.expect("the reader does not panic"));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "all saw the same in the same order");
    assert_each_once(&seen[0], &streams);
}
