//! Owns a node's figures over gRPC: once at the start, then once per period.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_wire::event_store::client::monitoring::monitoring_server::Monitoring;
use forebay_wire::event_store::client::monitoring::{StatsReq, StatsResp};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

use crate::router::Api;
use crate::status::grpc::{of_read, stopping, too_busy};

/// The bounds of a period.
const PERIOD_MIN: Duration = Duration::from_millis(100);
const PERIOD_MAX: Duration = Duration::from_secs(24 * 3600);
/// So many callers watch figures at the same time.
const WATCHERS_MAX: usize = 256;

/// Tells the figures of a node.
#[derive(Clone)]
pub(crate) struct MonitoringService {
    api: Api,
    watchers: Arc<Semaphore>,
}

impl MonitoringService {
    /// Tells those of this API's node.
    pub(crate) fn new(api: &Api) -> Self {
        Self { api: api.clone(), watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

/// One caller who watches.
struct Watcher {
    api: Api,
    period: Duration,
    is_first: bool,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<StatsResp, Status>, Self)> {
        if self.ended {
            return None;
        }
        let figures = tokio::select! {
            biased;
            () = self.api.stopping.cancelled() => Err(stopping()),
            figures = self.figures() => figures,
        };
        self.is_first = false;
        self.ended = figures.is_err();
        Some((figures, self))
    }

    async fn figures(&self) -> Result<StatsResp, Status> {
        if !self.is_first {
            tokio::time::sleep(self.period).await;
        }
        let head = self.api.store.head().await.map_err(of_read)?;
        let checksum = head.map_or(0, |head| head.commit()).to_string();
        let stats = [
            ("proc-id", std::process::id().to_string()),
            ("proc-startTime", self.api.node.started.to_string()),
            ("es-checksum", checksum.clone()),
            ("es-checksumNonFlushed", checksum),
        ];
        Ok(StatsResp { stats: HashMap::from(stats.map(|(name, value)| (name.to_owned(), value))) })
    }
}

#[tonic::async_trait]
impl Monitoring for MonitoringService {
    type StatsStream = BoxStream<'static, Result<StatsResp, Status>>;

    async fn stats(&self, request: Request<StatsReq>) -> Result<Response<Self::StatsStream>, Status> {
        let permit = self.watchers.clone().try_acquire_owned().map_err(|_| too_busy())?;
        let period = Duration::from_millis(request.into_inner().refresh_time_period_in_ms);
        let period = period.clamp(PERIOD_MIN, PERIOD_MAX);
        let watcher = Watcher { api: self.api.clone(), period, is_first: true, ended: false, _permit: permit };
        Ok(Response::new(stream::unfold(watcher, Watcher::next).boxed()))
    }
}
