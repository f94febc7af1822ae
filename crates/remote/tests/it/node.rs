//! Owns a server of our own that a test starts, stops and starts again at the same address, under a clock of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::{Clock, ManualClock, SystemClock, Timestamp};
use forebay_remote::{RemoteSettings, RemoteStore};
use forebay_server::{Config, RunningServer, start_with_clock};
use tempfile::TempDir;

/// Long enough for a machine under load, and short enough to fail a test in time.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A server, and what it leaves behind when it stops.
pub(crate) struct Node {
    data: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) address: SocketAddr,
    running: Option<RunningServer>,
}

impl Node {
    /// Starts one over an empty directory.
    pub(crate) async fn start() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap()));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut node = Self { data: tempfile::tempdir().unwrap(), clock, address, running: None };
        node.resume().await;
        node
    }

    /// Starts it again, where it was, over what it has.
    pub(crate) async fn resume(&mut self) {
        let data = self.data.path().to_owned();
        let config = Config { listen: self.address, data, ..Config::default() };
        let running = start_with_clock(config, self.clock.clone()).await.unwrap();
        self.address = running.address();
        self.running = Some(running);
    }

    /// Stops it.
    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// A store over it.
    pub(crate) fn store(&self) -> RemoteStore {
        store_at(self.address)
    }
}

/// A store over whoever listens there.
pub(crate) fn store_at(address: SocketAddr) -> RemoteStore {
    let settings: RemoteSettings = format!("esdb://{address}?tls=false").parse().unwrap();
    RemoteStore::connect(settings, clock()).unwrap()
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// The same, with a deadline of half a second.
pub(crate) fn impatient_store_at(address: SocketAddr) -> RemoteStore {
    let settings: RemoteSettings = format!("esdb://{address}?tls=false&defaultDeadline=500").parse().unwrap();
    RemoteStore::connect(settings, clock()).unwrap()
}
