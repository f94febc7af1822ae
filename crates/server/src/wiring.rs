//! Owns putting the parts together: store, catalogue, connectors, API, listener; and taking them apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use forebay_access::{Access, Rules, UserError, UserStreams};
use forebay_api::{Api, AppendLimits, NodeFacts, TrustedHosts};
use forebay_event::{Clock, SystemClock};
use forebay_log::LogLimits;
use forebay_runtime::management::OpenError;
use forebay_runtime::metrics::Metrics;
use forebay_runtime::{Connectors, RuntimeConfig};
use forebay_store::{EventStore, ReadError};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::certificates::{CertificateError, Certificates};
use crate::cluster;
use crate::config::Config;
use crate::declared::{self, DeclaredError};
use crate::door::Door;
use crate::events::Events;
use crate::first_start::{self, FirstStartError};
use crate::identity::{self, IdentityError};
use crate::listener::{self, Serving};
use crate::posture::{self, Exposed};

/// Open requests get so long after the connectors have stopped.
const REQUESTS_LIMIT: Duration = Duration::from_secs(5);

/// Connectors get so long to stop while the store is away: nothing of what they do then can be kept.
const AWAY_LIMIT: Duration = Duration::from_secs(3);

/// How often it is looked whether the store is away while connectors stop.
const AWAY_LOOK: Duration = Duration::from_millis(100);

/// Where users of these nodes are kept in a cluster, apart from its own.
const USERS_REMOTE: &str = "$forebay";

/// The pause before connectors are read again from a cluster that was just away.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

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
    /// What is to be served would not be protected.
    #[error("listen {0}")]
    Exposed(#[from] Exposed),
    /// The cluster cannot be reached as it is configured.
    #[error("the store cannot be used: {0}")]
    Remote(#[from] forebay_remote::ConnectError),
    /// A fresh log cannot be filled.
    #[error("the first users cannot be made: {0}")]
    FirstStart(#[from] FirstStartError),
    /// A file of the server's own cannot be used.
    #[error("{0}")]
    Identity(String),
    /// The connectors cannot be brought back.
    #[error("the connectors cannot be read: {0}")]
    Connectors(#[from] forebay_runtime::management::OpenError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
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
    events: Events,
    connectors: Connectors,
    certificates: Option<Certificates>,
    stop_asked: CancellationToken,
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
        self.events.store()
    }

    /// All its connectors.
    pub fn connectors(&self) -> &Connectors {
        &self.connectors
    }

    /// Waits until a client asks for the process to stop, over the network. It goes on serving until it is shut down.
    pub async fn stop_asked(&self) {
        self.stop_asked.cancelled().await;
    }

    /// Reads the certificates again. Wrong ones are logged, and the last right ones stay in use.
    pub async fn reload_certificates(&self) {
        match &self.certificates {
            Some(certificates) => certificates.reload().await,
            None => tracing::info!("there are no certificates to read again: clear text is served"),
        }
    }

    /// Stops in order: no new requests, connectors (the batch in hand, checkpoint, lease), open requests, the log.
    pub async fn shutdown(self) {
        self.stopping.cancel();
        let store = self.events.store();
        tokio::select! {
            biased;
            () = self.connectors.shutdown() => {}
            () = tokio::time::sleep(self.limit) => {
                let limit_ms = self.limit.as_millis();
                tracing::warn!(limit_ms, "connectors were still stopping when the limit was reached");
            }
            () = away_for(&*store, AWAY_LIMIT.min(self.limit)) => {
                let limit_ms = AWAY_LIMIT.as_millis();
                tracing::warn!(limit_ms, "connectors were still stopping, and the store is away: nothing more can be kept");
            }
        }
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the listener broke");
        }
        self.events.close().await;
        tracing::info!("stopped");
    }
}

/// Starts a server: binds, recovers the log or waits for the cluster, brings back the connectors, applies connector files,
/// then serves. While it waits for a cluster, it answers that it is alive and not ready.
pub async fn start(config: Config) -> Result<RunningServer, StartError> {
    start_with_clock(config, Arc::new(SystemClock::new())).await
}

/// The same by another clock.
pub async fn start_with_clock(config: Config, clock: Arc<dyn Clock>) -> Result<RunningServer, StartError> {
    let asks = posture::asks(&config)?;
    let declared = declared::read_all(&config.connectors)?;
    let certificates = config.tls.as_ref().map(Certificates::load).transpose()?;
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().map_err(|error| cannot_listen(config.listen, &error))?;
    let events = Events::open(&config, log_limits(&config), clock.clone())?;
    let (stopping, stop_asked) = (CancellationToken::new(), CancellationToken::new());
    let serve = |router| {
        let serving = Serving {
            router,
            connections_max: config.connections_max,
            certificates: certificates.clone(),
            stop: stopping.clone(),
            limit: REQUESTS_LIMIT,
        };
        tokio::spawn(listener::serve(listener, serving))
    };
    let is_tls = certificates.is_some();
    let (asked, stop) = (stop_asked.clone(), stopping.clone());
    let parts = Parts { config: &config, asks, clock, address, is_tls, stop_asked: asked, stopping: stop };
    let (serving, connectors) = if events.is_ours() {
        let (router, connectors) = parts.router(&events).await?;
        (serve(router), connectors)
    } else {
        let door = Door::new(forebay_api::waiting_router(events.store()));
        // Ends with this function, whichever way that goes, unless it is handed on.
        let serving = AbortOnDropHandle::new(serve(door.router()));
        let (router, connectors) = parts.router_in_time(&events).await?;
        door.open(router);
        (serving.detach(), connectors)
    };
    if let Some(certificates) = &certificates {
        tokio::spawn(certificates.clone().watch(stopping.clone()));
    }
    let limit = config.shutdown_limit;
    let server = RunningServer { address, events, connectors, certificates, stop_asked, stopping, limit, serving };
    if let Err(error) = declared::apply_all(&server.connectors, &declared).await {
        server.shutdown().await;
        return Err(error.into());
    }
    let (data, store) = (config.data.display(), config.store.as_ref().map(ToString::to_string));
    tracing::info!(%address, tls = is_tls, %data, store, node = config.node, asks_callers = asks, "serving");
    Ok(server)
}

/// What the API is made of, besides the store.
struct Parts<'a> {
    config: &'a Config,
    asks: bool,
    clock: Arc<dyn Clock>,
    address: SocketAddr,
    is_tls: bool,
    stop_asked: CancellationToken,
    stopping: CancellationToken,
}

impl Parts<'_> {
    /// Brings back the connectors as soon as the cluster lets us.
    async fn router_in_time(&self, events: &Events) -> Result<(Router, Connectors), StartError> {
        loop {
            events.answers().await;
            match self.router(events).await {
                Err(
                    StartError::Connectors(OpenError::Read(ReadError::Unavailable { reason }))
                    | StartError::FirstStart(FirstStartError::User(UserError::Read(ReadError::Unavailable { reason }))),
                ) => {
                    tracing::warn!(reason, "the store cannot be read yet");
                    tokio::time::sleep(OPEN_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Brings back the connectors and builds the API over them.
    async fn router(&self, events: &Events) -> Result<(Router, Connectors), StartError> {
        let Self { config, asks, clock, address, is_tls, stop_asked, stopping } = self;
        let store = events.store();
        let users = if events.is_ours() { UserStreams::of_the_protocol() } else { UserStreams::below(USERS_REMOTE) };
        let rules = Rules { asks: *asks, anonymous_streams: config.anonymous_streams };
        let access = Access::new(store.clone(), users, clock.clone(), rules);
        if events.is_ours() || *asks {
            first_start::prepare(access.users(), config, *asks).await?;
        }
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let runtime = RuntimeConfig {
            node: identity::node_id(&config.data)?,
            stream_prefix: config.stream_prefix().to_owned(),
            lease: config.lease,
            stop_limit: config.shutdown_limit,
            connectors_max: config.connectors_max,
            secret_key: identity::secret_key(&config.secret_key, &config.data)?,
            cluster: cluster::runtime_config(config, *address),
        };
        let connectors =
            Connectors::open(store.clone(), forebay_sinks::catalog(), clock.clone(), metrics, runtime).await?;
        let (name, version) = (config.node.clone(), env!("CARGO_PKG_VERSION").to_owned());
        let api = Api {
            store,
            access,
            connectors: connectors.clone(),
            registry: Arc::new(registry),
            clock: clock.clone(),
            node: NodeFacts { name, version, started: clock.now() },
            is_local: address.ip().is_loopback(),
            trusted_hosts: TrustedHosts::new(config.trusted_hosts.clone()),
            is_tls: *is_tls,
            stop_asked: stop_asked.clone(),
            limits: append_limits(config),
            stopping: stopping.clone(),
        };
        Ok((forebay_api::router(api), connectors))
    }
}

/// Waits until the store has been away for so long without a break.
async fn away_for(store: &dyn EventStore, long: Duration) {
    let mut since = None;
    loop {
        let now = tokio::time::Instant::now();
        since = store.outage().and(since.or(Some(now)));
        if since.is_some_and(|since| now.duration_since(since) >= long) {
            return;
        }
        tokio::time::sleep(AWAY_LOOK).await;
    }
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

fn log_limits(config: &Config) -> LogLimits {
    let AppendLimits { append_size_max, event_size_max } = append_limits(config);
    LogLimits { append_size_max, event_size_max }
}
