//! Connectors spread over shards and nodes: nothing is lost, nothing is written twice, every key keeps its order, through
//! the loss of nodes, the joining of nodes, and other numbers of shards.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::settings::SettingsMap;
use forebay_event::{Clock, Timestamp};
use forebay_runtime::management::{
    CommandError, ConnectorState, ConnectorView, CreateConnector, ParkedPage, QueryError,
};
use forebay_runtime::metrics::Metrics;
use forebay_runtime::pipeline::{ParkedCommand, ParkedOutcome, ParkedRefusal};
use forebay_runtime::{ClusterConfig, Connectors, RuntimeConfig};
use forebay_store::{EventStore, LogPoint};
use support::{DyingStore, MemoryStore, Table, table_catalog};
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(10);
const STOPPED: ConnectorState = ConnectorState::Stopped;
const STREAMS: usize = 40;
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// Follows the time of the test's runtime.
struct RuntimeClock(tokio::time::Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(17_637_120_000_000_000).plus(self.0.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A store, the nodes over it, and a connector that writes to a table.
struct World {
    id: &'static str,
    store: Arc<MemoryStore>,
    clock: Arc<RuntimeClock>,
    table: Arc<Table>,
    /// How many events each stream has.
    appended: BTreeMap<String, u64>,
}

impl World {
    fn new(id: &'static str) -> Self {
        Self {
            id,
            store: MemoryStore::new(),
            clock: Arc::new(RuntimeClock(tokio::time::Instant::now())),
            table: Table::of(id),
            appended: BTreeMap::new(),
        }
    }

    async fn node(&self, number: u8) -> Connectors {
        self.node_over(number, Arc::<MemoryStore>::clone(&self.store)).await
    }

    async fn node_over(&self, number: u8, store: Arc<dyn EventStore>) -> Connectors {
        let config = RuntimeConfig {
            node: Uuid::from_u128(u128::from(number) + 0xA0),
            stream_prefix: "$connectors".to_owned(),
            lease: LEASE,
            stop_limit: Duration::from_secs(5),
            connectors_max: 20,
            secret_key: [7; 32],
            cluster: Some(ClusterConfig {
                name: format!("node-{number}"),
                address: Some(format!("10.0.0.{number}:2113")),
                labels: BTreeMap::new(),
                heartbeat: LEASE / 3,
            }),
        };
        let clock: Arc<dyn Clock> = Arc::<RuntimeClock>::clone(&self.clock);
        Connectors::open(store, table_catalog(), clock, Metrics::default(), config).await.unwrap()
    }

    /// Appends so many events to each of the streams.
    async fn append(&mut self, each: u64) {
        for _ in 0..each {
            for number in 0..STREAMS {
                let stream = format!("order-{number}");
                self.store.add(&stream, "Placed", "{}").await;
                *self.appended.entry(stream).or_default() += 1;
            }
        }
    }

    async fn view(&self, node: &Connectors) -> ConnectorView {
        node.get(self.id).await.unwrap()
    }

    async fn until_running(&self, node: &Connectors) {
        until("it runs", async || self.view(node).await.state == ConnectorState::Running).await;
    }

    async fn until_stopped(&self, node: &Connectors) {
        until("it has stopped", async || self.view(node).await.state == STOPPED).await;
    }

    async fn start(&self, node: &Connectors, shards: u32) {
        self.reconfigure(node, shards).await;
        node.start(self.id, None).await.unwrap();
    }

    async fn create(&self, node: &Connectors, shards: u32) {
        let settings = settings(shards, &[]);
        node.create(self.id, CreateConnector { name: None, settings }).await.unwrap();
    }

    async fn reconfigure(&self, node: &Connectors, shards: u32) {
        node.reconfigure(self.id, settings(shards, &[])).await.unwrap();
    }

    async fn stop(&self, node: &Connectors) {
        node.stop(self.id).await.unwrap();
        self.until_stopped(node).await;
    }

    fn is_all_written(&self) -> bool {
        self.table.count() >= self.appended.values().sum()
    }

    /// Each event was written once, those of a stream in their order.
    fn check(&self) {
        let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for row in self.table.written() {
            seen.entry(row.stream.clone()).or_default().push(row.revision);
        }
        for (stream, count) in &self.appended {
            let wanted: Vec<_> = (0..*count).collect();
            assert_eq!(seen.get(stream), Some(&wanted), "{stream}");
        }
    }

    async fn until_all_written(&self) {
        until("all is written", async || self.is_all_written()).await;
        self.check();
    }
}

fn settings(shards: u32, more: &[(&str, &str)]) -> SettingsMap {
    let shards = shards.to_string();
    let own = [
        ("instanceTypeName", "table-sink"),
        ("ordering", "stream"),
        ("lanes", "3"),
        ("subscription:initialPosition", "earliest"),
        ("subscription:shards", shards.as_str()),
        ("errors:onReject", "park"),
    ];
    SettingsMap::from_flat(own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..20_000 {
        if condition().await {
            return;
        }
        // tidy: sleep allowed: paused time goes on only while everybody sleeps.
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("it never came true that {what}");
}

async fn pass(time: Duration) {
    // tidy: sleep allowed: paused time goes on only while everybody sleeps.
    tokio::time::sleep(time).await;
}

/// How many shards each node has, as one of them sees it.
fn spread(node: &Connectors) -> Vec<usize> {
    node.nodes().iter().map(|view| view.connectors.len()).collect()
}

#[tokio::test(start_paused = true)]
async fn six_shards_run_on_three_nodes_and_move_when_a_node_is_lost_or_joins() {
    let mut world = World::new("spread");
    let mut nodes = vec![world.node(0).await, world.node(1).await, world.node(2).await];
    until("they know each other", async || nodes.iter().all(|node| node.nodes().len() == 3)).await;
    world.append(3).await;
    world.create(&nodes[0], 6).await;
    nodes[0].start("spread", Some(LogPoint::Start)).await.unwrap();
    until("each has two", async || spread(&nodes[1]) == [2, 2, 2]).await;
    world.until_running(&nodes[2]).await;
    world.until_all_written().await;
    let lanes: BTreeSet<_> = world.table.written().iter().map(|row| row.lane).collect();
    assert!(lanes.len() > 12, "the lanes of all shards take part: {lanes:?}");
    let view = world.view(&nodes[0]).await;
    assert_eq!(view.shards.iter().map(|shard| shard.shard.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(view.shards.iter().all(|shard| shard.state == ConnectorState::Running && shard.node.is_some()));
    assert_eq!(view.shards.iter().filter(|shard| shard.progress.is_some()).count(), 2, "two run on the node asked");
    let progress = view.progress.unwrap();
    assert_eq!(progress.read, progress.delivered + progress.skipped + progress.parked);

    world.append(2).await;
    drop(nodes.pop());
    world.append(2).await;
    until("the others have three each", async || spread(&nodes[0]) == [3, 3]).await;
    world.append(1).await;
    world.until_all_written().await;
    nodes.push(world.node(3).await);
    until("each has two again", async || spread(&nodes[0]) == [2, 2, 2]).await;
    world.append(2).await;
    world.until_all_written().await;
    world.until_running(&nodes[2]).await;
    world.stop(&nodes[1]).await;
    until("nobody has any", async || spread(&nodes[1]) == [0, 0, 0]).await;
    world.append(1).await;
    nodes[2].start("spread", None).await.unwrap();
    world.until_running(&nodes[0]).await;
    world.until_all_written().await;
    let epochs: BTreeMap<u32, u64> = world.table.written().iter().map(|row| (row.lane, row.epoch)).collect();
    assert!(epochs.values().all(|epoch| epoch >> 32 == 1), "all are of the first generation");
}

#[tokio::test(start_paused = true)]
async fn another_number_of_shards_goes_on_where_the_last_one_ended() {
    let mut world = World::new("spread-anew");
    let (one, other) = (world.node(0).await, world.node(1).await);
    until("they know each other", async || one.nodes().len() == 2 && other.nodes().len() == 2).await;
    world.create(&one, 1).await;
    for (round, shards) in [1, 4, 7, 7, 1, 64, 2].into_iter().enumerate() {
        world.append(3).await;
        let node = if round % 2 == 0 { &one } else { &other };
        // A node that has not heard of the last change yet refuses the next one.
        until("it knows", async || node.get("spread-anew").await.is_ok_and(|view| view.state == STOPPED)).await;
        world.start(node, shards).await;
        world.until_running(node).await;
        world.until_all_written().await;
        world.append(2).await;
        if round % 2 == 1 {
            // What is under way when it is stopped is finished, or left to the next.
            pass(Duration::from_millis(7)).await;
        } else {
            world.until_all_written().await;
        }
        world.stop(node).await;
    }
    one.start("spread-anew", None).await.unwrap();
    world.until_all_written().await;
    // Also while both nodes still report what runs.
    // A reset delivers all of it again, in the same order.
    world.stop(&one).await;
    let before = world.table.written().len();
    one.reset("spread-anew", None).await.unwrap();
    until("all came again", async || world.table.count() >= 2 * before as u64).await;
    let again: Vec<_> = world.table.written().split_off(before);
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for row in again {
        let next = last.entry(row.stream).or_default();
        assert_eq!(row.revision, *next);
        *next += 1;
    }
    assert_eq!(last, world.appended);
}

#[tokio::test(start_paused = true)]
async fn a_target_without_positions_gets_nothing_again_when_shards_were_drained() {
    let mut world = World::new("drained");
    let (one, other) = (world.node(0).await, world.node(1).await);
    until("they know each other", async || one.nodes().len() == 2 && other.nodes().len() == 2).await;
    let plain = |shards| settings(shards, &[("instanceTypeName", "plain-sink")]);
    one.create("drained", CreateConnector { name: None, settings: plain(4) }).await.unwrap();
    for shards in [4, 7, 1, 3] {
        one.reconfigure("drained", plain(shards)).await.unwrap();
        one.start("drained", None).await.unwrap();
        world.until_running(&one).await;
        world.append(6).await;
        // In the middle of it: the shards stand at different places.
        pass(Duration::from_millis(15)).await;
        world.stop(&one).await;
    }
    one.start("drained", None).await.unwrap();
    world.until_all_written().await;
    // A crash repeats what was under way, and loses and reorders nothing.
    world.append(4).await;
    pass(Duration::from_millis(9)).await;
    drop((one, other));
    let node = world.node(2).await;
    world.stop(&node).await;
    node.reconfigure("drained", plain(5)).await.unwrap();
    node.start("drained", None).await.unwrap();
    let firsts = || {
        let mut firsts: BTreeMap<String, u64> = BTreeMap::new();
        for row in world.table.written() {
            let next = firsts.entry(row.stream.clone()).or_default();
            assert!(row.revision <= *next, "{} {} came before {next}", row.stream, row.revision);
            *next += u64::from(row.revision == *next);
        }
        firsts
    };
    until("all arrived", async || firsts() == world.appended).await;
}

/// From four shards to seven to one, with a node that dies after so many appends to the shards' streams while it is at
/// work; what it has in hand is left as it is.
async fn with_a_death_after(appends: u64) -> bool {
    let id: &'static str = Box::leak(format!("death-{appends:03}").into_boxed_str());
    let mut world = World::new(id);
    let first = world.node(0).await;
    world.create(&first, 4).await;
    world.append(4).await;
    first.start(id, Some(LogPoint::Start)).await.unwrap();
    world.until_running(&first).await;
    // It dies while records are under way, and no last checkpoint is written.
    world.append(6).await;
    pass(Duration::from_millis(4)).await;
    drop(first);
    let mut died = false;
    for (number, shards) in [(1, 7), (3, 1)] {
        let dying = DyingStore::new(&world.store, "/shards/", u64::MAX);
        let second = world.node_over(number, dying).await;
        world.stop(&second).await;
        world.reconfigure(&second, shards).await;
        second.shutdown().await;
        let dying = DyingStore::new(&world.store, "/shards/", appends);
        let third = world.node_over(number, Arc::<DyingStore>::clone(&dying)).await;
        third.start(id, None).await.unwrap();
        world.append(3).await;
        until("it died or is done", async || dying.is_dead() || world.is_all_written()).await;
        died |= dying.is_dead();
        pass(Duration::from_millis(2)).await;
        // Every other one lives on, cut off from the store, and writes to the table as long as it believes that it may.
        let cut_off = appends.is_multiple_of(2).then_some(third);
        let fourth = world.node(number + 1).await;
        world.append(2).await;
        world.until_running(&fourth).await;
        world.until_all_written().await;
        drop(cut_off);
        world.append(5).await;
        pass(Duration::from_millis(5)).await;
        drop(fourth);
    }
    let last = world.node(9).await;
    world.until_running(&last).await;
    world.until_all_written().await;
    died
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_while_shards_change_leaves_nothing_undone_and_nothing_done_twice() {
    let rounds: u64 = std::env::var("FOREBAY_SHARD_DEATHS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut deaths = 0;
    for round in 0..rounds {
        // Close together at first, where leases are taken and shards are closed.
        let appends = 1 + round * 11 % 120;
        deaths += u64::from(with_a_death_after(appends).await);
    }
    assert!(deaths >= rounds / 2, "{deaths} of {rounds} died");
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_is_found_edited_and_replayed_whatever_the_number_of_shards() {
    let mut world = World::new("parked");
    let node = world.node(0).await;
    let refused: Vec<_> = (0..STREAMS).step_by(4).map(|number| format!("order-{number}")).collect();
    world.table.refuse(refused.clone());
    world.append(3).await;
    world.create(&node, 1).await;
    let keys = async || {
        let (count, keys) = node.parked_keys("parked").await.unwrap();
        assert_eq!(count.keys, keys.len() as u64);
        (count.records, keys.into_iter().map(|key| key.key).collect::<BTreeSet<_>>())
    };
    let wanted: BTreeSet<_> = refused.iter().cloned().collect();
    let mut records = 0;
    for shards in [1, 3, 5, 1] {
        world.start(&node, shards).await;
        world.until_running(&node).await;
        world.append(1).await;
        records = refused.len() as u64 * world.appended["order-0"];
        until("all of them are parked", async || keys().await == (records, wanted.clone())).await;
        assert_eq!(world.view(&node).await.parked.records, records);
        world.stop(&node).await;
        assert_eq!(keys().await, (records, wanted.clone()), "also when it does not run");
    }
    // Changed while it does not run: one record of one key, and all of another.
    let page = ParkedPage { skip: 1, take: 1 };
    let (_, second) = node.parked_records("parked", "order-0", page).await.unwrap();
    assert_eq!(second[0].revision, 1);
    let edit = |number| ParkedCommand::Edit { number, data: "{\"mended\":1}".into(), reason: "mended".to_owned() };
    node.change_parked("parked", "order-0", edit(second[0].number)).await.unwrap();
    let drop_all = ParkedCommand::Drop { number: None, reason: "not wanted".to_owned() };
    let dropped = node.change_parked("parked", "order-4", drop_all).await.unwrap();
    assert!(matches!(dropped, ParkedOutcome::Dropped { records } if records == world.appended["order-4"]));
    let gone = node.parked_records("parked", "order-4", page).await;
    assert!(matches!(gone, Err(QueryError::NotParked { .. })));
    world.start(&node, 6).await;
    world.until_running(&node).await;
    world.table.refuse([]);
    for key in refused.iter().filter(|key| *key != "order-4") {
        let replay = ParkedCommand::Replay { records_per_s: None };
        let outcome = node.change_parked("parked", key, replay).await.unwrap();
        assert!(matches!(outcome, ParkedOutcome::Delivered { .. }), "{key}: {outcome:?}");
    }
    until("nothing is parked", async || keys().await.0 == 0).await;
    let left_out = world.appended.remove("order-4").unwrap();
    world.until_all_written().await;
    let rows = world.table.written();
    assert!(rows.iter().any(|row| row.stream == "order-0" && row.revision == 1 && row.data == b"{\"mended\":1}"));
    assert!(rows.iter().all(|row| row.stream != "order-4"), "{left_out} were given up");
    world.append(1).await;
    world.appended.remove("order-4");
    world.until_all_written().await;
    assert_eq!(records, 7 * refused.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_node_says_where_the_shard_of_a_parked_key_runs() {
    let mut world = World::new("where");
    let (one, other) = (world.node(0).await, world.node(1).await);
    until("they know each other", async || one.nodes().len() == 2 && other.nodes().len() == 2).await;
    world.table.refuse((0..STREAMS).map(|number| format!("order-{number}")));
    world.append(1).await;
    world.create(&one, 4).await;
    one.start("where", Some(LogPoint::Start)).await.unwrap();
    until("all is parked", async || one.parked_keys("where").await.unwrap().0.keys == STREAMS as u64).await;
    until("each has two", async || spread(&one) == [2, 2]).await;
    world.table.refuse([]);
    let mut elsewhere = 0;
    for number in 0..STREAMS {
        let key = format!("order-{number}");
        match one.change_parked("where", &key, ParkedCommand::Replay { records_per_s: None }).await {
            Ok(_) => {}
            Err(CommandError::Parked { refusal, .. }) => {
                assert!(matches!(&*refusal, ParkedRefusal::Elsewhere { node, .. } if node == "node-1 (10.0.0.1:2113)"));
                other.change_parked("where", &key, ParkedCommand::Replay { records_per_s: None }).await.unwrap();
                elsewhere += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(elsewhere > 0 && elsewhere < STREAMS);
    world.until_all_written().await;
}

#[tokio::test(start_paused = true)]
async fn a_connector_made_anew_begins_where_its_settings_say() {
    let mut world = World::new("reborn");
    let node = world.node(0).await;
    world.append(2).await;
    world.create(&node, 3).await;
    node.start("reborn", Some(LogPoint::Start)).await.unwrap();
    world.until_all_written().await;
    world.stop(&node).await;
    node.delete("reborn").await.unwrap();
    world.create(&node, 3).await;
    node.start("reborn", None).await.unwrap();
    let all = world.table.written().len();
    until("all comes again", async || world.table.count() == 2 * all as u64).await;
    assert_eq!(world.view(&node).await.shards[0].shard.generation, 2, "no stream is used twice");
}

#[tokio::test(start_paused = true)]
async fn shards_are_refused_where_they_could_not_keep_what_they_promise() {
    let world = World::new("refused");
    let node = world.node(0).await;
    let wrong = [
        (settings(2, &[("ordering", "all"), ("lanes", "1")]), "as ordering is all"),
        (settings(65, &[]), "64"),
        (settings(0, &[]), "1"),
        (settings(2, &[("autocommit:enabled", "false")]), "as autocommit:enabled is false"),
        (settings(2, &[("instanceTypeName", "file-sink"), ("lanes", "1")]), "one place to write to"),
    ];
    for (settings, expected) in wrong {
        let error = node.create("refused", CreateConnector { name: None, settings }).await.unwrap_err().to_string();
        assert!(error.contains("subscription:shards") && error.contains(expected), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_changes_in_a_row_are_refused_until_it_has_caught_up() {
    let mut world = World::new("patient");
    let node = world.node(0).await;
    world.append(2).await;
    world.create(&node, 2).await;
    // The target takes nothing: no shard ever passes what the first one began with.
    world.table.refuse((0..STREAMS).map(|number| format!("order-{number}")));
    let stuck = |shards| settings(shards, &[("errors:onReject", "stop")]);
    let mut refused = None;
    for shards in 2..20 {
        node.reconfigure("patient", stuck(shards)).await.unwrap();
        match node.start("patient", None).await {
            Ok(()) => {}
            Err(CommandError::TooManyGenerations { limit, .. }) => {
                refused = Some((shards, limit));
                break;
            }
            Err(error) => panic!("{error}"),
        }
        until("it fails", async || world.view(&node).await.error.is_some()).await;
        world.until_stopped(&node).await;
        pass(Duration::from_secs(1)).await;
    }
    let (shards, limit) = refused.unwrap();
    assert_eq!((shards, limit), (11, 8));
    world.table.refuse([]);
    node.reconfigure("patient", stuck(shards - 1)).await.unwrap();
    node.start("patient", None).await.unwrap();
    world.until_all_written().await;
    world.append(2).await;
    world.until_all_written().await;
    world.stop(&node).await;
    world.start(&node, 3).await;
    world.append(1).await;
    world.until_all_written().await;
    world.stop(&node).await;
    world.start(&node, 4).await;
    world.append(1).await;
    world.until_all_written().await;
}
