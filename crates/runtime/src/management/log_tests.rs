//! Tests of management on the embedded log: what a store in memory cannot show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_event::{Clock, ExpectedRevision, Position, ProposedEvent, StreamName, SystemClock};
use forebay_log::{EmbeddedLog, LogOptions};
use forebay_store::{AppendRequest, Direction, EventStore, PageLimit, ReadStream, StreamPoint};
use uuid::Uuid;

use super::ConnectorState::{Running, Stopped};
use super::testing::{Bench, ScriptedRunner, catalog, create, until, until_state};
use super::{Connectors, ListQuery, NodeStanding};
use crate::control::{ClusterConfig, NodeParts, Runner};
use crate::metrics::Metrics;

const ID: &str = "orders";

struct OnDisk {
    directory: tempfile::TempDir,
    runner: Arc<ScriptedRunner>,
}

impl OnDisk {
    async fn open(&self) -> (Connectors, Arc<EmbeddedLog>) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let options = LogOptions::new(self.directory.path(), Arc::clone(&clock));
        let log = Arc::new(EmbeddedLog::open(options).unwrap().0);
        let store: Arc<dyn EventStore> = Arc::<EmbeddedLog>::clone(&log);
        let config = Bench::new().config;
        let parts = NodeParts { store, catalog: catalog(), clock, metrics: Metrics::default(), config };
        let runner = Arc::<ScriptedRunner>::clone(&self.runner) as Arc<dyn Runner>;
        (Connectors::open_with(parts, runner).await.unwrap(), log)
    }
}

async fn checkpoint(log: &EmbeddedLog, position: u64) {
    let body = format!(r#"{{"consumerId":"orders","logPosition":"{position}"}}"#);
    let stream = StreamName::new("$connectors/orders/checkpoints").unwrap();
    let events = vec![ProposedEvent::json(Uuid::new_v4(), "$conn-ctrl-checkpoint", body)];
    log.append(AppendRequest { stream, expected: ExpectedRevision::Any, events }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connectors_outlive_the_process_on_the_embedded_log() {
    let disk = OnDisk { directory: tempfile::tempdir().unwrap(), runner: ScriptedRunner::new() };
    let (connectors, log) = disk.open().await;
    create(&connectors, ID, &[("authentication:password", "hunter2")]).await;
    create(&connectors, "stopped", &[]).await;
    connectors.start(ID, None).await.unwrap();
    until_state(&connectors, ID, Running).await;
    checkpoint(&log, 3).await;
    connectors.shutdown().await;
    log.close().await;
    drop((connectors, log));
    let (connectors, log) = disk.open().await;
    until_state(&connectors, ID, Running).await;
    assert_eq!(connectors.get("stopped").await.unwrap().state, Stopped);
    assert_eq!(connectors.get(ID).await.unwrap().position, Some(Position::new(3)));
    connectors.stop(ID).await.unwrap();
    until_state(&connectors, ID, Stopped).await;
    connectors.delete(ID).await.unwrap();
    create(&connectors, ID, &[]).await;
    assert_eq!(connectors.get(ID).await.unwrap().position, None, "the old checkpoint is out of sight");
    for position in 10..30 {
        checkpoint(&log, position).await;
    }
    assert_eq!(connectors.get(ID).await.unwrap().position, Some(Position::new(29)));
    let read = ReadStream {
        stream: StreamName::new("$connectors/orders/checkpoints").unwrap(),
        direction: Direction::Forward,
        from: StreamPoint::Start,
        limit: PageLimit::events(100),
    };
    assert_eq!(log.read_stream(read).await.unwrap().events.len(), 10, "still bounded after it was created anew");
    assert_eq!(connectors.list(ListQuery::default()).await.unwrap().len(), 2);
    connectors.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_connectors_start_side_by_side_on_the_embedded_log() {
    let disk = OnDisk { directory: tempfile::tempdir().unwrap(), runner: ScriptedRunner::new() };
    let (connectors, _log) = disk.open().await;
    let ids: Vec<_> = (0..20).map(|number| format!("connector-{number}")).collect();
    let all: Vec<_> = ids
        .iter()
        .map(|id| {
            let (connectors, id) = (connectors.clone(), id.clone());
            tokio::spawn(async move {
                create(&connectors, &id, &[]).await;
                connectors.start(&id, None).await.unwrap();
            })
        })
        .collect();
    for started in all {
        started.await.unwrap();
    }
    let running = ListQuery { states: vec![Running], ..ListQuery::default() };
    until("all run", async || connectors.list(running.clone()).await.unwrap().len() == 20).await;
    connectors.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_share_the_embedded_log() {
    let directory = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = EmbeddedLog::open(LogOptions::new(directory.path(), Arc::clone(&clock))).unwrap().0;
    let first = ScriptedRunner::new();
    let runners = [Arc::clone(&first), ScriptedRunner::beside(&first), ScriptedRunner::beside(&first)];
    let open = async |number: u8| {
        let mut config = Bench::new().config;
        config.node = Uuid::from_u128(u128::from(number) + 1);
        config.cluster = Some(ClusterConfig {
            name: format!("node-{number}"),
            address: None,
            labels: BTreeMap::new(),
            heartbeat: Duration::from_secs(1),
        });
        let (store, clock) = (Arc::new(log.clone()), Arc::clone(&clock));
        let parts = NodeParts { store, catalog: catalog(), clock, metrics: Metrics::default(), config };
        let runner = Arc::<ScriptedRunner>::clone(&runners[usize::from(number)]) as Arc<dyn Runner>;
        Connectors::open_with(parts, runner).await.unwrap()
    };
    let running = || runners.each_ref().map(|runner| runner.running.load(Ordering::SeqCst));
    let (one, two) = (open(0).await, open(1).await);
    until("they know each other", async || one.nodes().len() == 2 && two.nodes().len() == 2).await;
    for number in 0..12 {
        let id = format!("connector-{number}");
        create(&one, &id, &[]).await;
        one.start(&id, None).await.unwrap();
    }
    until("each has its half", async || running() == [6, 6, 0]).await;
    let three = open(2).await;
    until("the third has its share", async || running() == [4, 4, 4]).await;
    two.stop("connector-0").await.unwrap();
    until_state(&three, "connector-0", Stopped).await;
    one.shutdown().await;
    until("what is left is shared", async || running()[0] == 0 && running()[1..].iter().sum::<u64>() == 11).await;
    assert!(three.nodes().iter().all(|view| view.state == NodeStanding::Active && view.name != "node-0"));
    two.shutdown().await;
    three.shutdown().await;
    assert!(!first.overlapped.load(Ordering::SeqCst));
}
