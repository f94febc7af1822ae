//! Owns the one handle through which everybody asks for connectors.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Catalog;
use forebay_connector::settings::SettingsMap;
use forebay_event::{Clock, Position};
use forebay_store::{EventStore, LogPoint};
use uuid::Uuid;

use super::{
    CommandError, ConnectorView, CreateConnector, ListQuery, OpenError, PreviewReport, PreviewRequest, QueryError,
};
use crate::metrics::Metrics;

/// What an operator decides for all connectors of this node.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Who this node is, in leases.
    pub node: Uuid,
    /// Where the connectors' streams live: `$connectors` unless another engine uses that.
    pub stream_prefix: String,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// How long a connector may take to stop.
    pub stop_limit: Duration,
    /// The most connectors this node takes.
    pub connectors_max: usize,
    /// The key that secrets in settings are sealed with: 32 bytes.
    pub secret_key: [u8; 32],
}

/// All connectors: commands, queries, and the node that runs them. Cheap to clone.
#[derive(Clone)]
pub struct Connectors {}

impl Connectors {
    /// Reads what is known of all connectors and brings back those that were running.
    pub async fn open(
        _store: Arc<dyn EventStore>,
        _catalog: Catalog,
        _clock: Arc<dyn Clock>,
        _metrics: Metrics,
        _config: RuntimeConfig,
    ) -> Result<Self, OpenError> {
        unimplemented!()
    }

    /// The kinds that connectors can be made of.
    pub fn catalog(&self) -> &Catalog {
        unimplemented!()
    }

    /// Makes a connector; it is stopped until started.
    pub async fn create(&self, _id: &str, _create: CreateConnector) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// Replaces the settings; a running connector keeps the old ones until it is restarted. A secret given as its mask
    /// keeps its value.
    pub async fn reconfigure(&self, _id: &str, _settings: SettingsMap) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// Starts a connector: behind the given point, else behind its checkpoint, else where its settings say.
    pub async fn start(&self, _id: &str, _from: Option<LogPoint>) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// Starts a stopped connector anew: behind the given position, or from the beginning of the log.
    pub async fn reset(&self, _id: &str, _from: Option<Position>) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// Asks a connector to stop; stopping one that is stopped changes nothing.
    pub async fn stop(&self, _id: &str) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// Gives a connector another name.
    pub async fn rename(&self, _id: &str, _name: &str) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// Deletes a stopped connector.
    pub async fn delete(&self, _id: &str) -> Result<(), CommandError> {
        unimplemented!()
    }

    /// The connectors that fit, in the order of their creation.
    pub async fn list(&self, _query: ListQuery) -> Result<Vec<ConnectorView>, QueryError> {
        unimplemented!()
    }

    /// One connector; deleted ones are found as well.
    pub async fn get(&self, _id: &str) -> Result<ConnectorView, QueryError> {
        unimplemented!()
    }

    /// Runs filter and transform over history, touching no sink.
    pub async fn preview(&self, _request: PreviewRequest) -> Result<PreviewReport, QueryError> {
        unimplemented!()
    }

    /// Stops all connectors on this node within their limit and releases their leases. What was running is running
    /// again after the next start.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
