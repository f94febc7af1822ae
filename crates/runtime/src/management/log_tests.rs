//! Tests of management on the embedded log: what a store in memory cannot show.

use std::sync::Arc;

use forebay_event::{Clock, ExpectedRevision, Position, ProposedEvent, StreamName, SystemClock};
use forebay_log::{EmbeddedLog, LogOptions};
use forebay_store::{AppendRequest, Direction, EventStore, PageLimit, ReadStream, StreamPoint};
use uuid::Uuid;

use super::ConnectorState::{Running, Stopped};
use super::testing::{Bench, ScriptedRunner, catalog, create, until, until_state};
use super::{Connectors, ListQuery};
use crate::control::{NodeParts, Runner};
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
