//! Owns a log with a thousand events, a connector that reads it, and the judgement of what came of it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_connector::Epoch;
use forebay_connector::settings::SettingsMap;
use forebay_event::{ExpectedRevision, ProposedEvent, StreamName, SystemClock};
use forebay_log::{EmbeddedLog, LogOptions};
use forebay_proof::faults::Target;
use forebay_proof::history::{Expected, Id, violations};
use forebay_runtime::metrics::Metrics;
use forebay_runtime::pipeline::{End, ParkedDesk, Plan, Progress, Run, Surroundings, run};
use forebay_store::{AppendRequest, Direction, EventStore, PageLimit, ReadStream, StreamPoint};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::told;

pub(crate) const KEYS: u64 = 10;
pub(crate) const PER_KEY: u64 = 100;
/// How many events of one key are appended together.
const PER_APPEND: u64 = 25;
/// No run takes so long unless it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(40);
/// How long a request may take where time is not what is tried: a busy machine is no fault.
const REQUEST_LIMIT_MS: &str = "20000";

/// A log with the events, and a connector's settings.
pub(crate) struct World {
    connector: String,
    store: Arc<dyn EventStore>,
    settings: SettingsMap,
    epoch: u64,
    _folder: TempDir,
}

/// How a run ended, and what it had done.
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) progress: Progress,
}

impl World {
    /// A log of a thousand events in ten streams, and a connector to this URL with these settings besides the usual.
    pub(crate) async fn new(connector: &str, url: &str, pairs: &[(&str, &str)]) -> Self {
        told::listen();
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions::new(folder.path(), Arc::new(SystemClock::new()));
        let (log, _) = tokio::task::block_in_place(|| EmbeddedLog::open(options)).unwrap();
        let store: Arc<dyn EventStore> = Arc::new(log);
        fill(store.as_ref()).await;
        let usual = [
            ("instanceTypeName", "http-sink"),
            ("url", url),
            ("subscription:initialPosition", "earliest"),
            ("ordering", "stream"),
            ("lanes", "4"),
            ("requestTimeoutMs", REQUEST_LIMIT_MS),
            ("connectTimeoutMs", REQUEST_LIMIT_MS),
            ("resilience:firstDelayBound:delayMs", "5"),
            ("resilience:firstDelayBound:upperLimitMs", "-1"),
            ("resilience:retryAfterMaxMs", "5000"),
            ("autocommit:recordsThreshold", "100"),
            ("autocommit:interval", "50"),
        ];
        let settings = usual.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings = SettingsMap::from_flat(settings);
        Self { connector: connector.to_owned(), store, settings, epoch: 0, _folder: folder }
    }

    /// Runs until every event is settled, or the connector ends by itself.
    pub(crate) async fn run(&mut self) -> Ended {
        self.epoch += 1;
        let plan = Plan::build(&self.connector, &self.settings, &forebay_sinks::catalog()).unwrap();
        let surroundings = Surroundings {
            store: Arc::clone(&self.store),
            clock: Arc::new(SystemClock::new()),
            metrics: Metrics::default(),
            traffic: forebay_runtime::pipeline::Traffic::default(),
            checkpoints: self.stream("checkpoints"),
        };
        let (stop, (running, _started)) = (CancellationToken::new(), oneshot::channel());
        let (sender, mut progress) = watch::channel(Progress::default());
        let order = Run {
            start_from: None,
            epoch: Epoch(self.epoch),
            stop: stop.clone(),
            fenced: CancellationToken::new(),
            stop_limit: Duration::from_secs(10),
            running,
            parked: ParkedDesk::default(),
        };
        let mut task = tokio::spawn(run(plan, surroundings, order, sender));
        // Besides the events there are the connector's own, which are not read.
        let is_done = |now: &Progress| now.caught_up && now.in_flight() == 0;
        // What the watch hands out locks it, so it is let go at once.
        let done = async {
            match tokio::time::timeout(STUCK_AFTER, progress.wait_for(is_done)).await.map(|seen| seen.is_ok()) {
                Ok(true) => true,
                // It ended by itself, which the other arm tells.
                Ok(false) => std::future::pending().await,
                Err(_) => false,
            }
        };
        let end = tokio::select! {
            end = &mut task => end.unwrap(),
            is_done = done => {
                assert!(is_done, "{} is stuck: {}", self.connector, self.told());
                stop.cancel();
                task.await.unwrap()
            }
        };
        let progress = *progress.borrow();
        Ended { end, progress }
    }

    /// What the operator was told about the connector.
    pub(crate) fn told(&self) -> String {
        told::about(&self.connector)
    }

    /// The records that are parked, in order, with what is said about each.
    pub(crate) async fn parked(&self) -> Vec<(Id, Value)> {
        let read = ReadStream {
            stream: self.stream("parked"),
            direction: Direction::Forward,
            from: StreamPoint::Start,
            limit: PageLimit::events(2_000),
        };
        let Ok(page) = self.store.read_stream(read).await else { return Vec::new() };
        let records = page.events.iter().filter(|event| event.event_type() == "$conn-record-parked");
        let bodies = records.map(|event| serde_json::from_slice::<Value>(event.data_slice()).unwrap());
        bodies
            .map(|body| {
                let data = STANDARD.decode(body["data"].as_str().unwrap()).unwrap();
                let data: Value = serde_json::from_slice(&data).unwrap();
                (Id { key: data["key"].as_u64().unwrap(), number: data["number"].as_u64().unwrap() }, body)
            })
            .collect()
    }

    /// Fails unless the target saw what it should have.
    pub(crate) async fn check(&self, target: &Target, is_one_run: bool) {
        let parked: Vec<Id> = self.parked().await.into_iter().map(|(id, _)| id).collect();
        // A request that fails may go out once more by itself when its connection was used before.
        let repeats_max = if is_one_run { 2 * target.faults().len() as u64 } else { 1_000 };
        let expected = Expected { keys: KEYS, per_key: PER_KEY, repeats_max, is_one_run };
        let wrong = violations(&target.arrivals(), &parked, expected);
        let first: Vec<_> = wrong.iter().take(5).collect();
        assert!(wrong.is_empty(), "{}: {} things wrong: {first:?}\n{}", self.connector, wrong.len(), self.told());
        assert_eq!(target.strays(), 0, "{}: requests went elsewhere", self.connector);
    }

    fn stream(&self, name: &str) -> StreamName {
        StreamName::new(&format!("$connectors/{}/{name}", self.connector)).unwrap()
    }
}

async fn fill(store: &dyn EventStore) {
    // Keys take turns every few events; each append waits for the disk.
    for round in 0..PER_KEY / PER_APPEND {
        for key in 0..KEYS {
            let event = |number: u64| {
                let id = Uuid::from_u128(u128::from(number * KEYS + key) + 1);
                ProposedEvent::json(id, "Counted", json!({ "key": key, "number": number }).to_string())
            };
            let events = (round * PER_APPEND..(round + 1) * PER_APPEND).map(event).collect();
            let stream = StreamName::new(&format!("counted-{key}")).unwrap();
            store.append(AppendRequest { stream, expected: ExpectedRevision::Any, events }).await.unwrap();
        }
    }
}
