//! Owns the seam between who runs what and what is run: the pipeline, or a scripted one in tests.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::Catalog;
use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_store::EventStore;
use tokio::sync::watch;

use super::restart;
use crate::management::{PreviewReport, PreviewRequest, QueryError};
use crate::pipeline::{End, Plan, Progress, Run, Surroundings, run};

/// A pipeline on its way.
pub(crate) type Running = Pin<Box<dyn Future<Output = End> + Send>>;

/// A connector ready to run.
pub(crate) trait Prepared: Send {
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

    #[expect(
        clippy::unimplemented,
        reason = "becomes `pipeline::preview(&*store, catalog, request).await` with the pipeline"
    )]
    async fn preview(
        &self,
        _store: Arc<dyn EventStore>,
        _catalog: &Catalog,
        _request: PreviewRequest,
    ) -> Result<PreviewReport, QueryError> {
        unimplemented!()
    }

    fn restart_delay(&self, settings: &SettingsMap, failures: u32) -> Option<Duration> {
        restart::delay(settings, failures)
    }
}

impl Prepared for Plan {
    fn run(self: Box<Self>, surroundings: Surroundings, order: Run, progress: watch::Sender<Progress>) -> Running {
        Box::pin(run(*self, surroundings, order, progress))
    }
}

/// The runner that is used unless a test says otherwise.
pub(crate) fn pipeline_runner() -> Arc<dyn Runner> {
    Arc::new(PipelineRunner)
}
