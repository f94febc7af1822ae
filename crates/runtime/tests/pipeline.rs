//! A connector from the store to the sink and back to its checkpoint.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Epoch, Failure, FailureClass};
use forebay_event::{Position, ProposedEvent};
use forebay_runtime::management::PreviewRequest;
use forebay_runtime::pipeline::{CHECKPOINT_TYPE, End, Plan, preview};
use forebay_runtime::settings::shared_descriptions;
use forebay_store::{EventStore, LogPoint};
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{Answer, MemoryStore, SinkScript, catalog, failure, settings, start, start_with};

async fn filled(streams: u64, events: u64) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for number in 0..events {
        store.add(&format!("s-{}", number % streams), "T", &json!({ "n": number }).to_string()).await;
    }
    store
}

fn checkpoints(store: &MemoryStore, id: &str) -> Vec<Value> {
    let events = store.events(&format!("$connectors/{id}/checkpoints"));
    assert!(events.iter().all(|event| event.event_type() == CHECKPOINT_TYPE));
    events.iter().map(|event| serde_json::from_slice(event.data_slice()).unwrap()).collect()
}

/// The position in the last checkpoint. It may lie behind the last record: the connector's own checkpoints are passed over.
fn checkpoint_position(store: &MemoryStore, id: &str) -> u64 {
    checkpoints(store, id).last().and_then(|last| last["logPosition"].as_str()?.parse().ok()).unwrap()
}

fn in_order_per_stream(names: &[String]) -> BTreeMap<String, Vec<u64>> {
    let mut streams: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for name in names {
        let (stream, revision) = name.split_once('@').unwrap();
        streams.entry(stream.to_owned()).or_default().push(revision.parse().unwrap());
    }
    for (stream, revisions) in &streams {
        assert!(revisions.is_sorted(), "{stream}: {revisions:?}");
    }
    streams
}

#[tokio::test(start_paused = true)]
async fn everything_is_delivered_in_order_and_the_checkpoint_says_so() {
    let store = filled(3, 100).await;
    let sink = SinkScript::of("strict");
    let mut connector = start("strict", &store, &[]);
    (&mut connector.running).await.unwrap();
    let progress = connector.until_delivered(100).await;
    assert_eq!((progress.read, progress.in_flight()), (100, 0));
    let positions: Vec<_> = sink.delivered().iter().map(|taken| taken.position).collect();
    assert_eq!(positions, (1..=100).collect::<Vec<_>>());
    assert_eq!(connector.stopped().await, End::Stopped);
    let last = checkpoints(&store, "strict").pop().unwrap();
    assert_eq!((&last["consumerId"], &last["epoch"]), (&json!("strict"), &json!(1)));
    assert!(checkpoint_position(&store, "strict") >= 100);
    let at_record = checkpoints(&store, "strict").into_iter().find(|checkpoint| checkpoint["logPosition"] == "100");
    if let Some(checkpoint) = at_record {
        assert_eq!((&checkpoint["streamId"], &checkpoint["streamRevision"]), (&json!("s-0"), &json!("33")));
    }
    assert_eq!(sink.closed(), 1);
}

#[tokio::test(start_paused = true)]
async fn live_events_follow_history() {
    let store = filled(2, 5).await;
    let sink = SinkScript::of("live");
    let mut connector = start("live", &store, &[]);
    connector.until(|progress| progress.caught_up && progress.delivered == 5).await;
    store.add("s-0", "T", "{}").await;
    store.add("s-0", "$system", "{}").await;
    store.add("s-1", "T", "{}").await;
    connector.until_delivered(7).await;
    assert_eq!(sink.names().split_off(5), ["s-0@3", "s-1@2"]);
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn keys_keep_their_order_under_random_failures() {
    let store = filled(40, 2_000).await;
    let sink = SinkScript::of("random");
    let mut seed = 12_345_u64;
    sink.behave(move |record, _| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_poor = record.event().stream() == "s-7";
        match (seed >> 33) % 100 {
            0..=2 => Answer::Break(failure()),
            3..=5 => Answer::Hang,
            6..=30 if is_poor => Answer::Break(failure().after(Duration::from_secs(2))),
            _ => Answer::Take,
        }
    });
    let pairs = [("ordering", "stream"), ("lanes", "4"), ("batching:batchSize", "7")];
    let mut connector = start("random", &store, &pairs);
    connector.until_delivered(2_000).await;
    let streams = in_order_per_stream(&sink.names());
    assert!(streams.values().all(|revisions| revisions.iter().copied().eq(0..50)), "nothing is lost or repeated");
    assert_eq!(connector.stopped().await, End::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_key_does_not_hold_up_others() {
    let store = filled(10, 1_000).await;
    let sink = SinkScript::of("one-bad");
    sink.behave(|record, _| match record.event().stream() {
        "s-3" => Answer::Fail(failure()),
        _ => Answer::Take,
    });
    let mut connector = start("one-bad", &store, &[("ordering", "stream"), ("lanes", "1")]);
    let progress = connector.until_delivered(900).await;
    assert_eq!(progress.in_flight(), 100);
    assert!(progress.failing.is_some());
    assert_eq!(progress.settled, Some(Position::new(3)), "the mark stays before the first record of the key");
    sink.behave(|_, _| Answer::Take);
    let progress = connector.until_delivered(1_000).await;
    assert!(progress.settled >= Some(Position::new(1_000)));
    connector.until(|progress| progress.failing.is_none()).await;
    in_order_per_stream(&sink.names());
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn retries_follow_the_three_phases() {
    let store = filled(1, 3).await;
    let sink = SinkScript::of("phases");
    sink.behave(|_, _| Answer::Break(failure()));
    let connector = start("phases", &store, &[]);
    eventually_attempts(&sink, 24).await;
    let attempts = sink.attempts();
    let first = attempts[0];
    let seconds: Vec<_> = attempts.iter().map(|at| at.duration_since(first).as_secs()).collect();
    let mut wanted: Vec<u64> = (0..=12).map(|n| n * 5).collect();
    wanted.extend((1..=6).map(|n| 60 + n * 600));
    wanted.extend((1..=5).map(|n| 3_660 + n * 3_600));
    assert_eq!(seconds, wanted);
    assert_eq!(connector.stopped().await, End::Stopped);
}

async fn eventually_attempts(sink: &SinkScript, count: usize) {
    while sink.attempts().len() < count {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_finite_number_of_retries_ends_in_failure_that_says_what_was_tried() {
    let store = filled(1, 3).await;
    let sink = SinkScript::of("finite");
    sink.behave(
        |record, _| if record.event().position() == Position::new(2) { Answer::Break(failure()) } else { Answer::Take },
    );
    let connector = start("finite", &store, &[("resilience:maxRetries", "2")]);
    let End::Failed(end) = connector.ended().await else { panic!("it fails") };
    assert_eq!(end.code, "status");
    for part in ["position 2", "stream s-0", "revision 1", "3 attempts", "busy"] {
        assert!(end.message.contains(part), "{part} is missing in {:?}", end.message);
    }
    assert_eq!(sink.names(), ["s-0@0"]);
    assert_eq!(checkpoints(&store, "finite").last().unwrap()["logPosition"], "1");
    sink.behave(|_, _| Answer::Take);
    let mut again = start_with("finite", &store, &[], None, Epoch(2));
    again.until_delivered(2).await;
    assert_eq!(sink.names(), ["s-0@0", "s-0@1", "s-0@2"]);
    again.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn without_resilience_the_first_failure_is_final() {
    let store = filled(1, 3).await;
    let sink = SinkScript::of("brittle");
    sink.behave(|_, _| Answer::Break(failure()));
    let end = start("brittle", &store, &[("resilience:enabled", "false")]).ended().await;
    assert!(matches!(end, End::Failed(_)));
    assert_eq!(sink.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wish_of_the_target_is_obeyed() {
    let store = filled(1, 1).await;
    let sink = SinkScript::of("wish");
    sink.behave(|_, attempt| match attempt {
        1 => Answer::Break(failure().after(Duration::from_secs(17))),
        _ => Answer::Take,
    });
    let mut connector = start("wish", &store, &[]);
    connector.until_delivered(1).await;
    let attempts = sink.attempts();
    assert_eq!(attempts[1].duration_since(attempts[0]).as_secs(), 17);
    assert_eq!(sink.delivered()[0].attempt, 2);
    connector.stopped().await;
}

fn refused(record: &forebay_event::Record) -> Answer {
    if record.event().stream() == "s-1" && record.event().revision().get() == 2 {
        Answer::Fail(Failure::reject(FailureClass::Status(422), "cannot be processed").with_excerpt(b"{\"why\":1}"))
    } else {
        Answer::Take
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_stops_the_connector_by_default() {
    let store = filled(2, 20).await;
    let sink = SinkScript::of("refuse-stop");
    sink.behave(|record, _| refused(record));
    let End::Failed(end) = start("refuse-stop", &store, &[("batching:batchSize", "1")]).ended().await else {
        panic!("it fails")
    };
    assert!(end.message.contains("cannot be processed"), "{}", end.message);
    assert_eq!(sink.names(), ["s-0@0", "s-1@0", "s-0@1", "s-1@1", "s-0@2"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_is_parked_with_its_key_by_setting_and_across_restarts() {
    let store = filled(2, 20).await;
    let sink = SinkScript::of("refuse-park");
    sink.behave(|record, _| refused(record));
    let pairs = [("ordering", "stream"), ("errors:onReject", "park"), ("batching:batchSize", "1")];
    let mut connector = start("refuse-park", &store, &pairs);
    let progress = connector.until(|progress| progress.delivered + progress.parked == 20).await;
    assert_eq!((progress.delivered, progress.parked, progress.in_flight()), (12, 8, 0));
    assert_eq!(connector.stopped().await, End::Stopped);
    store.add("s-1", "T", "{}").await;
    store.add("s-0", "T", "{}").await;
    let mut again = start_with("refuse-park", &store, &pairs, None, Epoch(2));
    again.until(|progress| progress.delivered == 1 && progress.parked == 1).await;
    again.stopped().await;
    let mut parked = store.events("$connectors/refuse-park/parked");
    parked.retain(|event| event.event_type() == "$conn-record-parked");
    let bodies: Vec<Value> = parked.iter().map(|event| serde_json::from_slice(event.data_slice()).unwrap()).collect();
    let revisions: Vec<_> = bodies.iter().map(|body| body["streamRevision"].as_str().unwrap()).collect();
    assert_eq!(revisions, ["2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    assert_eq!((&bodies[0]["reason"], &bodies[1]["reason"]), (&json!("rejected"), &json!("follows")));
    assert_eq!(bodies[0]["error"]["answer"], r#"{"why":1}"#);
    assert_eq!(bodies[0]["key"], "s-1");
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_of_a_key_is_parked_before_what_waits_behind_it() {
    let store = filled(1, 6).await;
    let sink = SinkScript::of("park-order");
    sink.behave(|_, attempt| match attempt {
        1 => Answer::Fail(failure()),
        _ => Answer::Fail(Failure::reject(FailureClass::Status(422), "never")),
    });
    let pairs = [("ordering", "stream"), ("errors:onReject", "park"), ("batching:batchSize", "2")];
    let mut connector = start("park-order", &store, &pairs);
    connector.until(|progress| progress.parked == 6).await;
    connector.stopped().await;
    let mut parked = store.events("$connectors/park-order/parked");
    parked.retain(|event| event.event_type() == "$conn-record-parked");
    let bodies: Vec<Value> = parked.iter().map(|event| serde_json::from_slice(event.data_slice()).unwrap()).collect();
    let revisions: Vec<_> = bodies.iter().map(|body| body["streamRevision"].as_str().unwrap()).collect();
    assert_eq!(revisions, ["0", "1", "2", "3", "4", "5"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_answer_ends_at_once() {
    let store = filled(1, 5).await;
    let sink = SinkScript::of("stop-answer");
    sink.behave(|_, _| Answer::Break(Failure::stop(FailureClass::Unauthorised, "the password is wrong")));
    let End::Failed(end) = start("stop-answer", &store, &[]).ended().await else { panic!("it fails") };
    assert_eq!(end.code, "unauthorised");
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_sink_is_reported_and_nothing_else() {
    let store = filled(1, 5).await;
    SinkScript::of("panics").behave(|_, _| Answer::Panic);
    let End::Failed(end) = start("panics", &store, &[]).ended().await else { panic!("it fails") };
    assert_eq!(end.code, "broken");
}

#[tokio::test(start_paused = true)]
async fn probes_are_retried_before_it_counts_as_running() {
    let store = filled(1, 1).await;
    let sink = SinkScript::of("probing");
    let mut left = 3;
    sink.probe(move || {
        left -= 1;
        if left > 0 { Err(failure()) } else { Ok(None) }
    });
    let mut connector = start("probing", &store, &[]);
    let begun = tokio::time::Instant::now();
    connector.until(|progress| progress.failing.is_some()).await;
    assert!(connector.running.try_recv().is_err());
    (&mut connector.running).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 10);
    connector.until(|progress| progress.failing.is_none()).await;
    connector.stopped().await;
    sink.probe(|| Err(Failure::stop(FailureClass::Unauthorised, "who are you")));
    let End::Failed(end) = start_with("probing", &store, &[], None, Epoch(2)).ended().await else { panic!("it fails") };
    assert_eq!(end.code, "unauthorised");
}

#[tokio::test(start_paused = true)]
async fn a_restart_repeats_only_what_was_in_flight() {
    let store = filled(10, 200).await;
    let sink = SinkScript::of("restart");
    sink.behave(|record, _| match record.event().stream() {
        "s-4" => Answer::Fail(failure()),
        _ => Answer::Take,
    });
    let pairs = [("ordering", "stream"), ("lanes", "3"), ("autocommit:recordsThreshold", "1")];
    let mut connector = start("restart", &store, &pairs);
    connector.until_delivered(180).await;
    let is_stored = || {
        let last = checkpoints(&store, "restart").pop().unwrap();
        last["logPosition"] == "4" && last["settledRanges"].as_array().is_some_and(|ranges| ranges.len() == 20)
    };
    while !is_stored() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    connector.crash().await;
    sink.forget();
    sink.behave(|_, _| Answer::Take);
    let mut again = start_with("restart", &store, &pairs, None, Epoch(2));
    again.until(|progress| progress.settled >= Some(Position::new(200))).await;
    let names: HashSet<_> = sink.names().into_iter().collect();
    assert_eq!(names, (0..20).map(|revision| format!("s-4@{revision}")).collect());
    again.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn crashes_at_any_moment_lose_nothing_and_keep_the_order() {
    let store = filled(7, 1_500).await;
    let sink = SinkScript::of("crashes");
    let first: Arc<Mutex<HashMap<String, Vec<u64>>>> = Arc::default();
    let seen = Arc::clone(&first);
    let mut count = 0_u64;
    sink.behave(move |record, _| {
        count += 1;
        if count.is_multiple_of(37) {
            return Answer::Break(failure());
        }
        let mut seen = seen.lock();
        let revisions = seen.entry(record.event().stream().to_owned()).or_default();
        let revision = record.event().revision().get();
        assert!(revision <= revisions.len() as u64, "nothing is delivered before what precedes it");
        if revision == revisions.len() as u64 {
            revisions.push(revision);
        }
        Answer::Take
    });
    let pairs = [("ordering", "stream"), ("lanes", "4"), ("autocommit:recordsThreshold", "10")];
    for epoch in 1..=12 {
        let mut connector = start_with("crashes", &store, &pairs, None, Epoch(epoch));
        connector.until(|progress| progress.delivered >= 100 || progress.settled >= Some(Position::new(1_500))).await;
        connector.crash().await;
    }
    let mut last = start_with("crashes", &store, &pairs, None, Epoch(99));
    last.until(|progress| progress.settled >= Some(Position::new(1_500))).await;
    last.stopped().await;
    assert_eq!(first.lock().values().map(Vec::len).sum::<usize>(), 1_500);
}

#[tokio::test(start_paused = true)]
async fn a_later_owner_fences_the_earlier_one() {
    let store = filled(1, 10).await;
    let mut first = start_with("fenced", &store, &[], None, Epoch(5));
    first.until_delivered(10).await;
    let mut second = start_with("fenced", &store, &[], None, Epoch(6));
    (&mut second.running).await.unwrap();
    for _ in 0..3 {
        store.add("s-0", "T", "{}").await;
    }
    assert_eq!(first.ended().await, End::Fenced);
    assert_eq!(start_with("fenced", &store, &[], None, Epoch(5)).ended().await, End::Fenced);
    second.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_ends_it_without_a_word() {
    let store = filled(1, 10).await;
    let mut connector = start("lost", &store, &[]);
    connector.until_delivered(10).await;
    let before = store.len();
    connector.fenced.cancel();
    assert_eq!(connector.ended().await, End::Fenced);
    assert_eq!(store.len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_slow_sink_bounds_what_is_read() {
    let store = filled(1, 20_000).await;
    let sink = SinkScript::of("slow");
    sink.behave(|_, _| Answer::Break(failure()));
    let mut connector = start("slow", &store, &[]);
    connector.until(|progress| progress.failing.is_some()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let read = connector.progress.borrow().read;
    assert!((1_024..=1_024 + 500).contains(&read), "{read}");
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_interrupts_waiting_and_cuts_off_what_hangs() {
    let store = filled(1, 10).await;
    let sink = SinkScript::of("stopping");
    sink.behave(|record, _| if record.event().position().commit() > 4 { Answer::Hang } else { Answer::Take });
    let mut connector = start("stopping", &store, &[("batching:batchSize", "1")]);
    connector.until_delivered(4).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(connector.stopped().await, End::Stopped);
    assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(checkpoints(&store, "stopping").last().unwrap()["logPosition"], "4");
}

/// Keys whose records are never taken wait for hours; whoever comes meanwhile in their lane is delivered at once.
async fn others_flow_past(id: &str, blocked: &'static [&'static str]) {
    let store = MemoryStore::new();
    let sink = SinkScript::of(id);
    sink.behave(
        move |record, _| {
            if blocked.contains(&record.event().stream()) { Answer::Fail(failure()) } else { Answer::Take }
        },
    );
    let pairs = [
        ("ordering", "stream"),
        ("lanes", "1"),
        ("resilience:firstDelayBound:upperLimitMs", "3600000"),
        ("batching:batchSize", "1"),
    ];
    let mut connector = start(id, &store, &pairs);
    for stream in blocked {
        store.add(stream, "T", "{}").await;
    }
    for number in 1..=100_u64 {
        // The blocked keys are tried in vain several times while there is nothing else.
        tokio::time::sleep(Duration::from_secs(number * 60)).await;
        let begun = tokio::time::Instant::now();
        store.add("other", "T", "{}").await;
        connector.until_delivered(number).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{id}, {number}: {:?}", begun.elapsed());
    }
    sink.behave(|_, _| Answer::Take);
    connector.until_delivered(100 + blocked.len() as u64).await;
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn one_blocked_key_holds_up_nobody_in_its_lane() {
    others_flow_past("one-blocked", &["s-0"]).await;
}

#[tokio::test(start_paused = true)]
async fn several_blocked_keys_hold_up_nobody_in_their_lane() {
    others_flow_past("several-blocked", &["s-0", "s-1", "s-2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_subscription_goes_on_where_it_was() {
    let store = filled(3, 600).await;
    let sink = SinkScript::of("broken-sub");
    let mut connector = start("broken-sub", &store, &[]);
    for _ in 0..5 {
        connector.until_delivered(100).await;
        store.break_subscriptions();
        store.add("s-0", "T", "{}").await;
    }
    connector.until_delivered(605).await;
    let positions: HashSet<_> = sink.delivered().iter().map(|taken| taken.position).collect();
    assert_eq!((positions.len(), sink.delivered().len()), (605, 605));
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_behind_the_checkpoint_is_explained() {
    let store = filled(1, 3).await;
    let from = Some(LogPoint::At(Position::new(1_000)));
    let End::Failed(end) = start_with("behind", &store, &[], from, Epoch(1)).ended().await else { panic!("it fails") };
    assert_eq!(end.code, "behind-end");
    assert!(end.message.contains("1000") && end.message.contains("restored"), "{}", end.message);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_write_delays_only_checkpoints() {
    let store = filled(1, 100).await;
    store.fail_appends("/checkpoints", 4);
    let mut connector = start("no-write", &store, &[]);
    connector.until_delivered(100).await;
    assert!(checkpoints(&store, "no-write").is_empty());
    assert_eq!(connector.stopped().await, End::Stopped);
    assert!(checkpoint_position(&store, "no-write") >= 100);
}

#[tokio::test(start_paused = true)]
async fn start_positions_have_their_precedence() {
    let store = filled(1, 10).await;
    let sink = SinkScript::of("starts");
    let latest = [("subscription:initialPosition", "latest")];
    let mut connector = start("starts", &store, &latest);
    (&mut connector.running).await.unwrap();
    assert_eq!(connector.stopped().await, End::Stopped);
    store.add("s-0", "T", "{}").await;
    let mut connector = start_with("starts", &store, &latest, None, Epoch(2));
    connector.until_delivered(1).await;
    assert_eq!(sink.names(), ["s-0@10"], "what came between the runs is not skipped");
    connector.stopped().await;
    sink.forget();
    let from = Some(LogPoint::At(Position::new(7)));
    let mut connector = start_with("starts", &store, &latest, from, Epoch(3));
    connector.until_delivered(4).await;
    assert_eq!(sink.names(), ["s-0@7", "s-0@8", "s-0@9", "s-0@10"]);
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn one_stream_is_read_by_itself_and_resumed_by_revision() {
    let store = filled(3, 30).await;
    let sink = SinkScript::of("single");
    let pairs = [("subscription:filter:filterType", "streamId"), ("subscription:filter:expression", "s-2")];
    let mut connector = start("single", &store, &pairs);
    connector.until_delivered(10).await;
    connector.stopped().await;
    let last = checkpoints(&store, "single").pop().unwrap();
    assert_eq!(
        (&last["streamId"], &last["streamRevision"], &last["logPosition"]),
        (&json!("s-2"), &json!("9"), &json!("30"))
    );
    for stream in ["s-1", "s-2"] {
        store.add(stream, "T", "{}").await;
    }
    sink.forget();
    let mut again = start_with("single", &store, &pairs, None, Epoch(2));
    again.until_delivered(1).await;
    assert_eq!(sink.names(), ["s-2@10"]);
    again.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_path_rejects_still_moves_the_checkpoint() {
    let store = filled(1, 100).await;
    let data = ProposedEvent {
        content_type: forebay_event::ContentType::Bytes,
        ..ProposedEvent::json(uuid::Uuid::new_v4(), "T", "\0")
    };
    store.add_proposed("s-0", data).await;
    let sink = SinkScript::of("path");
    let pairs = [("subscription:filter:expression", "$[?($.value.n == 41)]")];
    let mut connector = start("path", &store, &pairs);
    let progress = connector.until(|progress| progress.caught_up && progress.delivered == 1).await;
    assert!(progress.read >= 101 && progress.skipped >= 100 && progress.settled >= Some(Position::new(101)));
    assert_eq!(sink.names(), ["s-0@41"]);
    connector.stopped().await;
    let last = checkpoints(&store, "path").pop().unwrap();
    let position: u64 = last["logPosition"].as_str().unwrap().parse().unwrap();
    assert!(position >= 101, "{position}");
}

#[tokio::test(start_paused = true)]
async fn connectors_at_rest_write_nothing() {
    let store = filled(1, 10).await;
    let path = [("subscription:filter:expression", "$.value.n")];
    let mut first = start("rest-1", &store, &path);
    let mut second = start("rest-2", &store, &[("subscription:filter:scope", "record")]);
    first.until_delivered(10).await;
    second.until_delivered(10).await;
    first.stopped().await;
    second.stopped().await;
    let mut first = start_with("rest-1", &store, &path, None, Epoch(2));
    let mut second = start_with("rest-3", &store, &path, None, Epoch(1));
    first.until(|progress| progress.caught_up).await;
    second.until(|progress| progress.caught_up && progress.delivered == 10).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = store.len();
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(store.len(), before);
    first.stopped().await;
    second.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stored_without_autocommit() {
    let store = filled(1, 10).await;
    let mut connector = start("forgetful", &store, &[("autocommit:enabled", "false")]);
    connector.until_delivered(10).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    connector.stopped().await;
    assert!(checkpoints(&store, "forgetful").is_empty());
}

#[tokio::test(start_paused = true)]
async fn where_a_target_stands_is_obeyed() {
    let store = filled(1, 10).await;
    let sink = SinkScript::of("standing");
    sink.probe(|| Ok(Some(Position::new(6))));
    let mut connector = start("standing", &store, &[]);
    connector.until_delivered(10).await;
    assert_eq!(sink.delivered().len(), 4);
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_ahead_of_the_log_is_not_taken_at_its_word() {
    let store = filled(1, 10).await;
    let sink = SinkScript::of("ahead");
    sink.probe(|| Ok(Some(Position::new(1_000))));
    let End::Failed(end) = start("ahead", &store, &[]).ended().await else { panic!("it fails") };
    assert_eq!(end.code, "behind-end");
    assert!(end.message.contains("position 1000") && end.message.contains("the log ends at 1"), "{end}");
    assert!(sink.delivered().is_empty());
}

const DROP_ODD: &str = "function transform(record) {
    if (record.value.n % 2 === 1) return null;
    record.value.seen = true;
    record.schemaInfo.subject = 'Seen';
}";

#[tokio::test(start_paused = true)]
async fn a_transform_reshapes_and_drops() {
    let store = filled(2, 100).await;
    let sink = SinkScript::of("script");
    let pairs = [("transformer:enabled", "true"), ("transformer:function", DROP_ODD)];
    let mut connector = start("script", &store, &pairs);
    let progress = connector.until(|progress| progress.delivered + progress.skipped == 100).await;
    assert_eq!((progress.delivered, progress.skipped, progress.in_flight()), (50, 50, 0));
    let first: Value = serde_json::from_slice(&sink.delivered()[0].data).unwrap();
    assert_eq!(first, json!({"n": 0, "seen": true}));
    connector.stopped().await;
    assert!(checkpoint_position(&store, "script") >= 100);
}

const FAIL_ON_SEVEN: &str = "function transform(record) { if (record.value.n === 7) throw new Error('seven'); }";

#[tokio::test(start_paused = true)]
async fn a_script_that_throws_stops_or_parks() {
    let store = filled(2, 20).await;
    let sink = SinkScript::of("throws");
    let stop = [("transformer:enabled", "true"), ("transformer:function", FAIL_ON_SEVEN)];
    let End::Failed(end) = start("throws", &store, &stop).ended().await else { panic!("it fails") };
    assert_eq!(end.code, "script");
    assert!(end.message.contains("seven") && end.message.contains("position 8"), "{}", end.message);
    assert_eq!(sink.delivered().len(), 7, "what came before is delivered");
    let park = [stop[0], stop[1], ("errors:onScriptError", "park"), ("ordering", "stream")];
    let mut connector = start_with("throws", &store, &park, None, Epoch(2));
    connector.until(|progress| progress.settled >= Some(Position::new(20))).await;
    assert_eq!(connector.progress.borrow().parked, 7);
    connector.stopped().await;
    let parked = store.events("$connectors/throws/parked");
    let first = parked.iter().find(|event| event.event_type() == "$conn-record-parked").unwrap();
    let body: Value = serde_json::from_slice(first.data_slice()).unwrap();
    assert_eq!((&body["streamId"], &body["error"]["class"]), (&json!("s-1"), &json!("script")));
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded_by_count_and_wait_for_age() {
    let store = filled(1, 25).await;
    let sink = SinkScript::of("batches");
    let pairs = [("batching:batchSize", "10"), ("batching:batchTimeoutMs", "250")];
    let mut connector = start("batches", &store, &pairs);
    let begun = tokio::time::Instant::now();
    connector.until_delivered(25).await;
    assert_eq!(sink.batches(), [10, 10, 5]);
    assert!(begun.elapsed() >= Duration::from_millis(250));
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn checkpoints_follow_threshold_and_interval() {
    let store = filled(1, 5_000).await;
    let mut connector = start("often", &store, &[("autocommit:recordsThreshold", "500")]);
    connector.until_delivered(5_000).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(checkpoint_position(&store, "often") >= 5000);
    store.add("s-0", "T", "{}").await;
    connector.until_delivered(5_001).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(checkpoint_position(&store, "often") >= 5001);
    let before = store.head().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.head().await.unwrap(), before);
    connector.stopped().await;
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    match Plan::build("settings", &settings(pairs), &catalog()) {
        Ok(_) => panic!("{pairs:?} is refused"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn wrong_settings_are_refused_by_name() {
    for (pairs, parts) in [
        (&[("instanceTypeName", "many-sunk")][..], &["instanceTypeName", "many-sink"][..]),
        (&[("instanceTypeName", "")], &["instanceTypeName", "missing"]),
        (&[("subscripton:filter:scope", "stream")], &["subscripton", "not known", "subscription:filter:scope"]),
        (&[("lanes", "2")], &["lanes", "ordering is all"]),
        (&[("lanes", "2"), ("ordering", "stream"), ("instanceTypeName", "one-sink")], &["lanes", "one place"]),
        (&[("lanes", "257"), ("ordering", "stream")], &["lanes", "256"]),
        (&[("lanes", "0")], &["lanes"]),
        (&[("ordering", "header")], &["orderingKey", "missing"]),
        (&[("ordering", "jsonPath"), ("orderingKey", "$.a[")], &["orderingKey", "byte"]),
        (&[("orderingKey", "x")], &["orderingKey", "all"]),
        (&[("transformer:enabled", "true")], &["transformer:function", "missing"]),
        (&[("resilience:maxRetries", "-2")], &["resilience:maxRetries"]),
        (&[("resilience:jitter", "1.5")], &["resilience:jitter"]),
        (&[("errors:onReject", "skip")], &["errors:onReject", "stop, park"]),
        (
            &[
                ("subscription:filter:filterType", "jsonPath"),
                ("subscription:filter:scope", "stream"),
                ("subscription:filter:expression", "$.value"),
            ],
            &["subscription:filter:scope"],
        ),
    ] {
        let refused = refusal(pairs);
        for part in parts {
            assert!(refused.contains(part), "{part} is missing in {refused:?}");
        }
    }
}

#[test]
fn documented_settings_are_taken_as_they_are_written() {
    let pairs = [
        ("Subscription:Filter:Scope", "Stream"),
        ("subscription:nodeAffinity", "Leader"),
        ("resilience:firstDelayBound:delayMs", "5000.0"),
        ("resilience:thirdDelayBound:upperLimitMs", "-1"),
        ("autocommit:interval", "5000"),
        ("ordering", "stream"),
        ("restart:policy", "onFailure"),
        ("_comment", "free"),
    ];
    let plan = Plan::build("settings", &settings(&pairs), &catalog()).unwrap();
    assert_eq!(plan.lanes(), 16);
    assert_eq!(plan.restart().delay(0), Some(Duration::from_secs(10)));
    let described = shared_descriptions();
    let default = |key: &str| {
        let found = described.iter().find(|description| description.key == key);
        found.unwrap_or_else(|| panic!("{key} is not described")).default.clone()
    };
    assert_eq!(default("resilience:secondDelayBound:delayMs").as_deref(), Some("600000.0"));
    assert_eq!(default("autocommit:recordsThreshold").as_deref(), Some("1000"));
    assert_eq!(default("subscription:initialPosition").as_deref(), Some("latest"));
    assert!(described.iter().all(|description| !description.doc.is_empty()), "{described:#?}");
}

#[tokio::test]
async fn a_preview_shows_what_would_happen() {
    let store = filled(2, 50).await;
    let pairs = [
        ("subscription:filter:expression", "$[?($.value.n >= 10)]"),
        ("transformer:enabled", "true"),
        (
            "transformer:function",
            "function transform(r) { if (r.value.n === 20) throw 1; if (r.value.n === 21) return null; }",
        ),
    ];
    let request = PreviewRequest { settings: settings(&pairs), last: None, from: None, to: None, samples: 3 };
    let report = preview(store.as_ref(), &catalog(), request.clone()).await.unwrap();
    assert_eq!((report.examined, report.matched, report.skipped, report.failed), (50, 38, 11, 1));
    assert_eq!((report.samples.len(), report.cut_short), (3, false));
    let last = PreviewRequest { last: Some(5), ..request.clone() };
    assert_eq!(preview(store.as_ref(), &catalog(), last).await.unwrap().matched, 5);
    let range = PreviewRequest { from: Some(Position::new(11)), to: Some(Position::new(22)), ..request };
    let report = preview(store.as_ref(), &catalog(), range).await.unwrap();
    assert_eq!((report.examined, report.matched, report.skipped, report.failed), (12, 10, 1, 1));
}
