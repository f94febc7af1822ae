//! Receivers that are slow, down, or refuse.

use std::time::Duration;

use serde_json::json;

use crate::http::eventually;
use crate::load::Load;
use crate::receiver::Receiver;
use crate::server::Server;

const LIMIT: Duration = Duration::from_secs(60);
/// Three phases in a second, so that a test sees all of them.
const QUICK_RETRIES: [(&str, &str); 6] = [
    ("resilience:firstDelayBound:delayMs", "50"),
    ("resilience:firstDelayBound:upperLimitMs", "200"),
    ("resilience:secondDelayBound:delayMs", "100"),
    ("resilience:secondDelayBound:upperLimitMs", "500"),
    ("resilience:thirdDelayBound:delayMs", "200"),
    ("resilience:thirdDelayBound:upperLimitMs", "-1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_slows_neither_the_log_nor_others() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.be_slow(Duration::from_millis(200));
    server.connect("slow-one", &slow.url(), &[]).await;
    server.connect("quick-one", &quick.url(), &[("ordering", "stream")]).await;
    let load = Load { streams: 8, events: 2000 };
    load.write(server.http.clone()).await;
    quick.has(load.events, LIMIT).await;
    let behind = slow.arrivals().fresh();
    assert!(behind < load.events / 2, "the slow one has {behind} already");
    slow.be_slow(Duration::ZERO);
    slow.has(load.events, LIMIT).await;
    for receiver in [&slow, &quick] {
        receiver.arrivals().assert_in_order();
        assert_eq!(receiver.arrivals().repeats(), [0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_everything_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let mut receiver = Receiver::start().await;
    let lanes = [("ordering", "stream"), ("lanes", "4")];
    server.connect("patient", &receiver.url(), &[&QUICK_RETRIES[..], &lanes].concat()).await;
    let load = Load { streams: 6, events: 3000 };
    let writing = tokio::spawn(load.write(server.http.clone()));
    receiver.has(300, LIMIT).await;
    receiver.go_down().await;
    let retries = || async { server.http.metric("forebay_retries_total").await.unwrap_or(0.0) };
    let before = retries().await;
    eventually("it is tried again", LIMIT, || async { retries().await >= before + 5.0 }).await;
    assert_eq!(server.http.get("/connectors/patient").await["state"], "CONNECTOR_STATE_RUNNING");
    receiver.come_up().await;
    writing.await.unwrap();
    receiver.has(load.events, LIMIT).await;
    receiver.arrivals().assert_in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_may_pass_are_retried_and_others_stop_the_connector() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let receiver = Receiver::start().await;
    receiver.refuse_with(503);
    server.connect("refused", &receiver.url(), &QUICK_RETRIES).await;
    Load { streams: 1, events: 5 }.write(server.http.clone()).await;
    eventually("it is tried again", LIMIT, || async { receiver.asked() >= 4 }).await;
    assert_eq!(receiver.arrivals().fresh(), 0);
    receiver.refuse_with(400);
    server.reaches("refused", "STOPPED").await;
    let view = server.http.get("/connectors/refused").await;
    assert!(view["errorDetails"]["message"].as_str().unwrap_or_default().contains("400"), "{view}");
    // Started again, it begins with the record that was refused.
    receiver.refuse_with(0);
    server.command_json(&["connectors", "start", "refused", "--wait"]).await;
    receiver.has(5, LIMIT).await;
    receiver.arrivals().assert_in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_that_was_read_is_accounted_for() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let receiver = Receiver::start().await;
    let load = Load { streams: 4, events: 1000 };
    load.write(server.http.clone()).await;
    server.http.post("/streams/other-1/events", &json!({"events": [{"type": "Other", "data": {"n": 1}}]})).await;
    let only_load = [
        ("subscription:filter:scope", "stream"),
        ("subscription:filter:filterType", "prefix"),
        ("subscription:filter:expression", "load-"),
        ("transformer:enabled", "true"),
        ("transformer:function", "function transform(record) { record.value.seen = true; }"),
    ];
    server.connect("accounted", &receiver.url(), &only_load).await;
    receiver.has(load.events, LIMIT).await;
    let metric = |name: &'static str| {
        let http = server.http.clone();
        async move { http.metric(name).await.unwrap_or_else(|| panic!("no metric {name}")) }
    };
    eventually("all are counted as delivered", LIMIT, || async {
        metric("forebay_records_delivered_total").await >= 1000.0
    })
    .await;
    let settled = metric("forebay_records_delivered_total").await
        + metric("forebay_records_skipped_total").await
        + metric("forebay_records_parked_total").await
        + metric("forebay_records_in_flight").await;
    assert_eq!(metric("forebay_records_read_total").await, settled);
    assert_eq!(metric("forebay_records_delivered_total").await, 1000.0);
}
