//! Owns the seam between who runs what and what is run: the pipeline, or a scripted one in tests.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::Catalog;
use forebay_connector::settings::{SettingsErrors, SettingsMap, decode};
use forebay_store::EventStore;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::management::{PreviewReport, PreviewRequest, QueryError};
use crate::pipeline::{
    CloseOrder, End, HandOver, HandOverError, OpenOrder, OpenedShards, Plan, Progress, Run, ShardPart, Surroundings,
    preview, run,
};
use crate::settings::ConnectorSettings;

/// A pipeline on its way.
pub(crate) type Running = Pin<Box<dyn Future<Output = End> + Send>>;

/// A connector ready to run.
#[async_trait]
pub(crate) trait Prepared: Send + Sync {
    /// Makes it one shard of its connector.
    fn be_shard(&mut self, part: ShardPart);

    /// Closes a shard of an earlier generation, whose lease is held.
    async fn close_shard(&self, site: &HandOver, order: CloseOrder<'_>) -> Result<(), HandOverError>;

    /// Lets a generation of shards begin.
    async fn open_shards(&self, site: &HandOver, order: OpenOrder<'_>) -> Result<OpenedShards, HandOverError>;

    /// Runs it to its end.
    fn run(self: Box<Self>, surroundings: Surroundings, run: Run, progress: watch::Sender<Progress>) -> Running;
}

/// Makes connectors ready to run.
#[async_trait]
pub(crate) trait Runner: Send + Sync + 'static {
    /// Checks settings, secrets opened, and builds what they ask for; sends nothing.
    fn prepare(&self, id: &str, settings: &SettingsMap, catalog: &Catalog)
    -> Result<Box<dyn Prepared>, SettingsErrors>;

    /// Runs filter and transform over history, touching no sink.
    async fn preview(
        &self,
        store: Arc<dyn EventStore>,
        catalog: &Catalog,
        request: PreviewRequest,
    ) -> Result<PreviewReport, QueryError>;

    /// How long to wait before it is started again after so many failures in a row; none when it is not.
    fn restart_delay(&self, settings: &SettingsMap, failures: u32) -> Option<Duration>;
}

/// Runs the real pipeline.
pub(crate) struct PipelineRunner;

#[async_trait]
impl Runner for PipelineRunner {
    fn prepare(
        &self,
        id: &str,
        settings: &SettingsMap,
        catalog: &Catalog,
    ) -> Result<Box<dyn Prepared>, SettingsErrors> {
        Ok(Box::new(Plan::build(id, settings, catalog)?))
    }

    async fn preview(
        &self,
        store: Arc<dyn EventStore>,
        catalog: &Catalog,
        request: PreviewRequest,
    ) -> Result<PreviewReport, QueryError> {
        preview(&*store, catalog, request).await
    }

    fn restart_delay(&self, settings: &SettingsMap, failures: u32) -> Option<Duration> {
        restart_delay(settings, failures)
    }
}

#[async_trait]
impl Prepared for Plan {
    fn be_shard(&mut self, part: ShardPart) {
        self.as_shard(part);
    }

    async fn close_shard(&self, site: &HandOver, order: CloseOrder<'_>) -> Result<(), HandOverError> {
        Self::close_shard(self, site, order).await
    }

    async fn open_shards(&self, site: &HandOver, order: OpenOrder<'_>) -> Result<OpenedShards, HandOverError> {
        Self::open_shards(self, site, order).await
    }

    fn run(self: Box<Self>, surroundings: Surroundings, order: Run, progress: watch::Sender<Progress>) -> Running {
        Box::pin(run(*self, surroundings, order, progress))
    }
}

/// Runs what may block for a moment: beside the other tasks, or, where there is only one thread, in turn with them. A
/// second thread there would end at a moment of its own, and no run could be repeated step by step.
pub(crate) fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => tokio::spawn(async move { work() }),
        _ => tokio::task::spawn_blocking(work),
    }
}

/// The runner that is used unless a test says otherwise.
pub(crate) fn pipeline_runner() -> Arc<dyn Runner> {
    Arc::new(PipelineRunner)
}

/// How long to wait after so many failures in a row; none when it stays failed. Settings that cannot be read mean never.
pub(crate) fn restart_delay(settings: &SettingsMap, failures: u32) -> Option<Duration> {
    decode::<ConnectorSettings>(settings).ok()?.restart.delay(failures.saturating_sub(1))
}
