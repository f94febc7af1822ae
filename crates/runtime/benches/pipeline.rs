//! How many records a second go from a store in memory through the pipeline to a sink that takes everything.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/support/memory_store.rs"]
mod memory_store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::{
    Batch, Catalog, Epoch, Failure, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink, SinkContext, Target,
};
use forebay_event::{ExpectedRevision, ProposedEvent, StreamName, SystemClock};
use forebay_runtime::metrics::Metrics;
use forebay_runtime::pipeline::{ParkedDesk, Plan, Progress, Run, Surroundings, Traffic, run};
use forebay_store::{AppendRequest, EventStore};
use memory_store::MemoryStore;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const EVENTS: u64 = 1_000_000;
const STREAMS: u64 = 1_000;
const BATCH: usize = 500;

struct Null;

#[async_trait]
impl Sink for Null {
    async fn probe(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn deliver(&mut self, _: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        receipt.delivered_all();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Target for Null {
    fn sink(&self, _: Lane) -> Box<dyn Sink> {
        Box::new(Self)
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        Duration::from_secs(10)
    }
}

fn connect(_: &SettingsMap, _: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    Ok(Box::new(Null))
}

fn catalog() -> Catalog {
    Catalog::new(vec![Kind {
        name: "null-sink",
        aliases: &[],
        title: "Null",
        summary: "takes everything",
        page: "",
        guarantee: Guarantee::AtLeastOnce,
        lanes: LaneSupport::Many,
        batch_records_default: BATCH,
        policy: &[],
        settings: Vec::new,
        connect,
    }])
}

async fn filled() -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    let data = format!("{{\"n\":7,\"text\":\"{}\"}}", "x".repeat(380));
    for stream in 0..STREAMS {
        let events = (0..EVENTS / STREAMS).map(|_| ProposedEvent::json(Uuid::new_v4(), "Happened", data.clone()));
        let stream = StreamName::new(&format!("stream-{stream}")).expect("it has a name");
        let request = AppendRequest { stream, expected: ExpectedRevision::Any, events: events.collect() };
        store.append(request).await.expect("it is in memory");
    }
    store
}

async fn measure(store: &Arc<MemoryStore>, id: &str, pairs: &[(&str, &str)]) {
    let defaults = [("instanceTypeName", "null-sink"), ("subscription:initialPosition", "earliest")];
    let settings = defaults.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let plan = Plan::build(id, &SettingsMap::from_flat(settings), &catalog()).expect("the settings are right");
    let surroundings = Surroundings {
        store: Arc::clone(store) as Arc<dyn EventStore>,
        clock: Arc::new(SystemClock::new()),
        metrics: Metrics::default(),
        traffic: Traffic::default(),
        checkpoints: StreamName::new(&format!("$connectors/{id}/checkpoints")).expect("it has a name"),
    };
    let stop = CancellationToken::new();
    let (sender, mut progress) = watch::channel(Progress::default());
    let order = Run {
        start_from: None,
        epoch: Epoch(1),
        stop: stop.clone(),
        fenced: CancellationToken::new(),
        stop_limit: Duration::from_secs(10),
        parked: ParkedDesk::default(),
        running: oneshot::channel().0,
    };
    let begun = Instant::now();
    let task = tokio::spawn(run(plan, surroundings, order, sender));
    let done = progress.wait_for(|progress| progress.delivered + progress.skipped >= EVENTS).await;
    drop(done.expect("it runs"));
    let seconds = begun.elapsed().as_secs_f64();
    stop.cancel();
    let end = task.await.expect("it ends");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = EVENTS as f64 / seconds;
    println!("{id:<24} {rate:>12.0} records/s  {end:?}");
}

#[tokio::main]
async fn main() {
    let store = filled().await;
    for round in 1..=2 {
        measure(&store, &format!("strict-{round}"), &[]).await;
        measure(&store, &format!("strict-one-{round}"), &[("batching:batchSize", "1")]).await;
        let lanes = [("ordering", "stream"), ("lanes", "16")];
        measure(&store, &format!("lanes-{round}"), &lanes).await;
        let path = [("subscription:filter:expression", "$[?($.value.n == 7)]")];
        measure(&store, &format!("path-{round}"), &path).await;
    }
}
