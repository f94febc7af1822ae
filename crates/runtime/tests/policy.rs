//! What becomes of records whose delivery fails, as the table of a connector says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Failure, FailureClass};
use forebay_event::RecordedEvent;
use forebay_runtime::pipeline::{End, Plan};
use serde_json::{Value, json};
use support::{Answer, MemoryStore, SinkScript, catalog, settings, start};

async fn filled(streams: u64, events: u64) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for number in 0..events {
        store.add(&format!("s-{}", number % streams), "T", &json!({ "n": number }).to_string()).await;
    }
    store
}

fn status(number: u16) -> FailureClass {
    FailureClass::Status(number)
}

/// What is told of records; that a run began is not.
fn bodies(events: &[RecordedEvent]) -> Vec<Value> {
    let told = events.iter().filter(|event| event.event_type() != "$conn-parked-claimed");
    told.map(|event| serde_json::from_slice(event.data_slice()).unwrap()).collect()
}

fn places(bodies: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    bodies.iter().map(|body| format!("{}@{}", text(&body["streamId"]), text(&body["streamRevision"]))).collect()
}

const BY_STREAM: (&str, &str) = ("ordering", "stream");
const ONE_LANE: (&str, &str) = ("lanes", "1");

#[tokio::test(start_paused = true)]
async fn what_is_skipped_is_written_down_and_the_rest_of_its_key_goes_on() {
    let store = filled(2, 20).await;
    let sink = SinkScript::of("skips");
    sink.behave(|record, _| match (record.event().stream(), record.event().revision().get()) {
        ("s-1", 2 | 3) => Answer::Fail(Failure::reject(status(409), "a conflict").with_excerpt(b"known already")),
        _ => Answer::Take,
    });
    let pairs = [BY_STREAM, ONE_LANE, ("errors:policy", "status:409=skip, status:4xx=stop")];
    let mut connector = start("skips", &store, &pairs);
    let progress = connector.until(|progress| progress.delivered == 18 && progress.skipped == 2).await;
    assert_eq!((progress.read, progress.parked, progress.in_flight()), (20, 0, 0));
    assert_eq!(connector.stopped().await, End::Stopped);
    let events = store.events("$connectors/skips/skipped");
    assert!(events.iter().all(|event| event.event_type() == "$conn-record-skipped"));
    let bodies = bodies(&events);
    assert_eq!(places(&bodies), ["s-1@2", "s-1@3"]);
    assert_eq!((&bodies[0]["error"]["class"], &bodies[0]["attempts"]), (&json!("status"), &json!(1)));
    assert_eq!(
        (&bodies[0]["error"]["message"], &bodies[0]["error"]["answer"]),
        (&json!("a conflict"), &json!("known already"))
    );
    let of_one: Vec<_> = sink.names().into_iter().filter(|name| name.starts_with("s-1@")).collect();
    assert_eq!(of_one, [0, 1, 4, 5, 6, 7, 8, 9].map(|revision| format!("s-1@{revision}")));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_be_anothers_is_judged_alone() {
    let store = filled(5, 50).await;
    let sink = SinkScript::of("alone");
    // The target never answers for one record; the sink cannot say more than that the attempt timed out.
    sink.behave(|record, _| match (record.event().stream(), record.event().revision().get()) {
        ("s-3", 4) => Answer::Break(Failure::retry(FailureClass::Timeout, "no answer")),
        _ => Answer::Take,
    });
    let pairs = [BY_STREAM, ONE_LANE, ("errors:policy", "timeout=park")];
    let mut connector = start("alone", &store, &pairs);
    let progress = connector.until(|progress| progress.delivered + progress.parked == 50).await;
    assert_eq!((progress.delivered, progress.parked), (44, 6));
    connector.stopped().await;
    let bodies = bodies(&store.events("$connectors/alone/parked"));
    assert_eq!(places(&bodies), [4, 5, 6, 7, 8, 9].map(|revision| format!("s-3@{revision}")));
    assert_eq!(bodies[0]["reason"], "rejected");
    assert!(bodies[1..].iter().all(|body| body["reason"] == "follows"));
}

#[tokio::test(start_paused = true)]
async fn records_are_parked_in_order_whether_on_their_way_or_waiting() {
    let store = filled(1, 40).await;
    let sink = SinkScript::of("in-order");
    let mut failed = 0;
    sink.behave(move |record, _| {
        // First it may pass, so that the key is held with all that comes later; then the second of the batch is refused.
        failed += 1;
        match record.event().revision().get() {
            _ if failed == 1 => Answer::Break(Failure::retry(status(503), "busy")),
            2 => Answer::Fail(Failure::reject(status(422), "no")),
            3.. => Answer::Fail(Failure::retry(FailureClass::Broken, "not sent")),
            _ => Answer::Take,
        }
    });
    let pairs = [BY_STREAM, ONE_LANE, ("errors:policy", "status:422=park")];
    let mut connector = start("in-order", &store, &pairs);
    connector.until(|progress| progress.delivered + progress.parked == 40).await;
    connector.stopped().await;
    let bodies = bodies(&store.events("$connectors/in-order/parked"));
    assert_eq!(places(&bodies), (2..40).map(|revision| format!("s-0@{revision}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_can_be_retried_and_a_passing_failure_can_stop() {
    let store = filled(1, 3).await;
    let sink = SinkScript::of("retried");
    let mut refusals = 3;
    sink.behave(move |_, _| match refusals {
        0 => Answer::Take,
        _ => {
            refusals -= 1;
            Answer::Break(Failure::reject(status(404), "not yet"))
        }
    });
    let mut connector = start("retried", &store, &[("errors:policy", "status:404=retry")]);
    connector.until_delivered(3).await;
    assert_eq!(connector.stopped().await, End::Stopped);
    assert!(sink.attempts()[3] - sink.attempts()[0] >= Duration::from_secs(15));

    let sink = SinkScript::of("stops-at-once");
    sink.behave(|_, _| Answer::Break(Failure::retry(FailureClass::Connect, "refused")));
    let connector = start("stops-at-once", &store, &[("errors:policy", "connect=stop")]);
    let End::Failed(failure) = connector.ended().await else { panic!("it does not fail") };
    assert_eq!(failure.code, "connect");
    assert_eq!(sink.batches(), [3, 1], "the record is tried alone before it is blamed");
}

#[tokio::test(start_paused = true)]
async fn exhausted_retries_leave_only_the_record_out() {
    let store = filled(2, 20).await;
    let sink = SinkScript::of("exhausted");
    sink.behave(|record, _| match (record.event().stream(), record.event().revision().get()) {
        ("s-0", 5) => Answer::Break(Failure::retry(FailureClass::Local, "no space")),
        _ => Answer::Take,
    });
    let pairs = [BY_STREAM, ONE_LANE, ("errors:policy", "local=skip"), ("batching:batchSize", "4")];
    let mut connector = start("exhausted", &store, &pairs);
    let progress = connector.until(|progress| progress.delivered + progress.skipped == 20).await;
    assert_eq!((progress.delivered, progress.skipped), (19, 1));
    connector.stopped().await;
    assert_eq!(places(&bodies(&store.events("$connectors/exhausted/skipped"))), ["s-0@5"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_down_is_not_skipped() {
    let store = filled(1, 2).await;
    let sink = SinkScript::of("not-noted");
    sink.behave(|_, _| Answer::Fail(Failure::reject(status(409), "a conflict")));
    store.fail_appends("/skipped", 3);
    let mut connector = start("not-noted", &store, &[("errors:policy", "status:409=skip")]);
    connector.until(|progress| progress.skipped == 2).await;
    connector.stopped().await;
    assert_eq!(store.events("$connectors/not-noted/skipped").len(), 2);
}

#[test]
fn a_wrong_row_is_refused_with_key_value_and_expectation() {
    let wrong = Plan::build("c", &settings(&[("errors:policy:0", "status:9xx=park")]), &catalog()).err().unwrap();
    let text = wrong.to_string();
    assert!(text.contains("errors:policy") && text.contains("status:9xx=park") && text.contains("expected"), "{text}");
}
