//! Owns where the events are: in the embedded log, or in a cluster; opening it, waiting for it, closing it.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::Clock;
use forebay_log::{EmbeddedLog, LogLimits, LogOptions};
use forebay_remote::RemoteStore;
use forebay_store::EventStore;

use crate::config::{Config, SecretKey};
use crate::identity;
use crate::wiring::StartError;

/// How often it is said that the store is still waited for.
const REMINDER: Duration = Duration::from_secs(30);

/// The store of this server, open.
pub(crate) enum Events {
    /// In the data directory.
    Embedded(EmbeddedLog),
    /// In a cluster; the data directory holds the node's own files, and is this process's alone.
    Remote { store: RemoteStore, _claim: File },
}

impl Events {
    /// Recovers the embedded log, or begins to connect to the cluster.
    pub(crate) fn open(config: &Config, limits: LogLimits, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let Some(cluster) = &config.store else {
            return open_log(config, limits, clock).map(Self::Embedded);
        };
        let claim = identity::claim(&config.data)?;
        if config.secret_key == SecretKey::InDataDirectory {
            tracing::warn!(
                "the key that secrets are sealed with lies in this node's data directory: other nodes on the same store \
                 cannot read secrets sealed here, unless secret_key or secret_key_file is the same on all of them"
            );
        }
        let may_be_read = cluster.credentials.is_some() && cluster.tls.is_none();
        if may_be_read && cluster.hosts.iter().any(|host| !is_this_machine(&host.host)) {
            tracing::warn!("the store's password is sent in clear text, as tls=false says");
        }
        Ok(Self::Remote { store: RemoteStore::connect(cluster.clone(), clock)?, _claim: claim })
    }

    /// The port to it.
    pub(crate) fn store(&self) -> Arc<dyn EventStore> {
        match self {
            Self::Embedded(log) => Arc::new(log.clone()),
            Self::Remote { store, .. } => Arc::new(store.clone()),
        }
    }

    /// Whether it is filled by us when it is fresh.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }

    /// Waits until it answers, however long that takes.
    pub(crate) async fn answers(&self) {
        let Self::Remote { store, .. } = self else { return };
        while tokio::time::timeout(REMINDER, store.connected()).await.is_err() {
            if let Some(away) = store.outage() {
                tracing::warn!(since = %away.since, reason = away.reason, "still waiting for the store");
            }
        }
    }

    /// Closes it. The last thing that a server does.
    pub(crate) async fn close(&self) {
        if let Self::Embedded(log) = self {
            log.close().await;
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn open_log(config: &Config, limits: LogLimits, clock: Arc<dyn Clock>) -> Result<EmbeddedLog, StartError> {
    let options = LogOptions { limits, ..LogOptions::new(&config.data, clock) };
    let (log, recovery) = tokio::task::block_in_place(|| EmbeddedLog::open(options))?;
    tracing::info!(data = %config.data.display(), "{recovery}");
    if recovery.cut_bytes > 0 {
        tracing::warn!(cut_bytes = recovery.cut_bytes, "a torn end was cut off; nothing in it was acknowledged");
    }
    Ok(log)
}
