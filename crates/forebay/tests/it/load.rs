//! Owns the writers: events over HTTP, each stream in order, going on across crashes of the server.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::http::Http;

/// Events of one append.
const BATCH: u64 = 25;
/// A server that was killed is back within this time.
const BACK_LIMIT: Duration = Duration::from_secs(60);
const TRIED_EVERY: Duration = Duration::from_millis(20);

/// What to write.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) streams: u64,
    pub(crate) events: u64,
}

/// The name of a stream by its number.
pub(crate) fn stream(number: u64) -> String {
    format!("load-{number}")
}

impl Load {
    /// How many events a stream gets.
    pub(crate) fn length(&self, number: u64) -> u64 {
        self.events / self.streams + u64::from(number < self.events % self.streams)
    }

    /// Writes all of it, a few streams at a time; every append is acknowledged when this ends.
    pub(crate) async fn write(self, http: Http) {
        const WRITERS: u64 = 4;
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let http = http.clone();
            writers.spawn(async move {
                let mine: Vec<u64> = (0..self.streams).filter(|number| number % WRITERS == writer).collect();
                let longest = mine.iter().map(|number| self.length(*number)).max().unwrap_or(0);
                for first in (0..longest).step_by(usize::try_from(BATCH).unwrap()) {
                    for number in &mine {
                        let last = (first + BATCH).min(self.length(*number));
                        if first < last {
                            append(&http, *number, first..last, BACK_LIMIT).await;
                        }
                    }
                }
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer.unwrap();
        }
    }
}

/// Events that are written at an even pace until they have been enough.
pub(crate) struct Flow {
    enough: Arc<AtomicBool>,
    writing: JoinHandle<Vec<u64>>,
}

impl Flow {
    /// Begins to write, to so many streams in turn, a few events at a time; a server that is away is back within a limit.
    pub(crate) fn begin(http: Http, streams: u64, back_limit: Duration) -> Self {
        const EVENTS: u64 = 5;
        const PAUSE: Duration = Duration::from_millis(200);
        let enough = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&enough);
        let writing = tokio::spawn(async move {
            let mut lengths = vec![0; usize::try_from(streams).unwrap()];
            for number in (0..streams).cycle() {
                if asked.load(Ordering::SeqCst) {
                    break;
                }
                let length = &mut lengths[usize::try_from(number).unwrap()];
                append(&http, number, *length..*length + EVENTS, back_limit).await;
                *length += EVENTS;
                // tidy: sleep allowed: this is the pace of the writer.
                tokio::time::sleep(PAUSE).await;
            }
            lengths
        });
        Self { enough, writing }
    }

    /// Ends the writing; how many events each stream has.
    pub(crate) async fn end(self) -> Vec<u64> {
        self.enough.store(true, Ordering::SeqCst);
        self.writing.await.unwrap()
    }
}

/// Appends one batch until it is acknowledged. The exact revision that is expected makes a repeat harmless: a batch that
/// is there already is acknowledged again, and a gap is refused.
async fn append(http: &Http, number: u64, revisions: Range<u64>, back_limit: Duration) {
    let (first, last) = (revisions.start, revisions.end);
    let event = |revision: u64| {
        json!({
            "id": format!("{number:08x}-0000-4000-8000-{revision:012x}"), "type": "Loaded",
            "data": {"revision": revision, "text": "some text of a usual length to carry"},
        })
    };
    let expected = if first == 0 { Value::from("noStream") } else { Value::from(first - 1) };
    let body = json!({"expectedRevision": expected, "events": revisions.map(event).collect::<Vec<_>>()});
    let path = format!("/streams/{}/events", stream(number));
    let begun = Instant::now();
    loop {
        match http.try_send(Method::POST, &path, Some(&body)).await {
            Ok((200..300, _)) => return,
            Ok((status, answer)) if status < 500 => {
                panic!("append {first}..{last} to {path}: {status} {}", String::from_utf8_lossy(&answer));
            }
            other => assert!(begun.elapsed() < back_limit, "append to {path} does not come through: {other:?}"),
        }
        // tidy: sleep allowed: the server is being restarted; this is the pause between two tries.
        tokio::time::sleep(TRIED_EVERY).await;
    }
}
