//! Owns the handle on the leader: the session there is, waiting for one, and telling that one does not serve.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{Clock, Timestamp};
use forebay_store::Outage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connection, Reach};
use super::keeper::Keeper;
use super::server::ServerFacts;
use crate::failure::Failure;

/// So many calls at the same time: servers take a hundred on one connection.
const CALLS_MAX: usize = 90;
/// So many complaints are kept until they are looked at; more say the same.
const COMPLAINTS_MAX: usize = 16;
/// A call that finds the store away for long waits so long, in case it is just coming back.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// Why the leader is not to be had before the first attempt at reaching it.
pub(super) const NOT_YET: &str = "not connected yet";

/// A connection to the node that takes writes, as long as it lasts.
#[derive(Clone)]
pub(crate) struct Session {
    /// The connection.
    pub(crate) connection: Connection,
    /// What is known of the node.
    pub(crate) server: Arc<ServerFacts>,
    /// Counts sessions, so that a complaint about an old one is passed over.
    pub(super) number: u64,
}

/// Where the link stands.
#[derive(Clone)]
pub(super) enum Standing {
    Up(Session),
    Down(Absence),
}

/// The leader is not to be had.
#[derive(Clone)]
pub(super) struct Absence {
    pub(super) since: Timestamp,
    pub(super) at: Instant,
    pub(super) reason: Arc<str>,
}

/// A session did not serve a call.
pub(super) struct Complaint {
    pub(super) session: u64,
    pub(super) failure: Failure,
}

/// The link to the leader, kept by a task of its own. Dropping it ends the task.
pub(crate) struct LeaderLink {
    standing: watch::Receiver<Standing>,
    complaints: mpsc::Sender<Complaint>,
    calls: Arc<Semaphore>,
    deadline: Duration,
    _keeper: AbortOnDropHandle<()>,
}

impl LeaderLink {
    /// Begins to look for the leader; waits for nothing.
    pub(crate) fn open(reach: Reach, clock: Arc<dyn Clock>) -> Self {
        let absence = Absence { since: clock.now(), at: Instant::now(), reason: Arc::from(NOT_YET) };
        let deadline = reach.settings().deadline;
        let (told, standing) = watch::channel(Standing::Down(absence));
        let (complaints, heard) = mpsc::channel(COMPLAINTS_MAX);
        let keeper = Keeper::new(reach, clock, told, heard);
        let keeper = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        Self { standing, complaints, calls, deadline, _keeper: keeper }
    }

    /// A place among the calls, and the session to make it on. Waits out an absence shorter than the deadline.
    pub(crate) async fn session(&self) -> Result<(Session, OwnedSemaphorePermit), Failure> {
        let limit = self.patience();
        let both = async {
            let permit = Arc::clone(&self.calls).acquire_owned().await.ok()?;
            let mut standing = self.standing.clone();
            let session = match &*standing.wait_for(|standing| matches!(standing, Standing::Up(_))).await.ok()? {
                Standing::Up(session) => session.clone(),
                Standing::Down(_) => return None,
            };
            Some((session, permit))
        };
        match tokio::time::timeout(limit, both).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Failure::Unreachable { reason: "the link to the store is closed".to_owned() }),
            Err(_) => Err(self.absent(limit)),
        }
    }

    /// Waits for a session, however long it takes.
    pub(crate) async fn connected(&self) -> Option<Arc<ServerFacts>> {
        let mut standing = self.standing.clone();
        match &*standing.wait_for(|standing| matches!(standing, Standing::Up(_))).await.ok()? {
            Standing::Up(session) => Some(Arc::clone(&session.server)),
            Standing::Down(_) => None,
        }
    }

    /// What is known of the node that is connected to; none without a connection.
    pub(crate) fn server(&self) -> Option<Arc<ServerFacts>> {
        match &*self.standing.borrow() {
            Standing::Up(session) => Some(Arc::clone(&session.server)),
            Standing::Down(_) => None,
        }
    }

    /// Since when and why no leader is to be had; none when there is one.
    pub(crate) fn outage(&self) -> Option<Outage> {
        match &*self.standing.borrow() {
            Standing::Up(_) => None,
            Standing::Down(absence) => Some(Outage { since: absence.since, reason: absence.reason.to_string() }),
        }
    }

    /// Tells that a session did not serve a call, so that it is looked at.
    pub(crate) fn complain(&self, session: &Session, failure: &Failure) {
        if failure.may_pass() {
            // A full queue holds enough complaints already.
            drop(self.complaints.try_send(Complaint { session: session.number, failure: failure.clone() }));
        }
    }

    /// The same about the session there is, for whoever reached the node over a connection of his own.
    pub(crate) fn complain_of_leader(&self, failure: &Failure) {
        let session = match &*self.standing.borrow() {
            Standing::Up(session) => session.clone(),
            Standing::Down(_) => return,
        };
        self.complain(&session, failure);
    }

    /// How long a call waits for the leader: the deadline, counted from when it was last there.
    fn patience(&self) -> Duration {
        match &*self.standing.borrow() {
            Standing::Up(_) => self.deadline,
            Standing::Down(absence) => self.deadline.saturating_sub(absence.at.elapsed()).max(LAST_CHANCE),
        }
    }

    fn absent(&self, limit: Duration) -> Failure {
        match &*self.standing.borrow() {
            Standing::Up(_) => Failure::Late { limit },
            Standing::Down(absence) => {
                Failure::Unreachable { reason: format!("away since {}: {}", absence.since, absence.reason) }
            }
        }
    }
}
