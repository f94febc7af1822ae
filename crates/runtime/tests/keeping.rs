//! A target that keeps its lane's position: nothing passes a record that waits, so that the position says the truth.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Epoch;
use forebay_event::Position;
use serde_json::json;
use support::{Answer, MemoryStore, SinkScript, failure, start_with};

const EVENTS: u64 = 600;
const SETTINGS: &[(&str, &str)] =
    &[("instanceTypeName", "keeping-sink"), ("ordering", "stream"), ("lanes", "1"), ("batching:batchSize", "7")];

async fn filled() -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for number in 0..EVENTS {
        store.add(&format!("s-{}", number % 20), "T", &json!({ "n": number }).to_string()).await;
    }
    store
}

fn positions(sink: &SinkScript) -> Vec<u64> {
    sink.delivered().iter().map(|taken| taken.position).collect()
}

/// Fails at random and without regard to keys; two streams fail often.
fn fail_at_random(sink: &SinkScript) {
    let mut seed = 77_u64;
    sink.behave(move |record, _| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_poor = matches!(record.event().stream(), "s-3" | "s-7");
        match (seed >> 33) % 100 {
            0..=2 => Answer::Break(failure()),
            3..=4 => Answer::Hang,
            5..=30 if is_poor => Answer::Break(failure().after(Duration::from_secs(2))),
            _ => Answer::Take,
        }
    });
}

#[tokio::test(start_paused = true)]
async fn no_record_of_the_lane_passes_one_that_waits() {
    let store = filled().await;
    let sink = SinkScript::of("keeps-order");
    fail_at_random(&sink);
    let mut connector = start_with("keeps-order", &store, SETTINGS, None, Epoch(1));
    connector.until_delivered(EVENTS).await;
    let positions = positions(&sink);
    assert!(positions.is_sorted() && positions.len() as u64 == EVENTS, "{positions:?}");
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn crashes_at_any_moment_lose_and_repeat_nothing() {
    let store = filled().await;
    let sink = SinkScript::of("keeps-position");
    fail_at_random(&sink);
    let asked = Arc::clone(&sink);
    sink.probe(move || Ok(asked.delivered().iter().map(|taken| Position::new(taken.position)).max()));
    for epoch in 1.. {
        let before = sink.delivered().len() as u64;
        if before == EVENTS {
            break;
        }
        let connector = start_with("keeps-position", &store, SETTINGS, None, Epoch(epoch));
        let wanted = (before + 1 + epoch * 7 % 40).min(EVENTS);
        while (sink.delivered().len() as u64) < wanted {
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_millis(20)).await;
        }
        connector.crash().await;
    }
    let positions = positions(&sink);
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]) && positions.len() as u64 == EVENTS, "{positions:?}");
}
