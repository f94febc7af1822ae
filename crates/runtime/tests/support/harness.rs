//! Starts a connector over a store in memory and waits for what it does.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::settings::{SettingsMap, decode};
use forebay_connector::{Epoch, Failure, FailureClass};
use forebay_event::{StreamName, SystemClock};
use forebay_runtime::metrics::Metrics;
use forebay_runtime::pipeline::{End, ParkedDesk, ParkedLook, Plan, Progress, Run, Surroundings, Traffic, run};
use forebay_runtime::settings::ConnectorSettings;
use forebay_store::{EventStore, LogPoint};
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{MemoryStore, catalog};

/// A connector that runs.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) fenced: CancellationToken,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) running: oneshot::Receiver<()>,
    registry: Registry,
    pub(crate) parked: ParkedDesk,
    task: JoinHandle<End>,
}

/// Settings from pairs; a connector of many lanes that reads everything from the beginning, unless they say otherwise.
pub(crate) fn settings(pairs: &[(&str, &str)]) -> SettingsMap {
    let defaults = [("instanceTypeName", "many-sink"), ("subscription:initialPosition", "earliest")];
    SettingsMap::from_flat(defaults.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

pub(crate) fn start(id: &str, store: &Arc<MemoryStore>, pairs: &[(&str, &str)]) -> Running {
    start_with(id, store, pairs, None, Epoch(1))
}

pub(crate) fn start_with(
    id: &str,
    store: &Arc<MemoryStore>,
    pairs: &[(&str, &str)],
    start_from: Option<LogPoint>,
    epoch: Epoch,
) -> Running {
    let order = Order { start_from, epoch, traffic: Traffic::default() };
    start_in(Plan::build(id, &settings(pairs), &catalog()).unwrap(), store, order)
}

/// How a connector is started.
pub(crate) struct Order {
    pub(crate) start_from: Option<LogPoint>,
    pub(crate) epoch: Epoch,
    pub(crate) traffic: Traffic,
}

pub(crate) fn start_in<S: EventStore + 'static>(plan: Plan, store: &Arc<S>, order: Order) -> Running {
    let id = plan.connector_id().to_owned();
    let Order { start_from, epoch, traffic } = order;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let surroundings = Surroundings { metrics, traffic, ..surroundings(&id, store) };
    let (stop, fenced) = (CancellationToken::new(), CancellationToken::new());
    let (told, running) = oneshot::channel();
    let (sender, progress) = watch::channel(Progress::default());
    let parked = ParkedDesk::default();
    let order = Run {
        start_from,
        epoch,
        stop: stop.clone(),
        fenced: fenced.clone(),
        stop_limit: Duration::from_secs(10),
        running: told,
        parked: parked.clone(),
    };
    let task = tokio::spawn(run(plan, surroundings, order, sender));
    Running { stop, fenced, progress, running, registry, parked, task }
}

impl Running {
    /// What a metric of this connector says.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line =
            text.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until what it has done is as wanted.
    pub(crate) async fn until(&mut self, wanted: impl FnMut(&Progress) -> bool) -> Progress {
        let limit = Duration::from_secs(1_000_000);
        let reached = tokio::time::timeout(limit, self.progress.wait_for(wanted)).await;
        let reached = reached.ok().and_then(|reached| reached.ok().map(|progress| *progress));
        reached.unwrap_or_else(|| panic!("not reached, last was {:?}", *self.progress.borrow()))
    }

    /// Waits until so many records are delivered.
    pub(crate) async fn until_delivered(&mut self, count: u64) -> Progress {
        self.until(|progress| progress.delivered >= count).await
    }

    /// Asks it to stop and waits for the end.
    pub(crate) async fn stopped(self) -> End {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits for the end.
    pub(crate) async fn ended(self) -> End {
        tokio::time::timeout(Duration::from_secs(1_000_000), self.task).await.expect("it ends").unwrap()
    }

    /// Ends it like a crash: nothing more is written.
    pub(crate) async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// What is parked by a connector: as its pipeline knows it if it runs, as its stream says otherwise.
pub(crate) async fn look(
    id: &str,
    store: &Arc<MemoryStore>,
    pairs: &[(&str, &str)],
    desk: Option<&ParkedDesk>,
) -> ParkedLook {
    let settings = decode::<ConnectorSettings>(&settings(pairs)).unwrap();
    ParkedLook::at(desk, id, &settings, &surroundings(id, store)).await.unwrap()
}

fn surroundings<S: EventStore + 'static>(id: &str, store: &Arc<S>) -> Surroundings {
    Surroundings {
        store: Arc::clone(store) as Arc<dyn EventStore>,
        clock: Arc::new(SystemClock::new()),
        metrics: Metrics::default(),
        traffic: Traffic::default(),
        checkpoints: StreamName::new(&format!("$connectors/{id}/checkpoints")).unwrap(),
    }
}

/// A failure that may pass.
pub(crate) fn failure() -> Failure {
    Failure::retry(FailureClass::Status(503), "busy")
}
