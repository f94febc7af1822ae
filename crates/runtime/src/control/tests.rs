//! Tests of leases and supervision with two nodes, in the runtime's paused time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::management::ConnectorState::{Activating, Running, Stopped};
use crate::management::testing::{Bench, LEASE, NODE, create, until, until_failed, until_state};

const ID: &str = "orders";
const LEASES: &str = "$connectors/orders/leases";

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_while_held_and_released_at_the_end() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    connectors.start(ID, None).await.unwrap();
    until_state(&connectors, ID, Running).await;
    tokio::time::sleep(LEASE * 10).await;
    assert_eq!(bench.runner.runs_of(ID).len(), 1, "held all the time");
    let bodies = bench.store.bodies(LEASES);
    assert!((15..=25).contains(&bodies.len()), "{} leases in ten durations", bodies.len());
    assert!(bodies.iter().all(|body| body["Epoch"] == 1 && body["AcquiredBy"] == NODE.to_string()));
    assert_eq!(bodies[0]["ResourceId"], ID);
    connectors.stop(ID).await.unwrap();
    until_state(&connectors, ID, Stopped).await;
    let last = bench.store.bodies(LEASES).pop().unwrap();
    assert_eq!(
        (last["Duration"].as_str(), last["AcquiredAt"].as_str()),
        (Some("00:00:00"), last["ExpiresAt"].as_str())
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_takes_its_own_lease_at_once_with_a_higher_epoch() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    connectors.start(ID, None).await.unwrap();
    until_state(&connectors, ID, Running).await;
    drop(connectors);
    bench.quiet().await;
    let began = tokio::time::Instant::now();
    let connectors = bench.open().await;
    until_state(&connectors, ID, Running).await;
    assert!(began.elapsed() < LEASE / 4);
    let runs = bench.runner.runs_of(ID);
    assert!(runs[0].epoch < runs[1].epoch);
}

#[tokio::test(start_paused = true)]
async fn another_node_takes_over_only_when_the_lease_has_run_out() {
    let first = Bench::new();
    let second = first.other_node();
    let holder = first.open().await;
    create(&holder, ID, &[]).await;
    holder.start(ID, None).await.unwrap();
    until_state(&holder, ID, Running).await;
    let waiting = second.open().await;
    tokio::time::sleep(LEASE * 20).await;
    assert!(second.runner.runs_of(ID).is_empty(), "the holder lives");
    assert_eq!(waiting.get(ID).await.unwrap().state, Activating);
    assert_eq!(waiting.get(ID).await.unwrap().error, None, "waiting is no failure");
    drop(holder);
    first.quiet().await;
    let died = tokio::time::Instant::now();
    until("the other node runs it", async || !second.runner.runs_of(ID).is_empty()).await;
    assert!(died.elapsed() >= LEASE / 2, "at most half of the duration had passed since the last renewal");
    assert!(died.elapsed() < LEASE * 2);
    assert!(second.runner.runs_of(ID)[0].epoch > first.runner.runs_of(ID)[0].epoch);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_stood_by_for_long_takes_over_as_quickly() {
    for more in 0..8 {
        let first = Bench::new();
        let second = first.other_node();
        let holder = first.open().await;
        create(&holder, ID, &[]).await;
        holder.start(ID, None).await.unwrap();
        until_state(&holder, ID, Running).await;
        let _waiting = second.open().await;
        tokio::time::sleep(super::lease::ACQUISITION_LIMIT + LEASE * more / 4).await;
        drop(holder);
        first.quiet().await;
        let died = tokio::time::Instant::now();
        until("the other node runs it", async || !second.runner.runs_of(ID).is_empty()).await;
        assert!(died.elapsed() < LEASE * 2, "{:?}", died.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stands_by_does_not_report_the_others_run_as_failed() {
    let first = Bench::new();
    let second = first.other_node();
    let holder = first.open().await;
    create(&holder, ID, &[]).await;
    holder.start(ID, None).await.unwrap();
    // It opens while the start is not reported as done yet, and never sees that it was.
    let _waiting = second.open().await;
    until_state(&holder, ID, Running).await;
    tokio::time::sleep(super::lease::ACQUISITION_LIMIT * 2).await;
    let types = first.store.types("$connectors/orders");
    assert_eq!(types.last().map(String::as_str), Some("running"), "{types:?}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_its_lease_runs_out() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    connectors.start(ID, None).await.unwrap();
    until_state(&connectors, ID, Running).await;
    let last = tokio::time::Instant::now();
    *bench.store.refuses.lock() = Some("/leases");
    until("it is fenced", async || bench.runner.running.load(Ordering::SeqCst) == 0).await;
    assert!(last.elapsed() >= LEASE / 2 && last.elapsed() < LEASE, "{:?}", last.elapsed());
    tokio::time::sleep(LEASE).await;
    assert_eq!(connectors.get(ID).await.unwrap().state, Activating, "it is still wanted");
    *bench.store.refuses.lock() = None;
    until_state(&connectors, ID, Running).await;
    let runs = bench.runner.runs_of(ID);
    assert!(runs.len() == 2 && runs[0].epoch < runs[1].epoch);
    assert_eq!(bench.store.types("$connectors/orders"), ["created", "activating", "running", "running"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_by_force_fences_the_holder() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    connectors.start(ID, None).await.unwrap();
    until_state(&connectors, ID, Running).await;
    let body = r#"{"ResourceId":"orders","AcquiredBy":"another","Duration":"00:00:30","Epoch":9}"#;
    bench.put(LEASES, super::lease::LEASE_TYPE, body).await;
    let taken = tokio::time::Instant::now();
    bench.quiet().await;
    assert!(taken.elapsed() < LEASE);
    until_state(&connectors, ID, Running).await;
    assert!(taken.elapsed() >= Duration::from_secs(30), "the other lease is waited for");
    assert!(bench.runner.runs_of(ID)[1].epoch > 9);
    let lifecycle = bench.store.bodies("$connectors/orders/lifecycle");
    let lost = lifecycle.iter().find(|body| body["error"]["code"] == "lease-lost").unwrap();
    assert_eq!(lost["metadata"]["eventSeverity"], "EVENT_SEVERITY_CRITICAL");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_with_a_lost_answer_loses_nothing() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    connectors.start(ID, None).await.unwrap();
    until_state(&connectors, ID, Running).await;
    for _ in 0..5 {
        *bench.store.loses_answer.lock() = Some("/leases");
        until("the answer was lost", async || bench.store.loses_answer.lock().is_none()).await;
    }
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(bench.runner.runs_of(ID).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_cannot_get_the_lease_fails_and_says_who_has_it() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    let holder = uuid::Uuid::from_u128(0xC).to_string();
    let body = format!(r#"{{"ResourceId":"orders","AcquiredBy":"{holder}","Duration":"01:00:00","Epoch":3}}"#);
    bench.put(LEASES, super::lease::LEASE_TYPE, &body).await;
    connectors.start(ID, None).await.unwrap();
    let error = until_failed(&connectors, ID).await.error.unwrap();
    assert_eq!((error.code.as_str(), error.message.contains(&holder)), ("lease", true));
    assert!(bench.runner.runs_of(ID).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connector_waiting_for_its_lease_can_be_stopped_and_others_are_not_delayed() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    create(&connectors, "others", &[]).await;
    let body = r#"{"ResourceId":"orders","AcquiredBy":"another","Duration":"01:00:00","Epoch":3}"#;
    bench.put(LEASES, super::lease::LEASE_TYPE, body).await;
    let began = tokio::time::Instant::now();
    connectors.start(ID, None).await.unwrap();
    connectors.start("others", None).await.unwrap();
    until_state(&connectors, "others", Running).await;
    assert_eq!(connectors.get(ID).await.unwrap().state, Activating);
    connectors.stop(ID).await.unwrap();
    until_state(&connectors, ID, Stopped).await;
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_read_delays_and_fails_nothing() {
    let bench = Bench::new();
    let connectors = bench.open().await;
    create(&connectors, ID, &[]).await;
    connectors.start(ID, None).await.unwrap();
    bench.store.reads_fail.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(bench.runner.runs_of(ID).is_empty());
    bench.store.reads_fail.store(false, Ordering::SeqCst);
    until_state(&connectors, ID, Running).await;
}
