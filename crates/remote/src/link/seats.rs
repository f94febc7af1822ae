//! Owns the connections that subscriptions share: so many readers on each, at the node that is preferred.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::connection::{Connection, Reach};
use super::discovery;
use super::leader::LeaderLink;
use crate::failure::Failure;
use crate::settings::{NodeAddress, NodePreference};

/// So many subscriptions on one connection: their windows together fit into the connection's.
const SEATS_MAX: usize = 64;

/// Where a subscription reads: its share of a connection, given back when dropped.
pub(crate) struct Seat {
    /// The connection.
    pub(crate) connection: Connection,
    _place: Arc<()>,
}

/// One connection and who sits on it.
struct Bench {
    node: NodeAddress,
    connection: Connection,
    /// One count more than there are subscriptions.
    places: Arc<()>,
}

impl Bench {
    fn taken(&self) -> usize {
        Arc::strong_count(&self.places) - 1
    }

    fn seat(&self) -> Seat {
        Seat { connection: self.connection.clone(), _place: Arc::clone(&self.places) }
    }
}

/// All connections for subscriptions.
pub(crate) struct Seats {
    reach: Reach,
    benches: Mutex<Vec<Bench>>,
}

impl Seats {
    /// None is open yet.
    pub(crate) fn new(reach: Reach) -> Self {
        Self { reach, benches: Mutex::default() }
    }

    /// Whether subscriptions read from the leader, and say so.
    pub(crate) fn wants_leader(&self) -> bool {
        self.reach.settings().node_preference == NodePreference::Leader
    }

    /// A place on an open connection, or on a new one, within a limit.
    pub(crate) async fn take(&self, leader: &LeaderLink, limit: Duration) -> Result<Seat, Failure> {
        tokio::time::timeout(limit, self.find(leader)).await.unwrap_or(Err(Failure::Late { limit }))
    }

    async fn find(&self, leader: &LeaderLink) -> Result<Seat, Failure> {
        let wanted = if self.wants_leader() { Some(leader.session().await?.0.server.node.clone()) } else { None };
        // Held while connecting: others would only open more than are needed.
        let mut benches = self.benches.lock().await;
        benches.retain(|bench| !bench.connection.has_ended() && bench.taken() > 0);
        let fits = |bench: &&Bench| bench.taken() < SEATS_MAX && wanted.as_ref().is_none_or(|node| *node == bench.node);
        if let Some(bench) = benches.iter().find(fits) {
            return Ok(bench.seat());
        }
        let node = match wanted {
            Some(node) => node,
            None => discovery::find(&self.reach, self.reach.settings().node_preference).await?,
        };
        let connection = self.reach.open(&node).await?;
        let bench = Bench { node, connection, places: Arc::new(()) };
        let seat = bench.seat();
        benches.push(bench);
        Ok(seat)
    }
}
