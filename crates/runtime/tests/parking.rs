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
use support::{Answer, MemoryStore, SinkScript, failure, look, start, start_with};

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
    // 1 is dropped and 2 replayed; 0 is read again, and as 3 is parked still, it is parked before it.
    let parked = look("again", &store, &pairs, None).await.records("s-0", 0, 9).await.unwrap();
    assert_eq!(parked.iter().map(|record| record.revision).collect::<Vec<_>>(), [0, 3]);
    assert!(revisions(&sink, "s-0").is_empty());
    connector.stopped().await;
    let mut connector = start_with("again", &store, &pairs, Some(LogPoint::Start), Epoch(3));
    connector.until(|progress| progress.read == 4 && progress.in_flight() == 0).await;
    assert_eq!(connector.progress.borrow().parked, 2, "they come again, to where their key is parked");
    ask(&connector.parked, "s-0", REPLAY).await.unwrap();
    until("all is there", async || sink.delivered().len() == 4).await;
    assert_eq!(revisions(&sink, "s-0"), [0, 1, 2, 3]);
    connector.stopped().await;
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

/// Every stream's records: taken, given up, or parked, checked against what the receiver saw and the raw stream says.
struct Checker {
    /// By the number of an event of the parked stream: what it holds.
    written: BTreeMap<String, u64>,
}

impl Checker {
    fn dropped(store: &MemoryStore, id: &str) -> BTreeSet<(String, u64)> {
        let told = told(store, id);
        let mut dropped = BTreeSet::new();
        for (kind, body) in &told {
            if kind == "$conn-record-dropped" {
                for number in body["numbers"].as_array().unwrap() {
                    let parked = &told[usize::try_from(number.as_u64().unwrap()).unwrap()].1;
                    let revision = parked["streamRevision"].as_str().unwrap().parse().unwrap();
                    dropped.insert((parked["streamId"].as_str().unwrap().to_owned(), revision));
                }
            }
        }
        dropped
    }

    /// Order: no record is taken before an earlier one of its stream, unless that was given up. Within one run nothing
    /// is taken twice.
    fn order(&self, taken: &[(String, u64)], restarts: &[usize], dropped: &BTreeSet<(String, u64)>) {
        let mut seen: HashMap<&str, BTreeSet<u64>> = HashMap::new();
        let mut last: HashMap<&str, u64> = HashMap::new();
        for (number, (stream, revision)) in taken.iter().enumerate() {
            if restarts.contains(&number) {
                last.clear();
            }
            assert!(last.get(stream.as_str()).is_none_or(|last| last < revision), "{stream}@{revision}: not rising");
            last.insert(stream, *revision);
            let seen = seen.entry(stream).or_default();
            let missing = (0..*revision).find(|r| !seen.contains(r) && !dropped.contains(&(stream.clone(), *r)));
            assert_eq!(missing, None, "{stream}@{revision} was taken before it");
            seen.insert(*revision);
        }
    }

    /// What must be parked: all that was written and neither taken nor given up.
    fn rest(&self, taken: &[(String, u64)], dropped: &BTreeSet<(String, u64)>) -> BTreeSet<(String, u64)> {
        let taken: BTreeSet<_> = taken.iter().cloned().collect();
        let all = self.written.iter().flat_map(|(stream, count)| (0..*count).map(|r| (stream.clone(), r)));
        all.filter(|record| !taken.contains(record) && !dropped.contains(record)).collect()
    }
}

fn taken(sink: &SinkScript) -> Vec<(String, u64)> {
    sink.delivered().into_iter().map(|taken| (taken.stream, taken.revision)).collect()
}

async fn parked_set(id: &str, store: &Arc<MemoryStore>) -> BTreeSet<(String, u64)> {
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

async fn lives_through(seed: u64) {
    const STREAMS: u64 = 12;
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
    let size = (chance.below(4) + 1).to_string();
    let pairs = [&PARK[..], &[("batching:batchSize", size.as_str()), ("autocommit:recordsThreshold", "5")]].concat();
    let mut checker = Checker { written: BTreeMap::new() };
    let (mut epoch, mut restarts) = (1, Vec::new());
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
            5 => {
                target.lock().poisoned.clear();
            }
            6..=9 => {
                let key = format!("s-{}", chance.below(STREAMS));
                let command = match chance.below(8) {
                    0 => ParkedCommand::Drop { number: None, reason: "enough".to_owned() },
                    1..=3 => ParkedCommand::Retry,
                    4 => ParkedCommand::Replay { records_per_s: Some(20) },
                    _ => REPLAY,
                };
                let desk = connector.parked.clone();
                tokio::spawn(async move { desk.ask(&key, command).await });
            }
            10 => {
                tokio::time::sleep(Duration::from_millis(chance.below(20_000))).await;
            }
            _ => {
                if chance.below(2) == 0 {
                    connector.crash().await
                } else {
                    drop(connector.stopped().await)
                }
                epoch += 1;
                restarts.push(sink.delivered().len());
                connector = start_with(&id, &store, &pairs, None, Epoch(epoch));
            }
        }
        for _ in 0..chance.below(60) {
            tokio::task::yield_now().await;
        }
    }
    settled_as_the_model_says(&id, &store, (&checker, restarts.is_empty())).await;
    checker.order(&taken(&sink), &restarts, &Checker::dropped(&store, &id));
    target.lock().is_well = true;
    until("all is delivered", async || {
        for key in look(&id, &store, &pairs, Some(&connector.parked)).await.keys().await {
            let _ = connector.parked.ask(&key.key, REPLAY).await;
        }
        checker.rest(&taken(&sink), &Checker::dropped(&store, &id)).is_empty()
            && look(&id, &store, &pairs, Some(&connector.parked)).await.count().await.records == 0
    })
    .await;
    checker.order(&taken(&sink), &restarts, &Checker::dropped(&store, &id));
    assert_eq!(connector.stopped().await, End::Stopped);
    assert!(parked_set(&id, &store).await.is_empty());
}

/// Waits until nothing is on its way: what is parked is what was written and neither taken nor given up. After a restart
/// a record that was taken and not yet in the checkpoint may be parked too, if its key is by then.
async fn settled_as_the_model_says(id: &str, store: &Arc<MemoryStore>, (checker, exactly): (&Checker, bool)) {
    let sink = SinkScript::of(id);
    until("the parked set is the model's", async || {
        let taken = taken(&sink);
        let rest = checker.rest(&taken, &Checker::dropped(store, id));
        let parked = parked_set(id, store).await;
        let more: Vec<_> = parked.difference(&rest).collect();
        rest.is_subset(&parked) && more.iter().all(|record| !exactly && taken.contains(record))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn streams_rise_and_the_parked_set_is_the_models_through_failures_crashes_and_commands() {
    for seed in 0..12 {
        lives_through(seed).await;
    }
}
