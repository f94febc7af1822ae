//! Owns putting the parts together: log, catalogue, connectors, API, listener; and taking them apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forebay_api::{Api, AppendLimits, NodeFacts};
use forebay_event::{Clock, SystemClock};
use forebay_log::{EmbeddedLog, LogLimits, LogOptions};
use forebay_runtime::metrics::Metrics;
use forebay_runtime::{Connectors, RuntimeConfig};
use forebay_store::EventStore;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster;
use crate::config::Config;
use crate::declared::{self, DeclaredError};
use crate::first_start::{self, FirstStartError};
use crate::identity::{self, IdentityError};
use crate::listener;

/// Open requests get so long after the connectors have stopped.
const REQUESTS_LIMIT: Duration = Duration::from_secs(5);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be served.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why, in the system's words.
        reason: String,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] forebay_log::OpenError),
    /// A fresh log cannot be filled.
    #[error("the first events of the log cannot be written: {0}")]
    FirstStart(#[from] FirstStartError),
    /// A file of the server's own cannot be used.
    #[error("{0}")]
    Identity(String),
    /// The connectors cannot be brought back.
    #[error("the connectors cannot be read: {0}")]
    Connectors(#[from] forebay_runtime::management::OpenError),
    /// A connector file was not applied.
    #[error("connector file {0}")]
    Declared(#[from] DeclaredError),
}

impl From<IdentityError> for StartError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error.to_string())
    }
}

/// A server that is serving. Dropping it does not stop it in order; [`RunningServer::shutdown`] does.
pub struct RunningServer {
    address: SocketAddr,
    log: EmbeddedLog,
    connectors: Connectors,
    stopping: CancellationToken,
    limit: Duration,
    serving: JoinHandle<()>,
}

impl RunningServer {
    /// The address it serves; the port is the real one if any was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The event store it serves.
    pub fn store(&self) -> Arc<dyn EventStore> {
        Arc::new(self.log.clone())
    }

    /// All its connectors.
    pub fn connectors(&self) -> &Connectors {
        &self.connectors
    }

    /// Stops in order: no new requests, connectors (the batch in hand, checkpoint, lease), open requests, the log.
    pub async fn shutdown(self) {
        self.stopping.cancel();
        if tokio::time::timeout(self.limit, self.connectors.shutdown()).await.is_err() {
            tracing::warn!(
                limit_ms = self.limit.as_millis(),
                "connectors were still stopping when the limit was reached"
            );
        }
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the listener broke");
        }
        self.log.close().await;
        tracing::info!("stopped");
    }
}

/// Starts a server: binds, recovers the log, brings back the connectors, applies connector files, then serves.
pub async fn start(config: Config) -> Result<RunningServer, StartError> {
    let declared = declared::read_all(&config.connectors)?;
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().map_err(|error| cannot_listen(config.listen, &error))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = open_log(&config, clock.clone())?;
    let store: Arc<dyn EventStore> = Arc::new(log.clone());
    first_start::write_users(&*store).await?;

    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let runtime = RuntimeConfig {
        node: identity::node_id(&config.data)?,
        stream_prefix: config.stream_prefix.clone(),
        lease: config.lease,
        stop_limit: config.shutdown_limit,
        connectors_max: config.connectors_max,
        secret_key: identity::secret_key(&config.secret_key, &config.data)?,
        cluster: cluster::runtime_config(&config, address),
    };
    let connectors = Connectors::open(store.clone(), forebay_sinks::catalog(), clock.clone(), metrics, runtime).await?;
    let stopping = CancellationToken::new();
    let node =
        NodeFacts { name: config.node.clone(), version: env!("CARGO_PKG_VERSION").to_owned(), started: clock.now() };
    let api = Api {
        store,
        connectors: connectors.clone(),
        registry: Arc::new(registry),
        clock,
        node,
        is_local: address.ip().is_loopback(),
        limits: append_limits(&config),
        stopping: stopping.clone(),
    };
    let router = forebay_api::router(api);
    let serving = listener::serve(listener, router, config.connections_max, stopping.clone(), REQUESTS_LIMIT);
    let server = RunningServer {
        address,
        log,
        connectors,
        stopping,
        limit: config.shutdown_limit,
        serving: tokio::spawn(serving),
    };
    if let Err(error) = declared::apply_all(&server.connectors, &declared).await {
        server.shutdown().await;
        return Err(error.into());
    }
    tracing::info!(%address, data = %config.data.display(), node = config.node, "serving");
    Ok(server)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> StartError {
    StartError::Listen { address, reason: error.to_string() }
}

fn append_limits(config: &Config) -> AppendLimits {
    let event_size_max = LogLimits::default().event_size_max;
    AppendLimits { append_size_max: config.append_size_max, event_size_max }
}

fn open_log(config: &Config, clock: Arc<dyn Clock>) -> Result<EmbeddedLog, StartError> {
    let AppendLimits { append_size_max, event_size_max } = append_limits(config);
    let limits = LogLimits { append_size_max, event_size_max };
    let options = LogOptions { limits, ..LogOptions::new(&config.data, clock) };
    let (log, recovery) = tokio::task::block_in_place(|| EmbeddedLog::open(options))?;
    tracing::info!(data = %config.data.display(), "{recovery}");
    if recovery.cut_bytes > 0 {
        tracing::warn!(cut_bytes = recovery.cut_bytes, "a torn end was cut off; nothing in it was acknowledged");
    }
    Ok(log)
}
