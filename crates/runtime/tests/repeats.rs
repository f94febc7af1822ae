//! What comes again after a crash, at speeds at which the distance between two checkpoints counts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Epoch;
use support::{Answer, MemoryStore, SinkScript, start_with};
use tokio::time::Instant;

const LANES: usize = 16;
const BATCH: usize = 10;
const THRESHOLD: usize = 100;
const RUNS: u64 = 12;
/// Checkpoints are at least so far apart.
const CHECKPOINT_GAP: Duration = Duration::from_millis(50);

fn pairs() -> [(&'static str, &'static str); 5] {
    [
        ("ordering", "stream"),
        ("lanes", "16"),
        ("batching:batchSize", "10"),
        ("autocommit:recordsThreshold", "100"),
        ("autocommit:interval", "3600000"),
    ]
}

/// After a crash comes again at most what was settled since the last checkpoint, which is as much as the threshold or as
/// was settled within the least distance of two checkpoints, whichever is more; and what was in flight.
#[tokio::test(start_paused = true)]
async fn a_crash_repeats_what_the_threshold_or_the_gap_left_unsaid_and_what_was_in_flight() {
    for (name, per_record, gap_counts) in [("slow-target", 20, false), ("fast-target", 1, true)] {
        let store = filled().await;
        let sink = SinkScript::of(name);
        sink.behave(move |_, _| Answer::TakeAfter(Duration::from_millis(per_record)));
        let mut taken: HashSet<String> = HashSet::new();
        let (mut bound, mut most) = (0, 0);
        for run in 1..=RUNS {
            // Moments that lie differently between two checkpoints.
            let goal = 1_300 + 7 * usize::try_from(run).unwrap();
            let connector = start_with(name, &store, &pairs(), None, Epoch(run));
            while sink.count() < goal {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let crashed = Instant::now();
            connector.crash().await;
            let delivered = sink.delivered();
            let names = sink.names();
            sink.forget();
            let repeats = names.into_iter().filter(|one| !taken.insert(one.clone())).count();
            assert!(repeats <= bound, "{name}, run {run}: {repeats} came again, at most {bound} may");
            most = most.max(repeats);
            let within_gap = delivered.iter().filter(|one| crashed - one.at <= CHECKPOINT_GAP).count();
            bound = within_gap.max(THRESHOLD) + BATCH + LANES * BATCH;
        }
        assert!(most > 0, "nothing came again: this tests nothing");
        assert_eq!(most > THRESHOLD + BATCH + LANES * BATCH, gap_counts, "{name}: {most}");
    }
}

async fn filled() -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for number in 0..20_000 {
        store.add(&format!("s-{}", number % 400), "T", "{}").await;
    }
    store
}
