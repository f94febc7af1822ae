//! Tests of several nodes over one store, in the runtime's paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use forebay_event::{ExpectedRevision, Position, Revision, StreamName};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, EventStore, Notice, ReadAll, ReadError, ReadStream, StreamMetadata,
    StreamPage, SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::announce::NODE_TYPE;
use super::cluster::ClusterConfig;
use crate::management::ConnectorState::{Running, Stopped};
use crate::management::testing::{Bench, LEASE, MemoryStore, ScriptedRunner, create, until, until_state};
use crate::management::{Connectors, NodeStanding};

const NODES: &str = "$connectors-ctrl/nodes";
const HEARTBEAT: Duration = Duration::from_millis(3_300);

/// The bench of one of several nodes over the store of the first.
pub(super) fn bench_of(number: u8, first: Option<&Bench>, labels: &[(&str, &str)]) -> Bench {
    let mut bench = first.map_or_else(Bench::new, Bench::other_node);
    if let Some(first) = first {
        bench.runner = ScriptedRunner::beside(&first.runner);
    }
    bench.config.node = Uuid::from_u128(u128::from(number) + 0xA0);
    bench.config.connectors_max = 100;
    bench.config.cluster = Some(ClusterConfig {
        name: format!("node-{number}"),
        address: None,
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        heartbeat: HEARTBEAT,
    });
    bench
}

pub(super) fn benches(count: u8) -> Vec<Bench> {
    let first = bench_of(0, None, &[]);
    let mut all: Vec<_> = (1..count).map(|number| bench_of(number, Some(&first), &[])).collect();
    all.insert(0, first);
    all
}

fn id(number: usize) -> String {
    format!("orders-{number:02}")
}

/// Creates and starts so many connectors.
pub(super) async fn start_all(connectors: &Connectors, count: usize, more: &[(&str, &str)]) {
    for number in 0..count {
        create(connectors, &id(number), more).await;
        connectors.start(&id(number), None).await.unwrap();
    }
}

pub(super) fn running(benches: &[Bench]) -> Vec<u64> {
    benches.iter().map(|bench| bench.runner.running.load(Ordering::SeqCst)).collect()
}

fn runs(benches: &[Bench]) -> usize {
    benches.iter().map(|bench| bench.runner.runs.lock().len()).sum()
}

pub(super) async fn until_running(benches: &[Bench], each: &[u64]) {
    until(&format!("{each:?} run, now {:?}", running(benches)), async || running(benches) == each).await;
}

pub(super) fn never_two(benches: &[Bench]) {
    assert!(!benches[0].runner.overlapped.load(Ordering::SeqCst), "two nodes ran one connector at once");
}

/// Three nodes with ten connectors each.
async fn thirty_on_three() -> (Vec<Bench>, Vec<Connectors>) {
    let benches = benches(3);
    let mut nodes = Vec::new();
    for bench in &benches {
        nodes.push(bench.open().await);
    }
    until("all know each other", async || nodes.iter().all(|node| node.nodes().len() == 3)).await;
    start_all(&nodes[0], 30, &[]).await;
    until_running(&benches, &[10, 10, 10]).await;
    tokio::time::sleep(LEASE).await;
    (benches, nodes)
}

#[tokio::test(start_paused = true)]
async fn connectors_are_spread_over_all_nodes_and_stay() {
    let (benches, nodes) = thirty_on_three().await;
    tokio::time::sleep(LEASE * 20).await;
    assert_eq!(running(&benches), [10, 10, 10]);
    assert!(runs(&benches) <= 36, "{} runs for 30 connectors", runs(&benches));
    for node in &nodes {
        let views = node.nodes();
        assert!(views.iter().all(|view| view.connectors.len() == 10 && view.state == NodeStanding::Active));
        assert_eq!(views.iter().position(|view| view.is_leader), Some(0));
        for number in 0..30 {
            assert_eq!(node.get(&id(number)).await.unwrap().state, Running, "every node answers for every connector");
        }
    }
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_takes_its_share_without_stopping_the_others() {
    let benches = benches(3);
    let first = benches[0].open().await;
    let _second = benches[1].open().await;
    until("they know each other", async || first.nodes().len() == 2).await;
    start_all(&first, 30, &[]).await;
    until_running(&benches, &[15, 15, 0]).await;
    tokio::time::sleep(LEASE).await;
    let runs_before = runs(&benches);
    let _third = benches[2].open().await;
    let mut fewest = 30;
    until("the third has its share", async || {
        fewest = fewest.min(running(&benches).iter().sum());
        running(&benches) == [10, 10, 10]
    })
    .await;
    assert!(fewest >= 29, "only one is on its way at a time, but {} stood still", 30 - fewest);
    assert_eq!(runs(&benches) - runs_before, 10, "nothing else was stopped");
    let types = benches[0].store.types(&format!("$connectors/{}", id(0)));
    assert!(!types.contains(&"stopped".to_owned()), "a move is no stop: {types:?}");
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_hands_over_within_its_shutdown() {
    let (benches, nodes) = thirty_on_three().await;
    let runs_before = runs(&benches);
    let began = tokio::time::Instant::now();
    nodes[2].shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    until_running(&benches, &[15, 15, 0]).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(runs(&benches) - runs_before, 10);
    assert_eq!(nodes[0].nodes().len(), 2);
    tokio::time::sleep(LEASE).await;
    for number in 0..30 {
        assert_eq!(nodes[0].get(&id(number)).await.unwrap().state, Running);
    }
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_node_had_is_taken_over_within_two_leases() {
    let (benches, mut nodes) = thirty_on_three().await;
    let runs_before = runs(&benches);
    drop(nodes.pop());
    let died = tokio::time::Instant::now();
    until_running(&benches, &[15, 15, 0]).await;
    assert!(died.elapsed() >= LEASE / 2 && died.elapsed() < LEASE * 2, "{:?}", died.elapsed());
    assert_eq!(runs(&benches) - runs_before, 10);
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_crashed_and_is_back_at_once_has_again_what_it_had() {
    let (benches, mut nodes) = thirty_on_three().await;
    let runs_before = runs(&benches);
    drop(nodes.pop());
    benches[2].quiet().await;
    let began = tokio::time::Instant::now();
    let _back = benches[2].open().await;
    until_running(&benches, &[10, 10, 10]).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(running(&benches), [10, 10, 10]);
    assert_eq!(runs(&benches) - runs_before, 10, "nothing was moved");
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn connectors_with_the_leaders_affinity_run_on_the_oldest_node() {
    let benches = benches(3);
    let mut nodes = Vec::new();
    for bench in &benches {
        let node = bench.open().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        nodes.push(node);
    }
    start_all(&nodes[2], 6, &[("subscription:nodeAffinity", "leader")]).await;
    until_running(&benches, &[6, 0, 0]).await;
    tokio::time::sleep(LEASE * 5).await;
    assert_eq!(running(&benches), [6, 0, 0]);
    nodes[0].shutdown().await;
    until_running(&benches, &[0, 6, 0]).await;
    let _back = benches[0].open().await;
    tokio::time::sleep(LEASE * 5).await;
    assert_eq!(running(&benches), [0, 6, 0], "who comes back is the youngest");
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn labels_are_kept_and_waited_for() {
    let first = bench_of(0, None, &[("zone", "us")]);
    let second = bench_of(1, Some(&first), &[("zone", "eu")]);
    let third = bench_of(2, Some(&first), &[("zone", "asia")]);
    let benches = [first, second, third];
    let us = benches[0].open().await;
    let _eu = benches[1].open().await;
    until("they know each other", async || us.nodes().len() == 2).await;
    start_all(&us, 4, &[("subscription:nodeLabels", "zone=eu")]).await;
    until_running(&benches, &[0, 4, 0]).await;
    create(&us, "far-away", &[("subscription:nodeLabels", "zone=asia")]).await;
    us.start("far-away", None).await.unwrap();
    tokio::time::sleep(LEASE * 20).await;
    assert_eq!(running(&benches), [0, 4, 0], "no node may run it");
    let asia = benches[2].open().await;
    until_running(&benches, &[0, 4, 1]).await;
    until_state(&asia, "far-away", Running).await;
    until_state(&us, "far-away", Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_loses_its_connectors_and_takes_its_share_when_it_is_back() {
    let benches = benches(3);
    let gate = watch::Sender::new(true);
    let first = benches[0].open().await;
    let _second = benches[1].open().await;
    let store: Arc<dyn EventStore> = Arc::<MemoryStore>::clone(&benches[2].store);
    let third = benches[2].open_over(Arc::new(Gated { store, gate: gate.clone() })).await.unwrap();
    until("they know each other", async || first.nodes().len() == 3 && third.nodes().len() == 3).await;
    start_all(&first, 30, &[]).await;
    until_running(&benches, &[10, 10, 10]).await;
    for round in 0..3_u32 {
        tokio::time::sleep(LEASE + LEASE * round / 7).await;
        gate.send_replace(false);
        let shut = tokio::time::Instant::now();
        until_running(&benches, &[15, 15, 0]).await;
        assert!(shut.elapsed() < LEASE * 2, "{:?}", shut.elapsed());
        tokio::time::sleep(LEASE * (1 + 10 * round)).await;
        gate.send_replace(true);
        until_running(&benches, &[10, 10, 10]).await;
    }
    assert_eq!(third.nodes().len(), 3);
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn when_the_store_is_away_for_ten_minutes_all_wait_and_go_on() {
    let benches = benches(3);
    let gate = watch::Sender::new(true);
    let mut nodes = Vec::new();
    for bench in &benches {
        let store: Arc<dyn EventStore> = Arc::<MemoryStore>::clone(&bench.store);
        nodes.push(bench.open_over(Arc::new(Gated { store, gate: gate.clone() })).await.unwrap());
    }
    until("they know each other", async || nodes.iter().all(|node| node.nodes().len() == 3)).await;
    start_all(&nodes[0], 30, &[]).await;
    until_running(&benches, &[10, 10, 10]).await;
    gate.send_replace(false);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(running(&benches), [0, 0, 0], "nobody writes without a lease");
    assert!(nodes.iter().all(|node| node.nodes().len() == 3), "nobody is taken for dead");
    gate.send_replace(true);
    let back = tokio::time::Instant::now();
    until("all run again", async || running(&benches).iter().sum::<u64>() == 30).await;
    assert!(back.elapsed() < LEASE, "{:?}", back.elapsed());
    until_running(&benches, &[10, 10, 10]).await;
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_start_together_share_what_was_running() {
    let (benches, nodes) = thirty_on_three().await;
    for node in &nodes {
        node.shutdown().await;
    }
    assert_eq!(running(&benches), [0, 0, 0]);
    let (first, second, third) = tokio::join!(benches[0].open(), benches[1].open(), benches[2].open());
    let began = tokio::time::Instant::now();
    until("all run but one on its way", async || running(&benches).iter().sum::<u64>() >= 29).await;
    assert!(began.elapsed() < LEASE / 2, "{:?}", began.elapsed());
    until_running(&benches, &[10, 10, 10]).await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!([first, second, third].iter().all(|node| node.nodes().len() == 3));
    never_two(&benches);
}

#[tokio::test(start_paused = true)]
async fn what_a_lying_node_does_not_take_is_run_by_another() {
    let benches = benches(1);
    let node = benches[0].open().await;
    let liar = Uuid::from_u128(0xBAD).to_string();
    let lie = |claims: serde_json::Value| {
        serde_json::json!({"nodeId": liar, "duration": "00:00:10", "state": "active", "since": 0, "connectors": claims})
            .to_string()
    };
    start_all(&node, 1, &[]).await;
    until_running(&benches, &[1]).await;
    for round in 0..100 {
        // It wants its share, and says that it has one connector that it never took.
        let claims = if round < 50 { serde_json::json!({}) } else { serde_json::json!({"orders-03": 1}) };
        benches[0].put(NODES, NODE_TYPE, &lie(claims)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        if round == 1 {
            for number in 1..4 {
                create(&node, &id(number), &[]).await;
            }
            node.start(&id(1), None).await.unwrap();
            node.start(&id(2), None).await.unwrap();
        }
        if round == 51 {
            node.start(&id(3), None).await.unwrap();
        }
        if round == 20 || round == 99 {
            assert_eq!(running(&benches), [if round == 20 { 3 } else { 4 }], "round {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_among_no_others_starts_at_once_and_announces_itself_seldom() {
    let benches = benches(1);
    let node = benches[0].open().await;
    create(&node, "orders", &[]).await;
    let began = tokio::time::Instant::now();
    node.start("orders", None).await.unwrap();
    until_running(&benches, &[1]).await;
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    tokio::time::sleep(HEARTBEAT * 100).await;
    let announced = benches[0].store.bodies(NODES);
    assert!((100..=104).contains(&announced.len()), "{} announcements in 100 heartbeats", announced.len());
    assert_eq!(announced.last().unwrap()["connectors"], serde_json::json!({"orders": 1}));
    node.shutdown().await;
    assert_eq!(benches[0].store.bodies(NODES).last().unwrap()["state"], "left");
}

#[tokio::test(start_paused = true)]
async fn commands_are_taken_by_any_node_and_carried_out_where_the_connector_runs() {
    let (benches, nodes) = thirty_on_three().await;
    let place = |id: &str| nodes[0].nodes().iter().position(|view| view.connectors.contains_key(id)).unwrap();
    for number in 0..6 {
        let id = id(number);
        let other = &nodes[(place(&id) + 1) % 3];
        other.stop(&id).await.unwrap();
        until_state(other, &id, Stopped).await;
        let active = benches[0].runner.runs_now(&id);
        assert_eq!(active, 0, "stopped is said when it has stopped");
        other.start(&id, None).await.unwrap();
        until_state(other, &id, Running).await;
        other.delete(&id).await.unwrap_err();
        other.stop(&id).await.unwrap();
        until_state(other, &id, Stopped).await;
        other.delete(&id).await.unwrap();
    }
    tokio::time::sleep(LEASE * 3).await;
    let loads: BTreeMap<_, _> = nodes[1].nodes().into_iter().map(|view| (view.id, view.connectors.len())).collect();
    assert!(loads.values().all(|load| *load == 8), "{loads:?}");
    never_two(&benches);
}

/// A store that hangs while its gate is shut, as for a node that is cut off or stopped.
struct Gated {
    store: Arc<dyn EventStore>,
    gate: watch::Sender<bool>,
}

impl Gated {
    async fn open(&self) {
        self.gate.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

struct GatedSubscription {
    subscription: Box<dyn Subscription>,
    gate: watch::Receiver<bool>,
}

#[async_trait]
impl Subscription for GatedSubscription {
    async fn next(&mut self) -> Result<Notice, SubscribeError> {
        loop {
            drop(self.gate.wait_for(|open| *open).await.unwrap());
            let mut gate = self.gate.clone();
            let shut = async move { drop(gate.wait_for(|open| !*open).await.unwrap()) };
            tokio::select! {
                biased;
                () = shut => {}
                notice = self.subscription.next() => return notice,
            }
        }
    }
}

#[async_trait]
impl EventStore for Gated {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.open().await;
        self.store.append(request).await
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        self.open().await;
        self.store.delete(stream, expected).await
    }

    async fn tombstone(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        self.open().await;
        self.store.tombstone(stream, expected).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError> {
        self.open().await;
        self.store.read_stream(read).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError> {
        self.open().await;
        self.store.read_all(read).await
    }

    async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError> {
        self.open().await;
        let subscription = self.store.subscribe_all(subscribe).await?;
        Ok(Box::new(GatedSubscription { subscription, gate: self.gate.subscribe() }))
    }

    async fn subscribe_stream(&self, subscribe: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError> {
        self.open().await;
        let subscription = self.store.subscribe_stream(subscribe).await?;
        Ok(Box::new(GatedSubscription { subscription, gate: self.gate.subscribe() }))
    }

    async fn metadata(&self, stream: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        self.open().await;
        self.store.metadata(stream).await
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        self.open().await;
        self.store.set_metadata(stream, expected, metadata).await
    }

    async fn head(&self) -> Result<Option<Position>, ReadError> {
        self.open().await;
        self.store.head().await
    }
}
