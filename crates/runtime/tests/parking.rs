//! Parked keys: what is set aside, tried again, changed and given up, through restarts, crashes and other settings.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_connector::{Epoch, Failure, FailureClass};
use forebay_runtime::pipeline::{End, ParkedCommand, ParkedDesk, ParkedOutcome, ParkedRefusal};
use forebay_store::LogPoint;
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{Answer, Delivered, MemoryStore, SinkScript, failure, look, start, start_with};

const PARK: [(&str, &str); 3] = [("ordering", "stream"), ("errors:onReject", "park"), ("lanes", "4")];
const REPLAY: ParkedCommand = ParkedCommand::Replay { records_per_s: None };

async fn filled(streams: u64, events: u64) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for number in 0..events {
        store.add(&format!("s-{}", number % streams), "T", &json!({ "n": number }).to_string()).await;
    }
    store
}

/// Streams and revisions that a sink refuses for good, until they are taken out. What comes behind a refused record of its
/// stream is refused for now, as a target does that keeps order.
#[derive(Clone, Default)]
struct Poison(Arc<Mutex<BTreeSet<(String, u64)>>>);

impl Poison {
    fn on(sink: &SinkScript, records: &[(&str, u64)]) -> Self {
        let poison = Self::default();
        poison.0.lock().extend(records.iter().map(|(stream, revision)| ((*stream).to_owned(), *revision)));
        let (shared, mut blocked) = (poison.clone(), HashMap::<String, u64>::new());
        sink.behave(move |record, _| {
            let (stream, revision) = (record.event().stream().to_owned(), record.event().revision().get());
            if shared.0.lock().contains(&(stream.clone(), revision)) {
                blocked.insert(stream, revision);
                return Answer::Fail(Failure::reject(FailureClass::Status(422), "it is poisoned").with_excerpt(b"no"));
            }
            match blocked.get(&stream) {
                Some(first) if *first < revision && shared.0.lock().contains(&(stream.clone(), *first)) => {
                    Answer::Fail(failure())
                }
                _ => Answer::Take,
            }
        });
        poison
    }

    fn heal(&self) {
        self.0.lock().clear();
    }
}

/// What stands in the parked stream, read without the code under test: type and body.
fn told(store: &MemoryStore, id: &str) -> Vec<(String, Value)> {
    let events = store.events(&format!("$connectors/{id}/parked"));
    let read = |data: &[u8]| serde_json::from_slice(data).unwrap();
    events.iter().map(|event| (event.event_type().to_owned(), read(event.data_slice()))).collect()
}

fn of_type(store: &MemoryStore, id: &str, wanted: &str) -> Vec<Value> {
    told(store, id).into_iter().filter(|(kind, _)| kind == wanted).map(|(_, body)| body).collect()
}

fn revisions(sink: &SinkScript, stream: &str) -> Vec<u64> {
    sink.delivered().iter().filter(|taken| taken.stream == stream).map(|taken| taken.revision).collect()
}

async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if reached().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("not reached: {what}");
}

async fn ask(desk: &ParkedDesk, key: &str, command: ParkedCommand) -> Result<ParkedOutcome, ParkedRefusal> {
    desk.ask(key, command).await
}

#[tokio::test(start_paused = true)]
async fn a_key_is_tried_again_and_replayed_in_order_while_new_records_queue_behind() {
    let store = filled(2, 20).await;
    let sink = SinkScript::of("replay");
    let poison = Poison::on(&sink, &[("s-1", 2)]);
    let mut connector = start("replay", &store, &PARK);
    connector.until(|progress| progress.delivered + progress.parked == 20).await;
    let parked = look("replay", &store, &PARK, Some(&connector.parked)).await.keys().await;
    assert_eq!((parked.len(), parked[0].key.as_str(), parked[0].records, parked[0].attempts), (1, "s-1", 8, 1));
    assert_eq!(
        (parked[0].error_class.as_deref(), parked[0].error.as_deref()),
        (Some("status"), Some("it is poisoned"))
    );
    for command in [ParkedCommand::Retry, REPLAY] {
        let refused = ask(&connector.parked, "s-1", command).await.unwrap();
        assert_eq!(refused, ParkedOutcome::Refused { class: "status", message: "it is poisoned".to_owned(), left: 8 });
    }
    assert!(matches!(ask(&connector.parked, "s-0", REPLAY).await, Err(ParkedRefusal::NoKey { .. })));
    assert_eq!(look("replay", &store, &PARK, None).await.keys().await[0].attempts, 3);
    poison.heal();
    assert_eq!(
        ask(&connector.parked, "s-1", ParkedCommand::Retry).await.unwrap(),
        ParkedOutcome::Delivered { left: 7 }
    );
    store.add("s-1", "T", "{}").await;
    connector.until(|progress| progress.parked == 9).await;
    let slowly = ParkedCommand::Replay { records_per_s: Some(1) };
    assert_eq!(ask(&connector.parked, "s-1", slowly.clone()).await.unwrap(), ParkedOutcome::Delivered { left: 7 });
    assert!(matches!(ask(&connector.parked, "s-1", slowly).await, Err(ParkedRefusal::Replaying { .. })));
    store.add("s-1", "T", "{}").await;
    store.add("s-0", "T", "{}").await;
    connector.until(|progress| progress.delivered == 13).await;
    until("all is replayed", async || revisions(&sink, "s-1").len() == 12).await;
    store.add("s-1", "T", "{}").await;
    connector.until(|progress| progress.delivered == 14).await;
    assert_eq!(revisions(&sink, "s-1"), (0..13).collect::<Vec<_>>());
    assert_eq!(look("replay", &store, &PARK, None).await.count().await.records, 0);
    let (first, last) = (sink.delivered()[13].at, sink.delivered().iter().rev().nth(1).unwrap().at);
    assert!(last - first >= Duration::from_secs(6), "one in a second, not faster");
    assert_eq!(connector.stopped().await, End::Stopped);
    assert_eq!(told(&store, "replay").last().unwrap().1["standing"], json!({"keys": 0, "records": 0, "bytes": 0}));
}

#[tokio::test(start_paused = true)]
async fn an_edit_keeps_the_original_and_a_drop_its_reason() {
    let store = filled(1, 5).await;
    let sink = SinkScript::of("editing");
    let poison = Poison::on(&sink, &[("s-0", 1), ("s-0", 3)]);
    let mut connector = start("editing", &store, &PARK);
    connector.until(|progress| progress.parked == 4).await;
    let records = look("editing", &store, &PARK, None).await.records("s-0", 0, 10).await.unwrap();
    assert_eq!(records.iter().map(|record| record.revision).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((records[0].answer.as_deref(), records[1].answer.as_deref()), (Some("no"), None));
    let drop = |number| ParkedCommand::Drop { number, reason: "not ours".to_owned() };
    let edit = |number| {
        let data = Bytes::from_static(b"{\"n\":\"two\"}");
        ParkedCommand::Edit { number, data, reason: "wrong type".to_owned() }
    };
    assert!(matches!(ask(&connector.parked, "s-0", drop(Some(77))).await, Err(ParkedRefusal::NoRecord { .. })));
    assert!(matches!(ask(&connector.parked, "s-0", edit(77)).await, Err(ParkedRefusal::NoRecord { .. })));
    let dropped = ask(&connector.parked, "s-0", drop(Some(records[0].number))).await.unwrap();
    assert_eq!(dropped, ParkedOutcome::Dropped { records: 1 });
    connector.stopped().await;
    // What needs no sink works without a pipeline too.
    let idle = look("editing", &store, &PARK, None).await;
    assert_eq!(idle.change("s-0", &edit(records[1].number)).await.unwrap(), ParkedOutcome::Edited);
    assert!(matches!(idle.change("s-0", &REPLAY).await, Err(ParkedRefusal::NotRunning)));
    let edited = look("editing", &store, &PARK, None).await.records("s-0", 0, 1).await.unwrap().remove(0);
    assert_eq!(&edited.data[..], b"{\"n\":\"two\"}");
    assert_eq!(edited.original, Some((Bytes::from_static(b"{\"n\":2}"), "wrong type".to_owned())));
    let mut connector = start_with("editing", &store, &PARK, None, Epoch(2));
    (&mut connector.running).await.unwrap();
    assert_eq!(ask(&connector.parked, "s-0", REPLAY).await.unwrap(), ParkedOutcome::Delivered { left: 2 });
    until("the replay gives up", async || !of_type(&store, "editing", "$conn-key-replay-ended").is_empty()).await;
    assert_eq!(sink.delivered().last().unwrap().data, b"{\"n\":\"two\"}");
    assert_eq!(ask(&connector.parked, "s-0", drop(None)).await.unwrap(), ParkedOutcome::Dropped { records: 2 });
    poison.heal();
    store.add("s-0", "T", "{}").await;
    connector.until_delivered(1).await;
    assert_eq!(revisions(&sink, "s-0"), [0, 2, 5]);
    assert!(of_type(&store, "editing", "$conn-record-dropped").iter().all(|body| body["reason"] == "not ours"));
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_on_after_a_crash_and_repeats_at_most_what_was_on_its_way() {
    for crash_after in [1_usize, 3, 7, 12] {
        let id = format!("replay-crash-{crash_after}");
        let store = filled(1, 20).await;
        let sink = SinkScript::of(&id);
        let poison = Poison::on(&sink, &[("s-0", 0)]);
        let pairs = [&PARK[..], &[("batching:batchSize", "3")]].concat();
        let mut connector = start(&id, &store, &pairs);
        connector.until(|progress| progress.parked == 20).await;
        poison.heal();
        ask(&connector.parked, "s-0", ParkedCommand::Replay { records_per_s: Some(3) }).await.unwrap();
        until("some are replayed", async || sink.delivered().len() >= crash_after).await;
        connector.crash().await;
        let before = sink.delivered().len();
        let mut connector = start_with(&id, &store, &pairs, None, Epoch(2));
        (&mut connector.running).await.unwrap();
        store.add("s-0", "T", "{}").await;
        until("all is there", async || revisions(&sink, "s-0").last() == Some(&20)).await;
        let taken = revisions(&sink, "s-0");
        assert!(taken[..before].is_sorted() && taken[before..].is_sorted(), "{taken:?}");
        assert!(taken.len() <= 21 + 3, "at most a batch is repeated: {taken:?}");
        assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>().len(), 21);
        connector.stopped().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_keeps_its_meaning_when_keys_are_made_in_another_way() {
    let store = filled(3, 12).await;
    let sink = SinkScript::of("rekeyed");
    let poison = Poison::on(&sink, &[("s-2", 1), ("s-0", 2)]);
    let mut connector = start("rekeyed", &store, &PARK);
    connector.until(|progress| progress.delivered + progress.parked == 12).await;
    connector.stopped().await;
    // One key for all streams of a category, and another number of lanes: what comes now follows what is parked.
    let category = [("ordering", "category"), ("errors:onReject", "park"), ("lanes", "7")];
    store.add("s-1", "T", "{}").await;
    store.add("t-1", "T", "{}").await;
    let mut connector = start_with("rekeyed", &store, &category, None, Epoch(2));
    connector.until(|progress| progress.delivered == 1 && progress.parked == 1).await;
    let keys = look("rekeyed", &store, &category, Some(&connector.parked)).await.keys().await;
    assert_eq!(keys.iter().map(|key| (key.key.as_str(), key.records)).collect::<Vec<_>>(), [("s", 6)]);
    connector.stopped().await;
    // And back to streams: the third one is parked by now, its record is in the right key.
    let keys = look("rekeyed", &store, &PARK, None).await.keys().await;
    let named: Vec<_> = keys.iter().map(|key| (key.key.as_str(), key.records)).collect();
    assert_eq!(named, [("s-0", 2), ("s-1", 1), ("s-2", 3)]);
    // One order over everything: all of it follows, and is replayed in the order of the log.
    let all = [("ordering", "all"), ("errors:onReject", "park")];
    let mut connector = start_with("rekeyed", &store, &all, None, Epoch(3));
    store.add("u-1", "T", "{}").await;
    connector.until(|progress| progress.parked == 1).await;
    poison.heal();
    let before = sink.delivered().len();
    ask(&connector.parked, "$all", REPLAY).await.unwrap();
    until("all is replayed", async || sink.delivered().len() == before + 7).await;
    let positions: Vec<_> = sink.delivered()[before..].iter().map(|taken| taken.position).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    for stream in ["s-0", "s-1", "s-2"] {
        assert!(revisions(&sink, stream).is_sorted());
    }
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_would_park_too_much_stops_and_says_so() {
    for (pair, said) in
        [(("parking:keysMax", "1"), "parking:keysMax"), (("parking:bytesMax", "1200"), "parking:bytesMax")]
    {
        let id = format!("full-{}", pair.1);
        let store = filled(2, 20).await;
        let sink = SinkScript::of(&id);
        let poison = Poison::on(&sink, &[("s-0", 1), ("s-1", 4)]);
        let pairs = [&PARK[..], &[pair]].concat();
        let End::Failed(end) = start(&id, &store, &pairs).ended().await else { panic!("it fails") };
        assert_eq!(end.code, "parking");
        assert!(end.message.contains(said), "{}", end.message);
        // With the bound raised it goes on where it was.
        let mut connector = start_with(&id, &store, &PARK, None, Epoch(2));
        until("the rest is parked", async || {
            look(&id, &store, &PARK, None).await.count().await.records == 15 && revisions(&sink, "s-1").len() == 4
        })
        .await;
        poison.heal();
        for key in ["s-0", "s-1"] {
            ask(&connector.parked, key, REPLAY).await.unwrap();
        }
        until("all is there", async || sink.delivered().len() == 20).await;
        (&mut connector.running).await.unwrap();
        connector.stopped().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_replayed_or_dropped_comes_again_only_when_the_start_says_so() {
    let store = filled(1, 4).await;
    let sink = SinkScript::of("again");
    let poison = Poison::on(&sink, &[("s-0", 1)]);
    // Without checkpoints every start reads from the beginning: only the parked stream says what is done.
    let pairs = [&PARK[..], &[("autocommit:enabled", "false")]].concat();
    let mut connector = start("again", &store, &pairs);
    connector.until(|progress| progress.parked == 3).await;
    let number = look("again", &store, &pairs, None).await.records("s-0", 0, 1).await.unwrap()[0].number;
    ask(&connector.parked, "s-0", ParkedCommand::Drop { number: Some(number), reason: "no".to_owned() }).await.unwrap();
    poison.heal();
    ask(&connector.parked, "s-0", ParkedCommand::Retry).await.unwrap();
    connector.crash().await;
    sink.forget();
    let mut connector = start_with("again", &store, &pairs, None, Epoch(2));
    connector.until(|progress| progress.read == 4 && progress.in_flight() == 0).await;
    // 1 is dropped, 2 replayed and 3 parked still; 0 must have been delivered before any of them was parked.
    let parked = look("again", &store, &pairs, None).await.records("s-0", 0, 9).await.unwrap();
    assert_eq!(parked.iter().map(|record| record.revision).collect::<Vec<_>>(), [3]);
    assert!(revisions(&sink, "s-0").is_empty());
    connector.stopped().await;
    let mut connector = start_with("again", &store, &pairs, Some(LogPoint::Start), Epoch(3));
    connector.until(|progress| progress.read == 4 && progress.in_flight() == 0).await;
    assert_eq!(connector.progress.borrow().parked, 3, "they come again, to where their key is parked");
    ask(&connector.parked, "s-0", REPLAY).await.unwrap();
    until("all is there", async || sink.delivered().len() == 4).await;
    assert_eq!(revisions(&sink, "s-0"), [0, 1, 2, 3]);
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_finds_everything_parked_covers_it_with_a_checkpoint() {
    let store = filled(1, 10).await;
    let sink = SinkScript::of("covers");
    Poison::on(&sink, &[("s-0", 0)]);
    let pairs = [&PARK[..], &[("autocommit:recordsThreshold", "1000"), ("autocommit:interval", "5000")]].concat();
    let mut connector = start("covers", &store, &pairs);
    connector.until(|progress| progress.parked == 10).await;
    // Before the interval is over, so that no checkpoint says what the parked stream says.
    connector.crash().await;
    let covered = || {
        let checkpoints = store.events("$connectors/covers/checkpoints");
        let body: Value = serde_json::from_slice(checkpoints.last().unwrap().data_slice()).unwrap();
        if body["atStart"] == true { 0 } else { body["logPosition"].as_str().unwrap().parse::<u64>().unwrap() }
    };
    assert_eq!(covered(), 0);
    let connector = start_with("covers", &store, &pairs, None, Epoch(2));
    let last = store.events("s-0").last().unwrap().position().commit();
    until("a checkpoint that covers what is parked", async || covered() >= last).await;
    assert_eq!(of_type(&store, "covers", "$conn-record-parked").len(), 10);
    assert_eq!(connector.stopped().await, End::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_owner_cannot_park_any_more() {
    let store = filled(1, 2).await;
    let sink = SinkScript::of("zombie");
    let poison = Poison::on(&sink, &[]);
    let mut earlier = start("zombie", &store, &[&PARK[..], &[("autocommit:enabled", "false")]].concat());
    earlier.until_delivered(2).await;
    let mut later =
        start_with("zombie", &store, &[&PARK[..], &[("autocommit:enabled", "false")]].concat(), None, Epoch(2));
    later.until_delivered(2).await;
    later.crash().await;
    poison.0.lock().insert(("s-0".to_owned(), 2));
    store.add("s-0", "T", "{}").await;
    assert_eq!(earlier.ended().await, End::Fenced);
    assert!(of_type(&store, "zombie", "$conn-record-parked").is_empty());
    let stale = start_with("zombie", &store, &PARK, None, Epoch(1));
    assert_eq!(stale.ended().await, End::Fenced);
}

#[tokio::test(start_paused = true)]
async fn a_mended_transform_is_made_at_replay() {
    const BROKEN: &str = "function transform(r) { if (r.value.n === 2) throw new Error('two'); r.value.seen = true; }";
    const MENDED: &str = "function transform(r) { r.value.seen = true; }";
    let store = filled(1, 5).await;
    let sink = SinkScript::of("mended");
    let pairs = |script| {
        let own = [("transformer:enabled", "true"), ("transformer:function", script), ("errors:onScriptError", "park")];
        [&PARK[..], &own].concat()
    };
    let mut connector = start("mended", &store, &pairs(BROKEN));
    connector.until(|progress| progress.parked == 3).await;
    let refused = ask(&connector.parked, "s-0", REPLAY).await.unwrap();
    assert!(matches!(&refused, ParkedOutcome::Refused { class: "script", left: 3, .. }), "{refused:?}");
    connector.stopped().await;
    let mut connector = start_with("mended", &store, &pairs(MENDED), None, Epoch(2));
    (&mut connector.running).await.unwrap();
    ask(&connector.parked, "s-0", REPLAY).await.unwrap();
    until("all is there", async || sink.delivered().len() == 5).await;
    for (number, taken) in sink.delivered().iter().enumerate() {
        let data: Value = serde_json::from_slice(&taken.data).unwrap();
        assert_eq!(data, json!({"n": number, "seen": true}));
    }
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_again_is_judged_by_the_policy() {
    let store = filled(1, 8).await;
    let sink = SinkScript::of("judged");
    let poison = Poison::on(&sink, &[("s-0", 1)]);
    let pairs =
        [&PARK[..], &[("errors:policy", "status:409=skip, status:410=stop"), ("batching:batchSize", "2")]].concat();
    let mut connector = start("judged", &store, &pairs);
    connector.until(|progress| progress.parked == 7).await;
    poison.heal();
    let mut left = HashMap::from([(1, (503, 2)), (3, (409, 9)), (5, (503, 1)), (6, (410, 9))]);
    sink.behave(move |record, _| match left.get_mut(&record.event().revision().get()) {
        Some((status, left)) if *left > 0 => {
            *left -= 1;
            let class = FailureClass::Status(*status);
            Answer::Break(if *status == 503 { failure() } else { Failure::reject(class, "as it is") })
        }
        _ => Answer::Take,
    });
    let begun = tokio::time::Instant::now();
    let waiting = ask(&connector.parked, "s-0", REPLAY).await.unwrap();
    assert!(matches!(waiting, ParkedOutcome::Waiting { class: "status", left: 7, .. }), "{waiting:?}");
    connector.until(|progress| progress.failing.is_some()).await;
    let End::Failed(end) = connector.ended().await else { panic!("it stops") };
    assert!(end.message.contains("revision 6") && end.code == "status", "{end:?}");
    assert_eq!(begun.elapsed().as_secs(), 15, "three failures that pass");
    assert_eq!(revisions(&sink, "s-0"), [0, 1, 2, 4, 5]);
    assert_eq!(store.events("$connectors/judged/skipped").len(), 1);
    assert_eq!(of_type(&store, "judged", "$conn-record-dropped").len(), 1);
    // The replay ended with the connector: what is left waits for somebody.
    let mut connector = start_with("judged", &store, &pairs, None, Epoch(2));
    (&mut connector.running).await.unwrap();
    let refused = ask(&connector.parked, "s-0", REPLAY).await.unwrap();
    assert!(matches!(refused, ParkedOutcome::Refused { class: "status", left: 2, .. }), "a probe stops nothing");
    sink.behave(|_, _| Answer::Take);
    ask(&connector.parked, "s-0", REPLAY).await.unwrap();
    until("all is there", async || revisions(&sink, "s-0") == [0, 1, 2, 4, 5, 6, 7]).await;
    assert_eq!(connector.stopped().await, End::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_held_to_the_rate_and_the_breaker() {
    let store = filled(1, 12).await;
    let sink = SinkScript::of("held-to");
    let poison = Poison::on(&sink, &[("s-0", 0)]);
    let own = [
        ("rateLimit:eventsPerSecond", "2"),
        ("rateLimit:burstMs", "500"),
        ("breaker:failures", "1"),
        ("breaker:delayMs", "60000"),
    ];
    let pairs = [&PARK[..], &own].concat();
    let mut connector = start("held-to", &store, &pairs);
    connector.until(|progress| progress.parked == 12).await;
    poison.heal();
    sink.forget();
    let mut down = 2;
    sink.behave(move |_, _| {
        down = (down - 1).max(0);
        if down > 0 { Answer::Break(Failure::retry(FailureClass::Connect, "nobody there")) } else { Answer::Take }
    });
    ask(&connector.parked, "s-0", REPLAY).await.unwrap();
    until("all is there", async || sink.delivered().len() == 12).await;
    let attempts = sink.attempts();
    assert!(attempts[1] - attempts[0] >= Duration::from_secs(50), "the breaker is open: {attempts:?}");
    assert!(attempts[attempts.len() - 1] - attempts[1] >= Duration::from_secs(5), "two in a second: {attempts:?}");
    connector.stopped().await;
}

/// Numbers that look random and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What the sink does at random: some records are poisoned, some attempts fail for now.
struct Target {
    poisoned: BTreeSet<(String, u64)>,
    blocked: HashMap<String, u64>,
    chance: Chance,
    is_well: bool,
}

impl Target {
    fn answer(&mut self, stream: &str, revision: u64) -> Answer {
        let here = (stream.to_owned(), revision);
        if self.is_well {
            return Answer::Take;
        }
        if self.chance.below(30) == 0 {
            self.poisoned.insert(here.clone());
        }
        if self.poisoned.contains(&here) {
            self.blocked.insert(stream.to_owned(), revision);
            return Answer::Fail(Failure::reject(FailureClass::Status(422), "it is poisoned"));
        }
        if self
            .blocked
            .get(stream)
            .is_some_and(|first| *first < revision && self.poisoned.contains(&(stream.to_owned(), *first)))
        {
            return Answer::Fail(failure());
        }
        if self.chance.below(40) == 0 { Answer::Break(failure()) } else { Answer::Take }
    }
}

type Place = (String, u64);

/// What a run may take again: what was taken before it began and was not stored as settled by then.
struct Restart {
    /// So many were taken before.
    taken: usize,
    again: BTreeSet<Place>,
}

/// Every stream's records: taken, given up, or parked, checked against what the receiver saw and the raw streams say.
struct Checker {
    id: String,
    store: Arc<MemoryStore>,
    sink: Arc<SinkScript>,
    /// How many records a lane has on its way at most.
    batch: usize,
    written: BTreeMap<String, u64>,
    restarts: Vec<Restart>,
}

fn place_of(parked: &Value) -> Place {
    let revision = parked["streamRevision"].as_str().unwrap().parse().unwrap();
    (parked["streamId"].as_str().unwrap().to_owned(), revision)
}

/// What the raw parked stream says.
#[derive(Default)]
struct Told {
    parked: BTreeSet<Place>,
    dropped: BTreeSet<Place>,
    edits: BTreeMap<Place, Vec<u8>>,
    /// The highest revision of a stream that was ever parked.
    highest: BTreeMap<String, u64>,
}

impl Checker {
    fn told(&self) -> Told {
        use base64::Engine as _;
        let told = told(&self.store, &self.id);
        let mut now = Told::default();
        let at = |number: &Value| place_of(&told[usize::try_from(number.as_u64().unwrap()).unwrap()].1);
        for (kind, body) in &told {
            match kind.as_str() {
                "$conn-record-parked" => {
                    let (stream, revision) = place_of(body);
                    let highest = now.highest.entry(stream.clone()).or_default();
                    *highest = revision.max(*highest);
                    assert!(now.parked.insert((stream, revision)), "parked twice at once");
                }
                "$conn-record-replayed" | "$conn-record-dropped" => {
                    for number in body["numbers"].as_array().unwrap() {
                        assert!(now.parked.remove(&at(number)), "gone without being parked");
                        if kind == "$conn-record-dropped" {
                            now.dropped.insert(at(number));
                        }
                    }
                }
                "$conn-record-edited" => {
                    let data = base64::engine::general_purpose::STANDARD.decode(body["data"].as_str().unwrap());
                    now.edits.insert(at(&body["number"]), data.unwrap());
                }
                _ => {}
            }
        }
        now
    }

    /// What the last checkpoint says is settled.
    fn is_stored(&self, position: u64) -> bool {
        let events = self.store.events(&format!("$connectors/{}/checkpoints", self.id));
        let Some(last) = events.last() else { return false };
        let body: Value = serde_json::from_slice(last.data_slice()).unwrap();
        let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
        let mark = if body["atStart"] == true { 0 } else { number(&body["logPosition"]) };
        let ranges = body["settledRanges"].as_array().cloned().unwrap_or_default();
        position <= mark || ranges.iter().any(|pair| number(&pair[0]) < position && position <= number(&pair[1]))
    }

    /// A run has ended: what it had on its way may come again, and nothing else.
    fn ended(&mut self) {
        let (all, told) = (self.sink.delivered(), self.told());
        let before = self.restarts.last().map_or(0, |restart| restart.taken);
        let place = |taken: &Delivered| (taken.stream.clone(), taken.revision);
        let is_parked = |taken: &&Delivered| told.parked.contains(&place(taken));
        let not_noted = all[before..].iter().filter(is_parked).count();
        assert!(not_noted <= self.batch * LANES, "{not_noted} were replayed and not noted");
        let is_open = |taken: &&Delivered| {
            let is_before_parked = told.highest.get(&taken.stream).is_some_and(|highest| taken.revision <= *highest);
            is_parked(taken) || !is_before_parked && !self.is_stored(taken.position)
        };
        let again = all.iter().filter(is_open).map(place).collect();
        self.restarts.push(Restart { taken: all.len(), again });
    }

    /// Streams rise within a run, and nothing is taken before what stands before it, unless that was given up. Nothing
    /// is taken again but what may be. What is taken is what was written, or the last edit of it.
    fn order(&self) {
        let told = self.told();
        let (mut seen, mut last): (HashMap<String, BTreeSet<u64>>, HashMap<String, u64>) = Default::default();
        let mut restarts = self.restarts.iter().peekable();
        let (none, mut data) = (BTreeSet::new(), BTreeMap::new());
        let mut again = &none;
        for (number, taken) in self.sink.delivered().into_iter().enumerate() {
            while let Some(restart) = restarts.next_if(|restart| restart.taken == number) {
                last.clear();
                again = &restart.again;
            }
            let here = (taken.stream.clone(), taken.revision);
            let before = last.insert(taken.stream.clone(), taken.revision);
            assert!(before.is_none_or(|before| before < taken.revision), "{here:?} comes after {before:?}");
            let seen = seen.entry(taken.stream).or_default();
            let missing = (0..here.1).find(|r| !seen.contains(r) && !told.dropped.contains(&(here.0.clone(), *r)));
            assert_eq!(missing, None, "{here:?} was taken before it");
            assert!(seen.insert(here.1) || again.contains(&here), "{here:?} was taken again");
            data.insert(here, taken.data);
        }
        for (place, data) in data.iter().filter(|(place, _)| !told.parked.contains(*place)) {
            let edit = told.edits.get(place).filter(|_| !told.dropped.contains(place));
            assert!(edit.map_or(data == b"{}" || told.edits.contains_key(place), |edit| edit == data), "{place:?}");
        }
    }

    /// What must be parked: all that was written and neither taken nor given up.
    fn rest(&self) -> BTreeSet<Place> {
        let taken: BTreeSet<_> =
            self.sink.delivered().into_iter().map(|taken| (taken.stream, taken.revision)).collect();
        let all = self.written.iter().flat_map(|(stream, count)| (0..*count).map(|r| (stream.clone(), r)));
        let dropped = self.told().dropped;
        all.filter(|record| !taken.contains(record) && !dropped.contains(record)).collect()
    }

    /// Waits until nothing is on its way: what is parked is what was written and neither taken nor given up. A record
    /// that was taken is parked only if it could come again.
    async fn settled(&self) {
        until("the parked set is the model's", async || {
            let (rest, parked) = (self.rest(), parked_set(&self.id, &self.store).await);
            rest.is_subset(&parked) && parked == self.told().parked
        })
        .await;
        let rest = self.rest();
        for more in self.told().parked.difference(&rest) {
            assert!(self.restarts.iter().any(|restart| restart.again.contains(more)), "{more:?} is there already");
        }
    }
}

async fn parked_set(id: &str, store: &Arc<MemoryStore>) -> BTreeSet<Place> {
    let look = look(id, store, &PARK, None).await;
    let mut parked = BTreeSet::new();
    for key in look.keys().await {
        let records = look.records(&key.key, 0, usize::MAX).await.unwrap();
        assert!(records.iter().map(|record| record.revision).is_sorted());
        assert_eq!(records.len() as u64, key.records);
        parked.extend(records.into_iter().map(|record| (record.stream, record.revision)));
    }
    parked
}

/// A command on some key; those on one record name one that is parked, if there is any.
async fn some_command(checker: &Checker, chance: &mut Chance) -> (String, ParkedCommand) {
    let key = format!("s-{}", chance.below(STREAMS));
    let records = look(&checker.id, &checker.store, &PARK, None).await.records(&key, 0, 50).await.unwrap();
    let place = chance.below(records.len().max(1) as u64);
    let number = records.get(usize::try_from(place).unwrap()).map_or(0, |record| record.number);
    let command = match chance.below(12) {
        0 => ParkedCommand::Drop { number: None, reason: "enough".to_owned() },
        1 => ParkedCommand::Drop { number: Some(number), reason: "this one".to_owned() },
        2..=4 => {
            let data = Bytes::from(format!("{{\"edit\":{}}}", chance.below(1_000)));
            ParkedCommand::Edit { number, data, reason: "wrong".to_owned() }
        }
        5 | 6 => ParkedCommand::Retry,
        7 => ParkedCommand::Replay { records_per_s: Some(20) },
        _ => REPLAY,
    };
    (key, command)
}

const STREAMS: u64 = 12;
const LANES: usize = 4;

async fn lives_through(seed: u64) {
    let id = format!("model-{seed}");
    let mut chance = Chance(seed.wrapping_mul(7_919) + 1);
    let store = MemoryStore::new();
    let sink = SinkScript::of(&id);
    let target = Arc::new(Mutex::new(Target {
        poisoned: BTreeSet::new(),
        blocked: HashMap::new(),
        chance: Chance(seed + 1),
        is_well: false,
    }));
    let shared = Arc::clone(&target);
    sink.behave(move |record, _| shared.lock().answer(record.event().stream(), record.event().revision().get()));
    let batch = usize::try_from(chance.below(4) + 1).unwrap();
    let size = batch.to_string();
    let pairs = [&PARK[..], &[("batching:batchSize", size.as_str()), ("autocommit:recordsThreshold", "5")]].concat();
    let (written, restarts) = (BTreeMap::new(), Vec::new());
    let mut checker = Checker { id: id.clone(), store: Arc::clone(&store), sink, batch, written, restarts };
    let mut epoch = 1;
    let mut connector = start(&id, &store, &pairs);
    for _ in 0..120 {
        match chance.below(12) {
            0..=4 => {
                for _ in 0..=chance.below(8) {
                    let stream = format!("s-{}", chance.below(STREAMS));
                    store.add(&stream, "T", "{}").await;
                    *checker.written.entry(stream).or_default() += 1;
                }
            }
            5 => target.lock().poisoned.clear(),
            6..=9 => {
                let (key, command) = some_command(&checker, &mut chance).await;
                let desk = connector.parked.clone();
                tokio::spawn(async move { desk.ask(&key, command).await });
            }
            10 => tokio::time::sleep(Duration::from_millis(chance.below(20_000))).await,
            _ => {
                if chance.below(2) == 0 {
                    connector.crash().await;
                } else {
                    assert_eq!(connector.stopped().await, End::Stopped);
                }
                epoch += 1;
                checker.ended();
                connector = start_with(&id, &store, &pairs, None, Epoch(epoch));
            }
        }
        for _ in 0..chance.below(60) {
            tokio::task::yield_now().await;
        }
    }
    checker.settled().await;
    checker.order();
    target.lock().is_well = true;
    until("all is delivered", async || {
        for key in look(&id, &store, &pairs, Some(&connector.parked)).await.keys().await {
            let _ = connector.parked.ask(&key.key, REPLAY).await;
        }
        checker.rest().is_empty() && checker.told().parked.is_empty()
    })
    .await;
    checker.order();
    assert_eq!(connector.stopped().await, End::Stopped);
    assert!(parked_set(&id, &store).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn streams_rise_and_the_parked_set_is_the_models_through_failures_crashes_and_commands() {
    for seed in 0..20 {
        lives_through(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_ends_though_its_key_never_rests() {
    for (id, rate) in [("restless", None), ("restless-slow", Some(5))] {
        let store = filled(1, 40).await;
        let sink = SinkScript::of(id);
        let poison = Poison::on(&sink, &[("s-0", 0)]);
        let pairs = [&PARK[..], &[("batching:batchSize", "1")]].concat();
        let mut connector = start(id, &store, &pairs);
        connector.until(|progress| progress.parked == 40).await;
        poison.heal();
        // 33 in a second are taken, 50 are written.
        sink.behave(|_, _| Answer::TakeAfter(Duration::from_millis(30)));
        let writing = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                for _ in 0..3_000 {
                    store.add("s-0", "T", "{}").await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        ask(&connector.parked, "s-0", ParkedCommand::Replay { records_per_s: rate }).await.unwrap();
        until("the key flows", async || {
            look(id, &store, &pairs, Some(&connector.parked)).await.count().await.records == 0
        })
        .await;
        assert!(!writing.is_finished(), "it ends while records of its key still come");
        connector.until(|progress| progress.delivered > 100).await;
        writing.await.unwrap();
        until("all is there", async || revisions(&sink, "s-0").len() == 3_040).await;
        assert_eq!(revisions(&sink, "s-0"), (0..3_040).collect::<Vec<_>>());
        connector.stopped().await;
    }
}
