//! One key that its target will not take while all others flow: kill -9 then repeats what was in flight, not what passed.
//!
//! `FOREBAY_EVENTS` sets how many events pass (the full size is 1,000,000).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::kill::{Repeats, number_from_environment};
use crate::load::Load;
use crate::receiver::Receiver;
use crate::server::Server;

const LANES: u64 = 16;
const BATCH: u64 = 16;
const THRESHOLD: u64 = 1000;
/// Events of the stream that is blocked.
const BLOCKED: u64 = 20;
/// As long as the whole of it may take.
const ARRIVE_LIMIT: Duration = Duration::from_secs(1_800);
const STREAM: &str = "blocked";

async fn append(server: &Server, first: u64, last: u64) {
    let event =
        |revision: u64| json!({"id": format!("bbbbbbbb-0000-4000-8000-{revision:012x}"), "type": "T", "data": {}});
    let body = json!({"events": (first..last).map(event).collect::<Vec<_>>()});
    server.http.post(&format!("/streams/{STREAM}/events"), &body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_key_does_not_bring_back_what_passed_it() {
    let load = Load { streams: 40, events: number_from_environment("FOREBAY_EVENTS", 20_000) };
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path()).await;
    let receiver = Receiver::start().await;
    receiver.refuse_stream(Some(STREAM));
    append(&server, 0, BLOCKED / 2).await;
    let (lanes, batch, threshold) = (LANES.to_string(), BATCH.to_string(), THRESHOLD.to_string());
    let settings = [
        ("ordering", "stream"),
        ("lanes", lanes.as_str()),
        ("batching:batchSize", &batch),
        ("autocommit:recordsThreshold", &threshold),
        // So long that it plays no part.
        ("autocommit:interval", "3600000"),
        ("resilience:firstDelayBound:delayMs", "500"),
        ("resilience:firstDelayBound:upperLimitMs", "3600000"),
    ];
    server.connect("blocked", &receiver.url(), &settings).await;
    let begun = Instant::now();
    let writing = tokio::spawn(load.write(server.http.clone()));
    // Nearly all of it has passed when the process dies, and more of the key has come meanwhile.
    receiver.has(load.events / 2, ARRIVE_LIMIT).await;
    append(&server, BLOCKED / 2, BLOCKED).await;
    receiver.has(load.events * 9 / 10, ARRIVE_LIMIT).await;
    server.kill().await;
    let (passed, refused) = (receiver.arrivals().fresh(), receiver.refused());
    receiver.arrivals().crash();
    server.launch().await;
    writing.await.unwrap();
    receiver.has(load.events, ARRIVE_LIMIT).await;
    println!("{passed} events passed a key that was refused {refused} times; {:?} for all", begun.elapsed());
    assert!(refused > 0, "nothing was blocked");
    assert_eq!(receiver.arrivals().length(STREAM), 0);
    receiver.refuse_stream(None);
    receiver.has(load.events + BLOCKED, ARRIVE_LIMIT).await;
    receiver.arrivals().assert_in_order();
    assert_eq!(receiver.arrivals().length(STREAM), BLOCKED);
    Repeats { threshold: THRESHOLD, in_flight: LANES * BATCH }.assert_bounded(&receiver);
}
