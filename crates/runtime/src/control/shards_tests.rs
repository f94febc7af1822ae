//! Tests of several supervisors for one connector, with a scripted pipeline.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::management::ConnectorState::{Running, Stopped};
use crate::management::testing::{Bench, LEASE, create, until, until_failed, until_state};

const FOUR: [(&str, &str); 2] = [("subscription:shards", "4"), ("ordering", "stream")];
const STREAM: &str = "$connectors/orders";

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    FOUR.iter().chain(more).copied().collect()
}

#[tokio::test(start_paused = true)]
async fn a_connector_runs_when_all_of_its_shards_do_and_has_stopped_when_all_have() {
    let bench = Bench::new();
    let node = bench.open().await;
    create(&node, "orders", &FOUR).await;
    node.start("orders", None).await.unwrap();
    let view = until_state(&node, "orders", Running).await;
    assert_eq!(view.shards.len(), 4);
    assert_eq!(bench.runner.running.load(Ordering::SeqCst), 4);
    let types = bench.store.types(STREAM);
    assert_eq!(types, ["created", "activating", "opened", "running", "running", "running", "running"]);
    node.stop("orders").await.unwrap();
    until_state(&node, "orders", Stopped).await;
    assert_eq!(bench.runner.running.load(Ordering::SeqCst), 0);
    node.start("orders", None).await.unwrap();
    until_state(&node, "orders", Running).await;
    assert_eq!(*bench.runner.opened.lock(), [1], "a restart opens nothing");
    node.shutdown().await;
    let node = bench.open().await;
    until_state(&node, "orders", Running).await;
    assert!(!bench.runner.overlapped.load(Ordering::SeqCst));
    let epochs: Vec<_> = bench.runner.runs_of("orders/1.2").iter().map(|run| run.epoch & 0xFFFF_FFFF).collect();
    assert!(epochs.is_sorted() && epochs.len() == 3, "each run has an epoch of its own: {epochs:?}");
}

#[tokio::test(start_paused = true)]
async fn other_shards_begin_when_each_of_the_earlier_ones_is_closed_under_its_lease() {
    let bench = Bench::new();
    let node = bench.open().await;
    create(&node, "orders", &[]).await;
    node.start("orders", None).await.unwrap();
    until_state(&node, "orders", Running).await;
    node.stop("orders").await.unwrap();
    until_state(&node, "orders", Stopped).await;
    for shards in ["4", "2"] {
        let settings = crate::management::testing::settings(&[("subscription:shards", shards), ("ordering", "stream")]);
        node.reconfigure("orders", settings).await.unwrap();
        node.start("orders", None).await.unwrap();
        until_state(&node, "orders", Running).await;
        node.stop("orders").await.unwrap();
        until_state(&node, "orders", Stopped).await;
    }
    let closed: Vec<_> =
        bench.runner.closed.lock().iter().map(|(generation, index, _)| (*generation, *index)).collect();
    assert_eq!(closed, [(0, 0), (1, 0), (1, 1), (1, 2), (1, 3)]);
    let epochs: Vec<_> = bench.runner.closed.lock().iter().map(|(.., epoch)| *epoch).collect();
    let ran = bench.runner.runs_of("orders/1.3")[0].epoch;
    assert!(epochs[4] > ran && epochs[4] < bench.runner.runs_of("orders/2.0")[0].epoch, "epochs only rise");
    for shard in 0..4 {
        let leases = bench.store.bodies(&format!("$connectors/orders/shards/1.{shard}/leases"));
        assert_eq!(leases.last().unwrap()["Duration"], "00:00:00", "nobody holds what is closed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_fails_stops_all_and_all_come_back_together() {
    let bench = Bench::new();
    let node = bench.open().await;
    let restart = [("restart:policy", "onFailure"), ("restart:delayMs", "2000"), ("restart:maxRestarts", "3")];
    create(&node, "orders", &with(&[&[("script", "fail-later")], restart.as_slice()].concat())).await;
    node.start("orders", None).await.unwrap();
    let began = tokio::time::Instant::now();
    let view = until_failed(&node, "orders").await;
    assert_eq!(view.state, Stopped);
    let error = view.error.unwrap().message;
    assert!(error.starts_with("shard ") && error.contains("after 1 failures in a row"), "{error}");
    until("all were run again", async || bench.runner.runs.lock().len() == 8).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    until("it stays failed", async || bench.runner.runs.lock().len() == 16).await;
    tokio::time::sleep(LEASE * 10).await;
    let failures = bench.store.types(STREAM).iter().filter(|word| *word == "failed").count();
    assert_eq!((failures, bench.runner.runs.lock().len()), (4, 16), "several shards fail as one");
    assert_eq!(bench.runner.running.load(Ordering::SeqCst), 0);
}
