//! A past that is not there any more: what was truncated or scavenged is passed with a notice, another past is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod support;

use std::sync::Arc;

use forebay_connector::Epoch;
use forebay_event::{ExpectedRevision, ProposedEvent, Revision, StreamName, SystemClock};
use forebay_log::{EmbeddedLog, LogOptions};
use forebay_runtime::pipeline::{CHECKPOINT_TYPE, End, Plan, Traffic};
use forebay_store::{AppendRequest, EventStore, StreamMetadata};
use serde_json::json;
use support::{MemoryStore, Order, Running, SinkScript, catalog, settings, start, start_in, start_with};
use uuid::Uuid;

const MISSING: &str = "forebay_events_missing_total";
const ANY: ExpectedRevision = ExpectedRevision::Any;

fn of_stream(name: &str) -> [(&str, &str); 2] {
    [("subscription:filter:filterType", "streamId"), ("subscription:filter:expression", name)]
}

/// A connector over the embedded log that reads one stream.
struct OnDisk {
    log: Arc<EmbeddedLog>,
    stream: StreamName,
    sink: Arc<SinkScript>,
    epoch: u64,
    _directory: tempfile::TempDir,
}

impl OnDisk {
    fn open(id: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = EmbeddedLog::open(LogOptions::new(directory.path(), Arc::new(SystemClock::new()))).unwrap();
        let stream = StreamName::new(id).unwrap();
        Self { log: Arc::new(log), stream, sink: SinkScript::of(id), epoch: 0, _directory: directory }
    }

    async fn append(&self, count: usize) {
        let events = (0..count).map(|_| ProposedEvent::json(Uuid::new_v4(), "T", "{}")).collect();
        let request = AppendRequest { stream: self.stream.clone(), expected: ANY, events };
        self.log.append(request).await.unwrap();
    }

    async fn describe(&self, metadata: StreamMetadata) {
        self.log.set_metadata(&self.stream, ANY, metadata).await.unwrap();
    }

    fn run(&mut self) -> Running {
        self.sink.forget();
        self.epoch += 1;
        let plan = Plan::build(self.stream.as_str(), &settings(&of_stream(self.stream.as_str())), &catalog()).unwrap();
        let order = Order { start_from: None, epoch: Epoch(self.epoch), traffic: Traffic::default() };
        start_in(plan, &self.log, order)
    }

    fn names(&self, revisions: std::ops::Range<u64>) -> Vec<String> {
        revisions.map(|revision| format!("{}@{revision}", self.stream.as_str())).collect()
    }

    /// Runs until so many are delivered; answers how many were found missing.
    async fn delivers(&mut self, revisions: std::ops::Range<u64>) -> f64 {
        let mut connector = self.run();
        connector.until_delivered(revisions.end - revisions.start).await;
        let missing = connector.metric(MISSING);
        assert_eq!(connector.stopped().await, End::Stopped);
        assert_eq!(self.sink.names(), self.names(revisions));
        missing
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_behind_what_was_truncated_under_its_checkpoint() {
    let mut disk = OnDisk::open("truncated");
    disk.append(20).await;
    assert_eq!(disk.delivers(0..20).await, 0.0);
    disk.append(30).await;
    disk.describe(StreamMetadata::default().with_truncate_before(Revision::new(30))).await;
    assert_eq!(disk.delivers(30..50).await, 10.0);
    disk.append(20).await;
    disk.describe(StreamMetadata::default().with_max_count(5)).await;
    assert_eq!(disk.delivers(65..70).await, 15.0);
    // The last event that was read is gone as well, but nothing that was not read.
    disk.append(1).await;
    disk.describe(StreamMetadata::default().with_truncate_before(Revision::new(70))).await;
    assert_eq!(disk.delivers(70..71).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_stream_goes_on_when_it_is_written_again_and_ends_when_it_is_tombstoned() {
    let mut disk = OnDisk::open("deleted");
    disk.append(10).await;
    assert_eq!(disk.delivers(0..10).await, 0.0);
    disk.append(5).await;
    disk.log.delete(&disk.stream, ANY).await.unwrap();
    let mut connector = disk.run();
    connector.until(|progress| progress.caught_up).await;
    disk.append(2).await;
    connector.until_delivered(2).await;
    assert_eq!((disk.sink.names(), connector.metric(MISSING)), (disk.names(15..17), 5.0));
    disk.log.tombstone(&disk.stream, ANY).await.unwrap();
    let End::Failed(end) = connector.ended().await else { panic!("it fails") };
    assert_eq!(end.code, "stream-deleted");
    let End::Failed(end) = disk.run().ended().await else { panic!("it fails again") };
    assert_eq!(end.code, "stream-deleted");
}

async fn filled(streams: u64, events: u64) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for number in 0..events {
        store.add(&format!("s-{}", number % streams), "T", "{}").await;
    }
    store
}

#[tokio::test(start_paused = true)]
async fn the_log_goes_on_behind_what_was_scavenged() {
    let store = filled(4, 400).await;
    let sink = SinkScript::of("scavenged");
    // Under the reader, from the first event on; then behind a checkpoint, in streams that are not known again yet.
    store.scavenge(1..=20);
    store.scavenge([102, 103, 104, 201]);
    let mut connector = start("scavenged", &store, &[]);
    connector.until_delivered(376).await;
    assert_eq!(connector.metric(MISSING), 24.0);
    assert_eq!(connector.stopped().await, End::Stopped);
    let next = store.len() as u64;
    for _ in 0..40 {
        store.add("s-0", "T", "{}").await;
    }
    store.scavenge(next - 50..next + 5);
    store.scavenge([next + 20]);
    sink.forget();
    let mut connector = start_with("scavenged", &store, &[], None, Epoch(2));
    connector.until(|progress| progress.caught_up && progress.in_flight() == 0).await;
    assert_eq!((sink.delivered().len(), connector.metric(MISSING)), (35, 1.0));
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn revisions_that_a_filter_leaves_out_are_not_missing() {
    let store = MemoryStore::new();
    for number in 0..100 {
        store.add("s-0", if number % 3 == 0 { "Wanted" } else { "Other" }, "{}").await;
        store.add("$s-0", if number % 3 == 0 { "Wanted" } else { "$other" }, "{}").await;
    }
    let by_type = [("subscription:filter:scope", "record"), ("subscription:filter:expression", "Wanted")];
    for (id, pairs, count) in [("by-type", &by_type[..], 68), ("by-system", &[], 134)] {
        let mut connector = start(id, &store, pairs);
        connector.until_delivered(count).await;
        assert_eq!(connector.metric(MISSING), 0.0, "{id}");
        connector.stopped().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_restored_to_before_the_checkpoint_is_refused() {
    let everything: [(&str, &str); 0] = [];
    let whole = |id, position: &str| (id, json!({ "logPosition": position }), &everything[..]);
    let stream = of_stream("s-1");
    let of_one = |id, position: &str, revision: &str| {
        let body = json!({ "logPosition": position, "streamId": "s-1", "streamRevision": revision });
        (id, body, &stream[..])
    };
    for ((id, checkpoint, pairs), said) in [
        (whole("restored-log", "1000"), "behind position 1000: the store ends at"),
        (of_one("restored-end", "1000", "400"), "behind position 1000: the store ends at"),
        (of_one("restored-short", "20", "15"), "behind revision 15 of stream s-1"),
        (of_one("restored-other", "20", "4"), "read at position 20"),
        // From a time when it read something else: the place is looked for in the stream.
        (("restored-else", json!({ "logPosition": "1000" }), &stream[..]), "behind position 1000: the store ends at"),
    ] {
        let store = filled(2, 20).await;
        store.add(&format!("$connectors/{id}/checkpoints"), CHECKPOINT_TYPE, &checkpoint.to_string()).await;
        let End::Failed(end) = start(id, &store, pairs).ended().await else { panic!("{id} does not fail") };
        assert_eq!(end.code, "behind-end", "{id}");
        assert!(end.message.contains(said) && end.message.contains("restored"), "{id}: {}", end.message);
        assert!(SinkScript::of(id).delivered().is_empty(), "{id}");
    }
    // The same place in a store that has it.
    let store = filled(2, 20).await;
    let (id, checkpoint, pairs) = of_one("restored-not", "10", "4");
    store.add(&format!("$connectors/{id}/checkpoints"), CHECKPOINT_TYPE, &checkpoint.to_string()).await;
    let mut connector = start(id, &store, pairs);
    connector.until_delivered(5).await;
    connector.stopped().await;
}
