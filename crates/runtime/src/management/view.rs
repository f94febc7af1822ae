//! Owns what queries answer and commands take.

use std::fmt;

use forebay_connector::settings::SettingsMap;
use forebay_event::{Position, Timestamp};

use super::ShardView;
use crate::pipeline::{ParkedCount, Progress};

/// The state of a connector. A failed one is stopped and has error details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectorState {
    /// A start was accepted.
    Activating,
    /// It is reading and delivering.
    Running,
    /// A stop was accepted.
    Deactivating,
    /// It is not running.
    Stopped,
}

impl ConnectorState {
    /// The name in the REST API, such as `CONNECTOR_STATE_RUNNING`.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Activating => "CONNECTOR_STATE_ACTIVATING",
            Self::Running => "CONNECTOR_STATE_RUNNING",
            Self::Deactivating => "CONNECTOR_STATE_DEACTIVATING",
            Self::Stopped => "CONNECTOR_STATE_STOPPED",
        }
    }
}

/// Why a connector failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDetails {
    /// A short stable word.
    pub code: String,
    /// What failed, for a person. No stack traces, no secrets.
    pub message: String,
}

/// A connector as queries show it. Secrets in settings are masked.
#[derive(Clone, Debug)]
pub struct ConnectorView {
    /// Its id.
    pub id: String,
    /// `instanceTypeName` as it was given.
    pub kind: String,
    /// Its name; the id unless given.
    pub name: String,
    /// Its state, from what the hosting node reports.
    pub state: ConnectorState,
    /// When the state was reached.
    pub state_at: Timestamp,
    /// Its settings, secrets masked.
    pub settings: SettingsMap,
    /// When they were given.
    pub settings_at: Timestamp,
    /// Counts the reconfigurations, from 0.
    pub revision: u64,
    /// The last checkpoint, if there is one.
    pub position: Option<Position>,
    /// When that checkpoint was written.
    pub position_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
    /// When it was deleted, if it was.
    pub deleted_at: Option<Timestamp>,
    /// Why it failed, until it runs or stops again.
    pub error: Option<ErrorDetails>,
    /// What the running pipeline has done; none when it is not running on this node.
    pub progress: Option<Progress>,
    /// Its shards, in order; none when it has none.
    pub shards: Vec<ShardView>,
    /// What is parked.
    pub parked: ParkedCount,
    /// Settings differ from those the running pipeline was started with.
    pub restart_needed: bool,
}

/// What a create takes. Its debug text shows which settings there are, not their values.
#[derive(Clone)]
pub struct CreateConnector {
    /// A name to show; the id when absent or blank.
    pub name: Option<String>,
    /// Its settings, `instanceTypeName` among them.
    pub settings: SettingsMap,
}

impl fmt::Debug for CreateConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.settings.iter().map(|(key, _)| key).collect();
        f.debug_struct("CreateConnector").field("name", &self.name).field("settings", &keys).finish()
    }
}

/// Which connectors to list. Empty lists mean all.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only in these states.
    pub states: Vec<ConnectorState>,
    /// Only of these kinds, compared with what was given at creation.
    pub kinds: Vec<String>,
    /// Only these ids.
    pub ids: Vec<String>,
    /// Deleted ones as well.
    pub show_deleted: bool,
}

/// A run of filter and transform over history, without a sink.
#[derive(Clone, Debug)]
pub struct PreviewRequest {
    /// The connector's settings.
    pub settings: SettingsMap,
    /// The last so many events of the log; wins over `from` and `to`.
    pub last: Option<u64>,
    /// Begins at this position.
    pub from: Option<Position>,
    /// Ends at this position.
    pub to: Option<Position>,
    /// At most so many samples in the report.
    pub samples: usize,
}

/// What a preview found.
#[derive(Clone, Debug, Default)]
pub struct PreviewReport {
    /// Events examined.
    pub examined: u64,
    /// Records that would be delivered.
    pub matched: u64,
    /// Events that filter or transform would drop.
    pub skipped: u64,
    /// Records on which the transform failed.
    pub failed: u64,
    /// Whether the bound on examined events was reached before the end of the range.
    pub cut_short: bool,
    /// The first matched and failed records.
    pub samples: Vec<PreviewSample>,
}

/// One record of a preview.
#[derive(Clone, Debug)]
pub struct PreviewSample {
    /// Where it is in the log.
    pub position: Position,
    /// Its stream.
    pub stream: String,
    /// Its revision.
    pub revision: u64,
    /// What became of it.
    pub outcome: PreviewOutcome,
}

/// What became of a record in a preview.
#[derive(Clone, Debug)]
pub enum PreviewOutcome {
    /// It would be delivered like this.
    Matched {
        /// The schema subject.
        subject: String,
        /// The payload.
        data: Vec<u8>,
    },
    /// The transform failed.
    Failed {
        /// Why.
        reason: String,
    },
}
