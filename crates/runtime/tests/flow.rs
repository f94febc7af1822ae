//! What is sent to a target: not more than it takes, not to one that is down, and a share for everybody.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::{
    Batch, Catalog, Epoch, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink, SinkContext,
    Target,
};
use forebay_runtime::pipeline::{BreakerState, Plan, Traffic};
use parking_lot::Mutex;
use support::{MemoryStore, Order, settings, start_in};
use tokio::time::Instant;

/// A target that takes so many requests per second, each after a while, and refuses the rest with 429.
struct Capacity {
    state: Mutex<CapacityState>,
    /// The place its connectors name.
    endpoint: String,
}

struct CapacityState {
    per_second: f64,
    latency: Duration,
    tokens: f64,
    at: Instant,
    is_down: bool,
    /// Requests of this stream are refused with 503, whatever there is room for.
    blocked: Option<String>,
    /// Not even the way to it is open.
    is_unreachable: bool,
    /// When the way was tried.
    probes: Vec<Instant>,
    taken: Vec<(Instant, String, u64)>,
    /// When each request began that was not taken.
    refused: Vec<Instant>,
    attempts: Vec<Instant>,
    by_connector: BTreeMap<String, u64>,
}

/// How many requests a target takes at the same moment.
fn burst(per_second: f64) -> f64 {
    (per_second / 50.0).max(3.0)
}

static TARGETS: LazyLock<Mutex<HashMap<String, Arc<Capacity>>>> = LazyLock::new(Mutex::default);

impl Capacity {
    /// The target of connectors whose ids begin with this name and a dot.
    fn of(name: &str, per_second: f64) -> Arc<Self> {
        let state = CapacityState {
            per_second,
            latency: Duration::from_millis(50),
            tokens: burst(per_second),
            at: Instant::now(),
            is_down: false,
            blocked: None,
            is_unreachable: false,
            probes: Vec::new(),
            taken: Vec::new(),
            refused: Vec::new(),
            attempts: Vec::new(),
            by_connector: BTreeMap::new(),
        };
        let target = Arc::new(Self { state: Mutex::new(state), endpoint: format!("https://{name}") });
        TARGETS.lock().insert(name.to_owned(), Arc::clone(&target));
        target
    }

    fn change(&self, change: impl FnOnce(&mut CapacityState)) {
        change(&mut self.state.lock());
    }

    fn taken_between(&self, from: Instant, to: Instant) -> usize {
        self.state.lock().taken.iter().filter(|(at, ..)| *at >= from && *at < to).count()
    }

    fn refused_between(&self, from: Instant, to: Instant) -> usize {
        self.state.lock().refused.iter().filter(|at| **at >= from && **at < to).count()
    }

    fn probed_between(&self, from: Instant, to: Instant) -> usize {
        self.state.lock().probes.iter().filter(|at| **at >= from && **at < to).count()
    }

    /// Fails unless what was taken of each stream was in order and without gaps.
    fn assert_in_order(&self) {
        let mut next: HashMap<String, u64> = HashMap::new();
        for (_, stream, revision) in &self.state.lock().taken {
            let expected = next.entry(stream.clone()).or_default();
            assert_eq!(revision, expected, "{stream}");
            *expected += 1;
        }
    }
}

struct CapacityTarget {
    target: Arc<Capacity>,
    connector_id: Arc<str>,
}

impl Target for CapacityTarget {
    fn sink(&self, _: Lane) -> Box<dyn Sink> {
        Box::new(CapacitySink { target: Arc::clone(&self.target), connector_id: Arc::clone(&self.connector_id) })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        Duration::from_secs(60)
    }

    fn endpoint(&self) -> Option<String> {
        Some(self.target.endpoint.clone())
    }

    fn sends_one_by_one(&self) -> bool {
        true
    }
}

struct CapacitySink {
    target: Arc<Capacity>,
    connector_id: Arc<str>,
}

#[async_trait]
impl Sink for CapacitySink {
    async fn probe(&mut self) -> Result<(), Failure> {
        let mut state = self.target.state.lock();
        state.probes.push(Instant::now());
        if state.is_unreachable { Err(Failure::retry(FailureClass::Connect, "refused")) } else { Ok(()) }
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        for (index, record) in batch.records().iter().enumerate() {
            let (latency, is_taken, is_down) = {
                let mut state = self.target.state.lock();
                let now = Instant::now();
                let gained = now.duration_since(state.at).as_secs_f64() * state.per_second;
                state.tokens = (state.tokens + gained).min(burst(state.per_second));
                state.at = now;
                state.attempts.push(now);
                let is_blocked = state.blocked.as_deref() == Some(record.event().stream());
                let is_taken = state.tokens >= 1.0 && !state.is_down && !is_blocked;
                if is_taken {
                    state.tokens -= 1.0;
                    let event = record.event();
                    state.taken.push((now, event.stream().to_owned(), event.revision().get()));
                    *state.by_connector.entry(self.connector_id.to_string()).or_default() += 1;
                } else {
                    state.refused.push(now);
                }
                (state.latency, is_taken, state.is_down)
            };
            tokio::time::sleep(latency).await;
            if is_down {
                return Err(Failure::retry(FailureClass::Connect, "refused"));
            }
            if !is_taken {
                return Err(Failure::retry(FailureClass::Status(429), "too many").after(Duration::from_secs(1)));
            }
            receipt.delivered(index);
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

fn connect(_: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    let name = context.connector_id.split('.').next().unwrap();
    let target = Arc::clone(TARGETS.lock().get(name).unwrap());
    Ok(Box::new(CapacityTarget { target, connector_id: Arc::clone(&context.connector_id) }))
}

const KIND: Kind = Kind {
    name: "many-sink",
    aliases: &[],
    title: "Capacity",
    summary: "takes so much",
    page: "",
    guarantee: Guarantee::AtLeastOnce,
    lanes: LaneSupport::Many,
    batch_records_default: 64,
    policy: &[],
    settings: Vec::new,
    connect,
};

fn plan(id: &str, pairs: &[(&str, &str)]) -> Plan {
    let catalog = Catalog::new(vec![KIND]);
    Plan::build(id, &settings(pairs), &catalog).unwrap()
}

fn order(traffic: &Traffic) -> Order {
    Order { start_from: None, epoch: Epoch(1), traffic: traffic.clone() }
}

async fn filled(prefix: &str, streams: u64, events: u64) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    add(&store, prefix, streams, events).await;
    store
}

async fn add(store: &MemoryStore, prefix: &str, streams: u64, events: u64) {
    for number in 0..events {
        store.add(&format!("{prefix}-{}", number % streams), "T", "{}").await;
    }
}

const BY_STREAM: (&str, &str) = ("ordering", "stream");

async fn pass(seconds: u64) -> (Instant, Instant) {
    let from = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    (from, Instant::now())
}

/// A target's capacity, how long it may take to settle at it, and how long it is looked at then, both in seconds.
type Stage = (f64, u64, u64);

/// Delivers through these stages, and fails unless in each of them, once settled, at least 90 % of the capacity is used
/// and less than 1 % of the requests are refused. Time is paused: what is measured is the same in every run.
async fn follows(name: &str, events: u64, stages: &[Stage]) {
    let target = Capacity::of(name, stages[0].0);
    let store = filled("s", 400, events).await;
    let plan = plan(&format!("{name}.a"), &[BY_STREAM, ("lanes", "16")]);
    let connector = start_in(plan, &store, order(&Traffic::default()));
    let mut found = Vec::new();
    for (capacity, settling, looking) in stages {
        target.change(|state| state.per_second = *capacity);
        pass(*settling).await;
        let (from, to) = pass(*looking).await;
        let (taken, refused) = (target.taken_between(from, to) as f64, target.refused_between(from, to) as f64);
        found.push((*capacity, taken / (capacity * *looking as f64), refused / (taken + refused)));
    }
    for (capacity, throughput, refusals) in &found {
        assert!(*throughput >= 0.9 && *refusals < 0.01, "at {capacity}/s: {found:?}");
    }
    assert!(connector.progress.borrow().in_flight() > 0, "there was always something to deliver");
    target.assert_in_order();
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_capacity_changes_is_used_fully_and_hardly_ever_refuses() {
    follows("changing", 42_000, &[(200.0, 20, 60), (50.0, 10, 60), (200.0, 30, 60)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_target_is_used_fully_and_hardly_ever_refuses() {
    follows("slow-paced", 12_000, &[(10.0, 120, 300), (3.0, 120, 300), (20.0, 120, 240)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_again_and_again_does_not_slow_down_the_others() {
    let target = Capacity::of("one-key", 10_000.0);
    target.change(|state| state.blocked = Some("s-7".to_owned()));
    let store = filled("s", 400, 40_000).await;
    let pairs = [BY_STREAM, ("lanes", "16"), ("resilience:firstDelayBound:delayMs", "250")];
    let mut connector = start_in(plan("one-key.a", &pairs), &store, order(&Traffic::default()));
    let begun = Instant::now();
    connector.until_delivered(39_900).await;
    // Sixteen lanes at 50 ms a request take 320 a second, and the fullest lane has a third more streams than the others.
    assert!(begun.elapsed() < Duration::from_secs(240), "{:?}", begun.elapsed());
    assert!(target.state.lock().refused.len() > 100, "the key is tried on");
    target.change(|state| state.blocked = None);
    connector.until_delivered(40_000).await;
    target.assert_in_order();
    connector.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_is_asked_by_one_record_and_everybody_goes_on_when_it_is_back() {
    let target = Capacity::of("down", 10_000.0);
    let store = filled("s", 64, 6_400).await;
    let traffic = Traffic::default();
    let pairs =
        [BY_STREAM, ("lanes", "16"), ("batching:batchSize", "8"), ("resilience:firstDelayBound:delayMs", "250")];
    target.change(|state| (state.is_down, state.latency) = (true, Duration::from_millis(5)));
    let mut first = start_in(plan("down.a", &pairs), &store, order(&traffic));
    let mut second = start_in(plan("down.b", &pairs), &store, order(&traffic));
    first.until(|progress| progress.breaker == BreakerState::Open).await;
    second.until(|progress| progress.breaker == BreakerState::Open).await;
    let (from, to) = pass(50).await;
    let probes = target.refused_between(from, to);
    assert!((9..=11).contains(&probes), "32 lanes send one record every 5 s together, not {probes}");
    target.change(|state| state.is_down = false);
    let back = Instant::now();
    first.until_delivered(6_400).await;
    second.until_delivered(6_400).await;
    // The fullest lane has some ten streams of a hundred records; nobody sits out a longer delay than that of the probe.
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
    first.until(|progress| progress.breaker == BreakerState::Closed).await;
    first.stopped().await;
    second.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_delay_ends_when_another_finds_the_target_back() {
    let target = Capacity::of("waits", 10_000.0);
    let traffic = Traffic::default();
    let store = filled("s", 1, 10).await;
    let long = [
        ("resilience:firstDelayBound:delayMs", "1"),
        ("resilience:firstDelayBound:upperLimitMs", "1"),
        ("resilience:secondDelayBound:delayMs", "3600000"),
        ("resilience:secondDelayBound:upperLimitMs", "-1"),
        ("breaker:failures", "2"),
    ];
    target.change(|state| state.is_down = true);
    let mut first = start_in(plan("waits.long", &long), &store, order(&traffic));
    first.until(|progress| progress.breaker == BreakerState::Open).await;
    let later = MemoryStore::new();
    let mut second = start_in(plan("waits.live", &[]), &later, order(&traffic));
    pass(60).await;
    target.change(|state| state.is_down = false);
    later.add("x-0", "T", "{}").await;
    second.until_delivered(1).await;
    let back = Instant::now();
    first.until_delivered(10).await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    first.stopped().await;
    second.stopped().await;
}

/// The most that was taken in any stretch of so long.
fn most_in(target: &Capacity, stretch: Duration) -> usize {
    let taken: Vec<Instant> = target.state.lock().taken.iter().map(|(at, ..)| *at).collect();
    let count = |from: &Instant| taken.iter().filter(|at| **at >= *from && **at < *from + stretch).count();
    taken.iter().map(count).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn rates_hold_for_events_and_bytes_and_can_be_waited_for_in_vain() {
    let target = Capacity::of("rated", 10_000.0);
    let store = filled("s", 50, 600).await;
    let pairs = [BY_STREAM, ("rateLimit:eventsPerSecond", "20"), ("rateLimit:burstMs", "500")];
    let mut connector = start_in(plan("rated.events", &pairs), &store, order(&Traffic::default()));
    let begun = Instant::now();
    connector.until_delivered(600).await;
    let seconds = begun.elapsed().as_secs_f64();
    assert!((29.0..32.0).contains(&seconds), "{seconds}");
    // Sixteen lanes send what they may at once, each at its own latency.
    assert!(most_in(&target, Duration::from_secs(1)) <= 32, "{}", most_in(&target, Duration::from_secs(1)));
    target.assert_in_order();
    connector.stopped().await;

    let slow = [("rateLimit:bytesPerSecond", "1"), ("rateLimit:burstMs", "1000")];
    let target = Capacity::of("slow", 10_000.0);
    let connector = start_in(plan("slow.bytes", &slow), &store, order(&Traffic::default()));
    pass(1).await;
    let begun = Instant::now();
    connector.stopped().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "waiting is broken off");
    assert!(target.state.lock().attempts.len() < 3);
}

#[tokio::test(start_paused = true)]
async fn a_backfill_leaves_a_live_connector_its_share_of_a_limited_target() {
    let target = Capacity::of("shared", 10_000.0);
    let traffic = Traffic::default();
    let history = filled("h", 500, 20_000).await;
    let live_store = MemoryStore::new();
    let pairs = [BY_STREAM, ("lanes", "16"), ("rateLimit:target:eventsPerSecond", "100"), ("rateLimit:burstMs", "100")];
    let backfill = start_in(plan("shared.backfill", &pairs), &history, order(&traffic));
    let mut live = start_in(plan("shared.live", &[]), &live_store, order(&traffic));
    pass(10).await;
    let mut slowest = Duration::ZERO;
    for number in 1..=50_u64 {
        let begun = Instant::now();
        live_store.add("l-0", "T", "{}").await;
        live.until_delivered(number).await;
        slowest = slowest.max(begun.elapsed());
        pass(1).await;
    }
    // Sixteen lanes are before it, each with a batch of at most ten records at a hundred per second.
    assert!(slowest < Duration::from_millis(2_000), "{slowest:?}");
    let taken = target.state.lock().by_connector.clone();
    assert_eq!(taken["shared.live"], 50);
    assert!(taken["shared.backfill"] > 5_500, "{taken:?}");
    assert!(most_in(&target, Duration::from_secs(10)) <= 1_200);
    backfill.stopped().await;
    live.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_is_behind_and_stands_still_is_reported() {
    let target = Capacity::of("stands", 10_000.0);
    let store = filled("s", 5, 100).await;
    let pairs = [("watchdog:stalledAfterMs", "30s")];
    let mut connector = start_in(plan("stands.still", &pairs), &store, order(&Traffic::default()));
    let progress = connector.until(|progress| progress.caught_up && progress.delivered == 100).await;
    assert_eq!(progress.stalled, None);
    pass(600).await;
    assert_eq!((connector.progress.borrow().stalled, connector.progress.borrow().oldest), (None, None));
    target.change(|state| state.is_down = true);
    let begun = Instant::now();
    store.add("s-0", "T", "{}").await;
    let progress = connector.until(|progress| progress.stalled.is_some()).await;
    assert!((30..=32).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let events = store.events("s-0");
    assert_eq!(progress.oldest, Some(events.last().unwrap().created()));
    target.change(|state| state.is_down = false);
    let progress = connector.until(|progress| progress.delivered == 101 && progress.stalled.is_none()).await;
    assert_eq!(progress.in_flight(), 0);
    connector.until(|progress| progress.oldest.is_none()).await;
    connector.stopped().await;
}

#[test]
fn limits_that_cannot_be_are_refused() {
    Capacity::of("wrong", 1.0);
    let catalog = || Catalog::new(vec![KIND]);
    for (key, value) in [
        ("rateLimit:eventsPerSecond", "0"),
        ("rateLimit:bytesPerSecond", "0.5"),
        ("rateLimit:target:eventsPerSecond", "fast"),
        ("breaker:failures", "0"),
        ("adaptive:enabled", "perhaps"),
        ("watchdog:stalledAfterMs", "soon"),
        ("rateLimit:burst", "5"),
    ] {
        let wrong = Plan::build("wrong.one", &settings(&[(key, value)]), &catalog()).err().unwrap().to_string();
        assert!(wrong.contains(key) && wrong.contains("expected"), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_way_to_a_target_that_is_down_is_not_tried_by_everybody() {
    let target = Capacity::of("probed", 10_000.0);
    let store = filled("s", 64, 640).await;
    let traffic = Traffic::default();
    target.change(|state| (state.is_down, state.is_unreachable) = (true, true));
    let pairs = [BY_STREAM, ("lanes", "16"), ("resilience:firstDelayBound:delayMs", "250")];
    let mut first = start_in(plan("probed.a", &pairs), &store, order(&traffic));
    first.until(|progress| progress.breaker == BreakerState::Open).await;
    let later: Vec<_> = ["b", "c", "d", "e"]
        .map(|name| start_in(plan(&format!("probed.{name}"), &pairs), &store, order(&traffic)))
        .into_iter()
        .collect();
    pass(1).await;
    let (from, to) = pass(50).await;
    let tried = target.probed_between(from, to);
    assert!(
        (9..=11).contains(&tried),
        "80 lanes of 5 connectors try once every 5 s together, not {tried} times in 50 s"
    );
    // The way is open and requests fail: whoever comes now does not take that for a target that is back.
    target.change(|state| state.is_unreachable = false);
    pass(20).await;
    let (from, to) = pass(50).await;
    let asked = target.refused_between(from, to);
    assert!((9..=11).contains(&asked), "{asked} requests in 50 s");
    assert_eq!(first.progress.borrow().breaker, BreakerState::Open);
    target.change(|state| state.is_down = false);
    for mut connector in std::iter::once(first).chain(later) {
        connector.until_delivered(640).await;
        connector.stopped().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_way_is_tried_within_the_rate_of_the_target() {
    let target = Capacity::of("opened", 10_000.0);
    let store = filled("s", 64, 64).await;
    let traffic = Traffic::default();
    let pairs = [BY_STREAM, ("lanes", "16"), ("rateLimit:target:eventsPerSecond", "10"), ("rateLimit:burstMs", "100")];
    let mut connectors: Vec<_> =
        ["a", "b", "c"].map(|name| start_in(plan(&format!("opened.{name}"), &pairs), &store, order(&traffic))).into();
    for connector in &mut connectors {
        connector.until_delivered(64).await;
    }
    let mut requests: Vec<Instant> = target.state.lock().probes.clone();
    assert_eq!(requests.len(), 48);
    requests.extend(&target.state.lock().attempts);
    for from in &requests {
        let within = requests.iter().filter(|at| **at >= *from && **at < *from + Duration::from_secs(1)).count();
        assert!(within <= 12, "{within} within a second");
    }
    for connector in connectors {
        connector.stopped().await;
    }
}
