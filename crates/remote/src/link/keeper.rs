//! Owns keeping the link: finding the leader, watching over the session, finding it again, with pauses that grow.
//!
//! ```text
//!  down ─▶ find a node ─▶ connect ─▶ ask what it can do ─▶ up ─▶ ended, or complained about and found wanting ─▶ down
//! ```

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::Clock;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::connection::Reach;
use super::leader::{Absence, Complaint, NOT_YET, Session, Standing};
use super::{discovery, server};
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::settings::{NodeAddress, NodePreference};

/// A session that lasted so long was a good one: the next search begins at once.
const GOOD_SESSION_MIN: Duration = Duration::from_secs(10);
/// So often in a row a node may send us to another one before we pause.
const REDIRECTS_MAX: u32 = 3;
/// Complaints within so long of a good answer are passed over.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The task that keeps the link.
pub(super) struct Keeper {
    reach: Reach,
    clock: Arc<dyn Clock>,
    told: watch::Sender<Standing>,
    heard: mpsc::Receiver<Complaint>,
    sessions: u64,
}

/// Why a session was given up, and where to go next if that is known.
struct Broken {
    reason: String,
    leader: Option<NodeAddress>,
}

impl Keeper {
    pub(super) fn new(
        reach: Reach,
        clock: Arc<dyn Clock>,
        told: watch::Sender<Standing>,
        heard: mpsc::Receiver<Complaint>,
    ) -> Self {
        Self { reach, clock, told, heard, sessions: 0 }
    }

    /// Keeps the link until it is dropped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut leader: Option<NodeAddress> = None;
        let mut redirects = 0;
        loop {
            match self.establish(leader.take()).await {
                Ok(session) => {
                    self.up(&session);
                    let began = Instant::now();
                    let broken = self.watch_over(&session).await;
                    self.down(&broken.reason);
                    leader = broken.leader;
                    let was_good = began.elapsed() >= GOOD_SESSION_MIN;
                    if was_good {
                        (backoff, redirects) = (Backoff::new(), 0);
                    }
                    redirects += u32::from(leader.is_some());
                    if was_good || (leader.is_some() && redirects <= REDIRECTS_MAX) {
                        continue;
                    }
                }
                Err(failure) => self.down(&failure.reason()),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn establish(&mut self, leader: Option<NodeAddress>) -> Result<Session, Failure> {
        let node = match leader {
            Some(leader) => leader,
            None => discovery::find(&self.reach, NodePreference::Leader).await?,
        };
        let connection = self.reach.open(&node).await?;
        let server = server::ask(&connection, &node, self.reach.settings().gossip_timeout).await?;
        self.sessions += 1;
        Ok(Session { connection, server: Arc::new(server), number: self.sessions })
    }

    /// Waits until the session has ended or does not serve any more.
    async fn watch_over(&mut self, session: &Session) -> Broken {
        let mut looked = None;
        loop {
            let complaint = tokio::select! {
                () = session.connection.ended() => {
                    let reason = format!("the connection to {} ended", session.server.node);
                    return Broken { reason, leader: None };
                }
                Some(complaint) = self.heard.recv() => complaint,
            };
            let is_old = complaint.session != session.number;
            let was_just_good = looked.is_some_and(|looked: Instant| looked.elapsed() < LOOK_PAUSE);
            if is_old || (was_just_good && !matches!(complaint.failure, Failure::NotLeader { .. })) {
                continue;
            }
            match self.look(session, complaint.failure).await {
                ControlFlow::Break(broken) => return broken,
                ControlFlow::Continue(()) => looked = Some(Instant::now()),
            }
        }
    }

    /// Looks whether a session that was complained about is still the right one.
    async fn look(&self, session: &Session, failure: Failure) -> ControlFlow<Broken> {
        let reason = failure.reason();
        if let Failure::NotLeader { leader } = failure {
            return ControlFlow::Break(Broken { reason, leader });
        }
        let settings = self.reach.settings();
        let node = &session.server.node;
        if let Err(silence) = server::ask(&session.connection, node, settings.gossip_timeout).await {
            return ControlFlow::Break(Broken { reason: silence.reason(), leader: None });
        }
        // The node answers, but in a cluster another one may lead by now.
        if settings.asks_members()
            && let Ok(found) = discovery::find(&self.reach, NodePreference::Leader).await
            && found != *node
        {
            return ControlFlow::Break(Broken { reason, leader: Some(found) });
        }
        ControlFlow::Continue(())
    }

    fn up(&self, session: &Session) {
        let version = session.server.version.as_deref().unwrap_or("unknown");
        tracing::info!(node = %session.server.node, version, "connected to the store");
        self.told.send_replace(Standing::Up(session.clone()));
    }

    fn down(&self, reason: &str) {
        let (absence, is_news) = match &*self.told.borrow() {
            // The same absence goes on; its reason may have changed.
            Standing::Down(absence) => {
                let is_news = *absence.reason == *NOT_YET;
                (Absence { reason: Arc::from(reason), ..absence.clone() }, is_news)
            }
            Standing::Up(_) => {
                (Absence { since: self.clock.now(), at: Instant::now(), reason: Arc::from(reason) }, true)
            }
        };
        // Said once: attempts follow each other, and what they meet varies.
        if is_news {
            tracing::warn!(reason, "the store is not to be reached");
        } else {
            tracing::debug!(reason, since = %absence.since, "the store is still not to be reached");
        }
        self.told.send_replace(Standing::Down(absence));
    }
}
