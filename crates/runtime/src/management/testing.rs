//! Owns what tests of management and control stand on: a store in memory that can fail, a clock that follows the test's
//! time, and a scripted pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::settings::{SettingDescription, SettingsErrors, SettingsMap, ValueKind};
use forebay_connector::{Catalog, Guarantee, Kind, LaneSupport};
use forebay_event::{Clock, ExpectedRevision, Position, ProposedEvent, RecordedEvent, Revision, StreamName, Timestamp};
use forebay_store::{
    AllPage, AppendError, AppendRequest, Appended, Direction, EventStore, LogPoint, METADATA_TYPE, Notice, ReadAll,
    ReadError, ReadStream, StreamMetadata, StreamPage, StreamPoint, SubscribeAll, SubscribeError, SubscribeStream,
    Subscription,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    ConnectorState, ConnectorView, Connectors, CreateConnector, OpenError, PreviewReport, PreviewRequest, QueryError,
    RuntimeConfig,
};
use crate::control::{NodeParts, Prepared, Runner, Running};
use crate::metrics::Metrics;
use crate::pipeline::{
    CloseOrder, End, HandOver, HandOverError, OpenOrder, OpenedShards, PipelineFailure, Progress, Run, ShardPart,
    Surroundings,
};

/// A store in memory: one vector is the log.
#[derive(Default)]
pub(crate) struct MemoryStore {
    log: Arc<Mutex<Vec<RecordedEvent>>>,
    /// Counts appends, for subscriptions.
    grown: watch::Sender<u64>,
    /// Refuses appends to streams whose name ends so.
    pub(crate) refuses: Mutex<Option<&'static str>>,
    /// Appends to streams whose name ends so are made, but their answer is lost; once.
    pub(crate) loses_answer: Mutex<Option<&'static str>>,
    pub(crate) reads_fail: AtomicBool,
}

impl MemoryStore {
    pub(crate) fn events(&self, stream: &str) -> Vec<RecordedEvent> {
        self.log.lock().iter().filter(|event| event.stream() == stream).cloned().collect()
    }

    pub(crate) fn types(&self, stream: &str) -> Vec<String> {
        let short = |event: &RecordedEvent| event.event_type().rsplit('-').next().unwrap().to_owned();
        self.events(stream).iter().map(short).collect()
    }

    pub(crate) fn bodies(&self, stream: &str) -> Vec<serde_json::Value> {
        self.events(stream).iter().map(|event| serde_json::from_slice(event.data_slice()).unwrap()).collect()
    }

    /// Everything stored, as text.
    pub(crate) fn everything(&self) -> String {
        self.log.lock().iter().map(|event| String::from_utf8_lossy(event.data_slice()).into_owned()).collect()
    }

    fn last(log: &[RecordedEvent], stream: &str) -> Option<Revision> {
        log.iter().rev().find(|event| event.stream() == stream).map(RecordedEvent::revision)
    }

    fn metadata_of(log: &[RecordedEvent], stream: &str) -> (StreamMetadata, Option<Revision>) {
        let name = format!("$${stream}");
        log.iter().rev().find(|event| event.stream() == name).map_or((StreamMetadata::default(), None), |event| {
            (StreamMetadata::from_data(event.data_slice()), Some(event.revision()))
        })
    }

    fn write(log: &mut Vec<RecordedEvent>, stream: &StreamName, events: &[ProposedEvent]) -> Appended {
        let mut last = Self::last(log, stream.as_str());
        for event in events {
            let revision = last.map_or(Revision::FIRST, Revision::next);
            let position = Position::new(log.len() as u64 + 1);
            log.push(RecordedEvent::record(
                event,
                stream,
                revision,
                position,
                Timestamp::from_ticks(position.commit()),
            ));
            last = Some(revision);
        }
        Appended { last_revision: last, position: log.last().map(RecordedEvent::position) }
    }

    fn append_now(&self, request: &AppendRequest) -> Result<Appended, AppendError> {
        let mut log = self.log.lock();
        let stream = request.stream.as_str();
        if let Some(first) = request.events.first() {
            let repeated = log.iter().rev().find(|event| event.id() == first.id && event.stream() == stream);
            if let Some(event) = repeated {
                return Ok(Appended { last_revision: Some(event.revision()), position: Some(event.position()) });
            }
        }
        let (metadata, _) = Self::metadata_of(&log, stream);
        let current = Self::last(&log, stream);
        let fits = match request.expected {
            ExpectedRevision::Any => true,
            ExpectedRevision::NoStream => current.is_none() || metadata.is_soft_deleted(),
            ExpectedRevision::StreamExists => current.is_some(),
            ExpectedRevision::Exact(revision) => current == Some(revision),
        };
        if !fits {
            let (stream, expected) = (request.stream.clone(), request.expected);
            return Err(AppendError::WrongExpectedRevision { stream, expected, current });
        }
        if metadata.is_soft_deleted() {
            let metadata = metadata.with_truncate_before(current.map_or(Revision::FIRST, Revision::next));
            let event = ProposedEvent::json(Uuid::new_v4(), METADATA_TYPE, metadata.to_data());
            Self::write(&mut log, &request.stream.metadata_stream(), &[event]);
        }
        Ok(Self::write(&mut log, &request.stream, &request.events))
    }

    fn subscription(
        &self,
        from: usize,
        fits: impl Fn(&RecordedEvent) -> bool + Send + 'static,
    ) -> Box<dyn Subscription> {
        let (log, grown) = (Arc::clone(&self.log), self.grown.subscribe());
        Box::new(MemorySubscription { log, grown, seen: from, fits: Box::new(fits) })
    }

    fn unavailable() -> ReadError {
        ReadError::Unavailable { reason: "the test says so".to_owned() }
    }
}

/// Hands out what fits, as it comes.
struct MemorySubscription {
    log: Arc<Mutex<Vec<RecordedEvent>>>,
    grown: watch::Receiver<u64>,
    /// So many events of the log were examined.
    seen: usize,
    fits: Box<dyn Fn(&RecordedEvent) -> bool + Send>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Result<Notice, SubscribeError> {
        loop {
            self.grown.borrow_and_update();
            let events: Vec<_> = {
                let log = self.log.lock();
                let new = log.iter().skip(std::mem::replace(&mut self.seen, log.len()));
                new.filter(|event| (self.fits)(event)).cloned().collect()
            };
            if !events.is_empty() {
                return Ok(Notice::Events(events));
            }
            self.grown.changed().await.map_err(|_| SubscribeError::Closed)?;
        }
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        tokio::task::yield_now().await;
        let unavailable = || AppendError::Unavailable { reason: "the test says so".to_owned() };
        if self.refuses.lock().is_some_and(|suffix| request.stream.as_str().ends_with(suffix)) {
            return Err(unavailable());
        }
        let appended = self.append_now(&request);
        self.grown.send_modify(|count| *count += 1);
        let mut loses = self.loses_answer.lock();
        if loses.is_some_and(|suffix| request.stream.as_str().ends_with(suffix)) {
            *loses = None;
            return Err(unavailable());
        }
        appended
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedRevision) -> Result<Position, AppendError> {
        let appended = self.set_metadata(stream, expected, StreamMetadata::soft_deleted()).await?;
        Ok(appended.position.unwrap_or_default())
    }

    async fn tombstone(&self, stream: &StreamName, _expected: ExpectedRevision) -> Result<Position, AppendError> {
        Err(AppendError::StreamDeleted { stream: stream.clone() })
    }

    async fn read_stream(&self, read: ReadStream) -> Result<StreamPage, ReadError> {
        tokio::task::yield_now().await;
        if self.reads_fail.load(Ordering::SeqCst) {
            return Err(Self::unavailable());
        }
        let log = self.log.lock();
        let name = read.stream.as_str();
        let not_found = || ReadError::StreamNotFound { stream: read.stream.clone() };
        let last_revision = Self::last(&log, name).ok_or_else(not_found)?;
        let (metadata, _) = Self::metadata_of(&log, name);
        if metadata.is_soft_deleted() {
            return Err(not_found());
        }
        let least = metadata.max_count().map_or(0, |count| (last_revision.get() + 1).saturating_sub(count));
        let least = least.max(metadata.truncate_before().map_or(0, Revision::get));
        let mut events: Vec<_> =
            log.iter().filter(|event| event.stream() == name && event.revision().get() >= least).cloned().collect();
        let mut next = None;
        match (read.direction, read.from) {
            (Direction::Backward, _) => {
                events.reverse();
                events.truncate(read.limit.events);
            }
            (Direction::Forward, from) => {
                if let StreamPoint::At(revision) = from {
                    events.retain(|event| event.revision() >= revision);
                }
                next = events.get(read.limit.events).map(RecordedEvent::revision);
                events.truncate(read.limit.events);
            }
        }
        Ok(StreamPage { events, next, last_revision })
    }

    async fn read_all(&self, read: ReadAll) -> Result<AllPage, ReadError> {
        /// Examined per page, to show that a page may be empty.
        const WINDOW: usize = 7;
        let log = self.log.lock();
        let from = match read.from {
            LogPoint::Start => Position::START,
            LogPoint::End => Position::new(u64::MAX),
            LogPoint::At(position) => position,
        };
        let mut rest = log.iter().filter(|event| event.position() >= from);
        let window: Vec<_> = rest.by_ref().take(WINDOW).collect();
        let next = rest.next().map(RecordedEvent::position);
        let events = window.into_iter().filter(|event| read.filter.matches(event)).cloned().collect();
        Ok(AllPage { events, next: next.map_or(LogPoint::End, LogPoint::At), at_end: next.is_none() })
    }

    async fn subscribe_all(&self, subscribe: SubscribeAll) -> Result<Box<dyn Subscription>, SubscribeError> {
        let from = match subscribe.from {
            LogPoint::Start => 0,
            LogPoint::At(position) => usize::try_from(position.commit()).unwrap(),
            LogPoint::End => self.log.lock().len(),
        };
        Ok(self.subscription(from, move |event| subscribe.filter.matches(event)))
    }

    async fn subscribe_stream(&self, subscribe: SubscribeStream) -> Result<Box<dyn Subscription>, SubscribeError> {
        let (stream, from) = (subscribe.stream, subscribe.from);
        let end = Self::last(&self.log.lock(), stream.as_str());
        let is_behind = move |revision| match from {
            StreamPoint::Start => true,
            StreamPoint::At(seen) => revision > seen,
            StreamPoint::End => Some(revision) > end,
        };
        Ok(self.subscription(0, move |event| event.stream() == stream.as_str() && is_behind(event.revision())))
    }

    async fn metadata(&self, stream: &StreamName) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        Ok(Self::metadata_of(&self.log.lock(), stream.as_str()))
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        _expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        let event = ProposedEvent::json(Uuid::new_v4(), METADATA_TYPE, metadata.to_data());
        Ok(Self::write(&mut self.log.lock(), &stream.metadata_stream(), &[event]))
    }

    async fn head(&self) -> Result<Option<Position>, ReadError> {
        Ok(self.log.lock().last().map(RecordedEvent::position))
    }
}

/// A clock that follows the time of the test's runtime.
pub(crate) struct RuntimeClock(tokio::time::Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(17_637_120_000_000_000).plus(self.0.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What a scripted pipeline was told.
#[derive(Clone, Debug)]
pub(crate) struct SeenRun {
    pub(crate) id: String,
    pub(crate) start_from: Option<LogPoint>,
    pub(crate) epoch: u64,
    pub(crate) settings: SettingsMap,
}

/// Runs what the setting `script` says: `run` (the default), `hang`, `fail`, `fail-later`, `panic`, `end`.
#[derive(Default)]
pub(crate) struct ScriptedRunner {
    pub(crate) runs: Mutex<Vec<SeenRun>>,
    /// Settings with this key are refused.
    pub(crate) refuses: Mutex<Option<&'static str>>,
    /// How many pipelines run now.
    pub(crate) running: Arc<AtomicU64>,
    /// Whether two pipelines of one connector ever ran at once.
    pub(crate) overlapped: Arc<AtomicBool>,
    active: Arc<Mutex<BTreeMap<String, u32>>>,
    /// Which shards were closed: generation, number, epoch.
    pub(crate) closed: Mutex<Vec<(u32, u32, u64)>>,
    /// Which generations were opened.
    pub(crate) opened: Mutex<Vec<u32>>,
    this: Mutex<std::sync::Weak<ScriptedRunner>>,
}

impl ScriptedRunner {
    pub(crate) fn new() -> Arc<Self> {
        let runner = Arc::new(Self::default());
        *runner.this.lock() = Arc::downgrade(&runner);
        runner
    }

    /// A runner of another node: that two nodes run one connector at once is seen by both.
    pub(crate) fn beside(other: &Self) -> Arc<Self> {
        let (active, overlapped) = (Arc::clone(&other.active), Arc::clone(&other.overlapped));
        let runner = Arc::new(Self { active, overlapped, ..Self::default() });
        *runner.this.lock() = Arc::downgrade(&runner);
        runner
    }

    /// How many pipelines of a connector run now, on this node or one beside it.
    pub(crate) fn runs_now(&self, id: &str) -> u32 {
        self.active.lock().get(id).copied().unwrap_or(0)
    }

    pub(crate) fn runs_of(&self, id: &str) -> Vec<SeenRun> {
        self.runs.lock().iter().filter(|run| run.id == id).cloned().collect()
    }
}

#[async_trait]
impl Runner for ScriptedRunner {
    fn prepare(
        &self,
        id: &str,
        settings: &SettingsMap,
        catalog: &Catalog,
    ) -> Result<Box<dyn Prepared>, SettingsErrors> {
        let kind = settings.get("instanceTypeName").unwrap_or_default();
        if catalog.find(kind).is_none() {
            return Err(SettingsErrors::single("instanceTypeName", format!("is {kind:?}"), "a known kind"));
        }
        if let Some(key) = self.refuses.lock().filter(|key| settings.get(key).is_some()) {
            return Err(SettingsErrors::single(key, "is refused", "nothing"));
        }
        let runner = self.this.lock().upgrade().unwrap();
        Ok(Box::new(Scripted { runner, id: id.to_owned(), settings: settings.clone() }))
    }

    async fn preview(
        &self,
        _store: Arc<dyn EventStore>,
        _catalog: &Catalog,
        request: PreviewRequest,
    ) -> Result<PreviewReport, QueryError> {
        Ok(PreviewReport { examined: request.last.unwrap_or(0), ..PreviewReport::default() })
    }

    fn restart_delay(&self, settings: &SettingsMap, failures: u32) -> Option<Duration> {
        crate::control::restart_delay(settings, failures)
    }
}

struct Scripted {
    runner: Arc<ScriptedRunner>,
    id: String,
    settings: SettingsMap,
}

/// Counts a run while it is under way, also when it is cut off.
struct Counted(Arc<Mutex<BTreeMap<String, u32>>>, Arc<AtomicU64>, String);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.lock().get_mut(&self.2).unwrap() -= 1;
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Prepared for Scripted {
    fn be_shard(&mut self, part: ShardPart) {
        self.id = format!("{}/{}.{}", self.id, part.shard.generation, part.shard.index);
    }

    async fn close_shard(&self, _: &HandOver, order: CloseOrder<'_>) -> Result<(), HandOverError> {
        let CloseOrder { generation, index, epoch } = order;
        self.runner.closed.lock().push((generation.number, index, epoch.0));
        Ok(())
    }

    async fn open_shards(&self, _: &HandOver, order: OpenOrder<'_>) -> Result<OpenedShards, HandOverError> {
        self.runner.opened.lock().push(order.shard.generation);
        Ok(OpenedShards { since: None, horizon: Position::START })
    }

    fn run(self: Box<Self>, _surroundings: Surroundings, run: Run, progress: watch::Sender<Progress>) -> Running {
        Box::pin(async move {
            let Self { runner, id, settings } = *self;
            let active = {
                let mut active = runner.active.lock();
                let active = active.entry(id.clone()).or_default();
                *active += 1;
                *active
            };
            runner.running.fetch_add(1, Ordering::SeqCst);
            if active > 1 {
                runner.overlapped.store(true, Ordering::SeqCst);
            }
            let _counted = Counted(Arc::clone(&runner.active), Arc::clone(&runner.running), id.clone());
            let script = settings.get("script").unwrap_or("run").to_owned();
            let (start_from, epoch) = (run.start_from, run.epoch.0);
            runner.runs.lock().push(SeenRun { id, start_from, epoch, settings: settings.clone() });
            drop(runner);
            let password = settings.get("authentication:password").unwrap_or_default();
            let message = format!("it was told to; the target answered: {password} is wrong");
            let failed = || End::Failed(PipelineFailure { code: "test", message: message.clone() });
            match script.as_str() {
                "fail" => return failed(),
                "end" => return End::Stopped,
                "panic" => panic!("told to panic"),
                _ => {}
            }
            let _ = run.running.send(());
            progress.send_replace(Progress { read: 1, ..Progress::default() });
            match script.as_str() {
                "hang" => std::future::pending().await,
                "fail-later" => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    failed()
                }
                _ => tokio::select! {
                    () = run.stop.cancelled() => End::Stopped,
                    () = run.fenced.cancelled() => End::Fenced,
                },
            }
        })
    }
}

fn descriptions() -> Vec<SettingDescription> {
    let text = |key: &str, secret| SettingDescription {
        key: key.to_owned(),
        value: ValueKind::Text,
        expected: "text".to_owned(),
        default: None,
        required: false,
        secret,
        words: Vec::new(),
        doc: String::new(),
    };
    vec![text("url", false), text("authentication:password", true), text("defaultHeaders:*", false)]
}

/// A catalogue of one kind.
pub(crate) fn catalog() -> Catalog {
    Catalog::new(vec![Kind {
        name: "test-sink",
        aliases: &["TestSink"],
        title: "Test",
        summary: "Writes nothing.",
        page: "",
        guarantee: Guarantee::AtLeastOnce,
        lanes: LaneSupport::Many,
        batch_records_default: 1,
        policy: &[],
        settings: descriptions,
        connect: |_, _| Err(SettingsErrors::single("url", "is missing", "nothing")),
    }])
}

pub(crate) const NODE: Uuid = Uuid::from_u128(0xA);
pub(crate) const LEASE: Duration = Duration::from_secs(10);
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A node under test: what survives a crash, and how to open it again.
pub(crate) struct Bench {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) runner: Arc<ScriptedRunner>,
    pub(crate) clock: Arc<RuntimeClock>,
    pub(crate) config: RuntimeConfig,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::default(),
            runner: ScriptedRunner::new(),
            clock: Arc::new(RuntimeClock(tokio::time::Instant::now())),
            config: RuntimeConfig {
                node: NODE,
                stream_prefix: "$connectors".to_owned(),
                lease: LEASE,
                stop_limit: STOP_LIMIT,
                connectors_max: 20,
                secret_key: [7; 32],
                cluster: None,
            },
        }
    }

    /// The same store seen by another node.
    pub(crate) fn other_node(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            runner: ScriptedRunner::new(),
            clock: Arc::clone(&self.clock),
            config: RuntimeConfig { node: Uuid::from_u128(0xB), ..self.config.clone() },
        }
    }

    pub(crate) async fn try_open(&self) -> Result<Connectors, OpenError> {
        self.open_over(Arc::<MemoryStore>::clone(&self.store)).await
    }

    /// Opens it over something that stands before its store.
    pub(crate) async fn open_over(&self, store: Arc<dyn EventStore>) -> Result<Connectors, OpenError> {
        let clock: Arc<dyn Clock> = Arc::<RuntimeClock>::clone(&self.clock);
        let (metrics, config) = (Metrics::default(), self.config.clone());
        let parts = NodeParts { store, catalog: catalog(), clock, metrics, config };
        Connectors::open_with(parts, Arc::<ScriptedRunner>::clone(&self.runner) as Arc<dyn Runner>).await
    }

    pub(crate) async fn open(&self) -> Connectors {
        self.try_open().await.unwrap()
    }

    /// Writes a checkpoint as a pipeline does.
    pub(crate) async fn checkpoint(&self, id: &str, position: u64) {
        let body = serde_json::json!({"consumerId": id, "logPosition": position.to_string(),
            "timestamp": self.clock.now().to_string()});
        self.put(&format!("$connectors/{id}/checkpoints"), "$conn-ctrl-checkpoint", &body.to_string()).await;
    }

    pub(crate) async fn put(&self, stream: &str, event_type: &str, body: &str) {
        let event = ProposedEvent::json(Uuid::new_v4(), event_type, body.to_owned());
        let stream = StreamName::new(stream).unwrap();
        let request = AppendRequest { stream, expected: ExpectedRevision::Any, events: vec![event] };
        self.store.append(request).await.unwrap();
    }

    /// Waits until no pipeline of this bench runs.
    pub(crate) async fn quiet(&self) {
        until("all pipelines ended", async || self.runner.running.load(Ordering::SeqCst) == 0).await;
    }
}

/// Settings of the test kind with these besides.
pub(crate) fn settings(more: &[(&str, &str)]) -> SettingsMap {
    let mut map = SettingsMap::from_flat([("instanceTypeName".to_owned(), "test-sink".to_owned())]);
    for (key, value) in more {
        map.insert(key, value);
    }
    map
}

pub(crate) async fn create(connectors: &Connectors, id: &str, more: &[(&str, &str)]) {
    connectors.create(id, CreateConnector { name: None, settings: settings(more) }).await.unwrap();
}

/// Waits for a condition, in the test's time.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..200_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came true that {what}");
}

pub(crate) async fn until_state(connectors: &Connectors, id: &str, state: ConnectorState) -> ConnectorView {
    until(&format!("{id} is {state:?}"), async || connectors.get(id).await.unwrap().state == state).await;
    connectors.get(id).await.unwrap()
}

/// Waits until a connector has failed.
pub(crate) async fn until_failed(connectors: &Connectors, id: &str) -> ConnectorView {
    until(&format!("{id} has failed"), async || connectors.get(id).await.unwrap().error.is_some()).await;
    connectors.get(id).await.unwrap()
}
