//! What happens to records: subscribe, filter, transform, lanes, deliver, checkpoint.
//!
//! ```text
//! store ─▶ subscribe ─▶ filter ─▶ transform ─▶ lanes ─▶ deliver ─▶ sink
//!              ▲                                            │
//!              └────────── checkpoint ◀── settled ◀─────────┘
//! ```

use std::sync::Arc;

use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::{Catalog, Epoch, FailureClass};
use forebay_event::{Clock, Position, StreamName, Timestamp};
use forebay_store::{EventStore, LogPoint};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// A connector ready to run: settings checked, kind known, scripts compiled, target built; nothing sent yet.
pub struct Plan {}

impl Plan {
    /// Checks all settings of a connector, its own kind's and the shared ones, and builds what it needs to run.
    ///
    /// Every wrong or unknown key is named, with its value and what was expected.
    pub fn build(_connector_id: &str, _settings: &SettingsMap, _catalog: &Catalog) -> Result<Self, SettingsErrors> {
        unimplemented!()
    }
}

/// What a pipeline needs from outside.
#[derive(Clone)]
pub struct Surroundings {
    /// The store it reads from and keeps its checkpoint in.
    pub store: Arc<dyn EventStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it counts.
    pub metrics: Metrics,
    /// The stream of its checkpoints.
    pub checkpoints: StreamName,
}

/// The order to run.
pub struct Run {
    /// Where to begin, given with the start; wins over the checkpoint.
    pub start_from: Option<LogPoint>,
    /// The epoch of the lease it runs under.
    pub epoch: Epoch,
    /// Asks it to stop: reading ends, the batches in hand are finished within the limit, the checkpoint is written.
    pub stop: CancellationToken,
    /// Tells it that the lease is lost: everything ends at once, nothing is written.
    pub fenced: CancellationToken,
    /// How long stopping may take.
    pub stop_limit: std::time::Duration,
    /// Told when the pipeline is reading and its sinks answered the probe.
    pub running: tokio::sync::oneshot::Sender<()>,
}

/// How a pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// It could not go on, and says why.
    Failed(PipelineFailure),
    /// Another owner has the connector now.
    Fenced,
}

/// Why a pipeline could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PipelineFailure {
    /// A short stable word, such as `connect` or `script`.
    pub code: &'static str,
    /// What failed, where (position, stream, revision), and what was tried.
    pub message: String,
}

/// What a pipeline has done so far; status and metrics are made from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events handed out by the subscription.
    pub read: u64,
    /// Records the sink confirmed.
    pub delivered: u64,
    /// Events that filter or transform dropped.
    pub skipped: u64,
    /// Records set aside.
    pub parked: u64,
    /// Everything at or below it is settled.
    pub settled: Option<Position>,
    /// When a record was last settled.
    pub last_progress: Option<Timestamp>,
    /// Whether history is finished.
    pub caught_up: bool,
    /// Since when attempts fail without a success in between, and with what.
    pub failing: Option<(Timestamp, FailureClass)>,
}

/// Runs a connector until it is stopped, fails or is fenced. Panics of its parts are caught and end it as failed.
pub async fn run(
    _plan: Plan,
    _surroundings: Surroundings,
    _run: Run,
    _progress: tokio::sync::watch::Sender<Progress>,
) -> End {
    unimplemented!()
}
