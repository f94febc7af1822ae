//! Owns where a lane stands: the row that moves in the same transaction as the data, and who may move it.
//!
//! ```text
//!            claim: epoch, session           commit: data, position, token
//!   row ────────────┬──────────────────────────────┬─────────────────────▶
//!                   │ an earlier owner can write    │ known to have happened if the row
//!                   │ nothing from here on          │ bears the token, whatever was answered
//! ```
//!
//! A claim writes its epoch and a session of its own into the row; a commit moves the position only where both are still
//! there. So the transaction of an earlier owner, or one that was left behind on a broken connection, cannot commit.

use std::collections::HashSet;

use forebay_connector::{Epoch, Failure, FailureClass};
use forebay_event::Position;
use uuid::Uuid;

use super::delivery::Item;
use super::modes::create;
use super::names::TableName;

/// The name of the positions table unless set otherwise.
pub(crate) fn positions_table() -> String {
    "forebay_positions".to_owned()
}

/// What makes the positions table.
pub(super) fn creates(positions: &TableName) -> Vec<String> {
    let columns = "connector text NOT NULL, lane bigint NOT NULL, epoch bigint NOT NULL, session text NOT NULL, \
                   token text NOT NULL, position bigint, prepare bigint, PRIMARY KEY (connector, lane)";
    create(positions, columns)
}

/// A lane's row as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// Who claimed it last.
    pub(crate) epoch: u64,
    /// The claim.
    pub(crate) session: String,
    /// The last commit.
    pub(crate) token: String,
    /// Where the lane stands.
    pub(crate) position: Option<Position>,
}

/// The right to write, as the row shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Under which epoch.
    pub(crate) epoch: Epoch,
    /// Which claim.
    pub(crate) session: String,
}

/// A commit whose outcome is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// What the row bears if it happened.
    pub(crate) token: String,
    /// Where the lane stands if it happened; none when it stays where it is, as records that were parked do not move it.
    pub(crate) standing: Option<Position>,
    /// What is delivered if it happened.
    pub(crate) positions: Vec<Position>,
}

/// What one sink knows of its lane. It lives as long as the sink, across connections.
#[derive(Debug)]
pub(crate) struct Progress {
    owner: Uuid,
    sessions: u64,
    commits: u64,
    /// What was answered when the runtime asked.
    asked: Option<Option<Position>>,
    /// Where the lane stood when it was claimed first.
    claimed: Option<Option<Position>>,
    /// Where it stands after the last commit of this sink.
    standing: Option<Position>,
    doubt: Option<Doubt>,
    /// Delivered by commits that were in doubt, until the runtime hears of it: an attempt that finds out may itself fail.
    known: HashSet<Position>,
    /// Numbers of parked records that the runtime has heard of: it notes them before it sends the next.
    heard: Vec<u64>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            owner: Uuid::new_v4(),
            sessions: 0,
            commits: 0,
            asked: None,
            claimed: None,
            standing: None,
            doubt: None,
            known: HashSet::new(),
            heard: Vec::new(),
        }
    }

    /// Notes what is answered to the runtime.
    pub(crate) fn answer(&mut self, standing: Option<Position>) {
        self.asked = Some(standing);
    }

    /// Looks at the row that is about to be claimed, under its lock: settles what was in doubt, or refuses.
    pub(crate) fn claim(&mut self, row: &Row, epoch: Epoch) -> Result<Claim, Failure> {
        if row.epoch > epoch.0 {
            return Err(fenced(epoch, Some(row)));
        }
        let owner = self.owner.to_string();
        if self.claimed.is_some() && row.epoch == epoch.0 && !row.session.starts_with(&owner) {
            return Err(fenced(epoch, Some(row)));
        }
        if let Some(doubt) = self.doubt.take()
            && doubt.token == row.token
        {
            self.standing = doubt.standing.or(self.standing);
            self.known.extend(doubt.positions);
        }
        self.claimed.get_or_insert(row.position);
        self.sessions += 1;
        Ok(Claim { epoch, session: format!("{owner}/{}", self.sessions) })
    }

    /// Whether a record is delivered already: by a commit that was in doubt, or by an earlier owner between the answer
    /// to the runtime and the claim. A sink that was never asked counts everything up to the claim. The position says
    /// nothing of a record that was parked.
    pub(crate) fn is_delivered(&self, item: &Item) -> bool {
        let position = item.position;
        let by_earlier = item.parked.is_none()
            && self.claimed.flatten().is_some_and(|claimed| position <= claimed)
            && self.asked.flatten().is_none_or(|asked| position > asked);
        by_earlier || self.known.contains(&position)
    }

    /// Takes in what the rows of parked records say: these are written.
    pub(crate) fn found(&mut self, positions: impl Iterator<Item = Position>) {
        self.known.extend(positions);
    }

    /// Notes what the runtime has heard of.
    pub(crate) fn answered<'a>(&mut self, items: impl Iterator<Item = &'a Item>) {
        for item in items {
            self.known.remove(&item.position);
            self.heard.extend(item.parked);
        }
    }

    /// Numbers of parked records whose rows are of no use any more.
    pub(crate) fn heard(&self) -> &[u64] {
        &self.heard
    }

    /// What a commit of these records would make of the row; in doubt from now on.
    ///
    /// The first commit of a sink sets the position even if that is back: then the runtime was told to begin earlier.
    /// After it, only forward. Records that were parked do not move it.
    pub(crate) fn begin(&mut self, positions: Vec<Position>, are_parked: bool) -> Doubt {
        let last = positions.iter().max().copied().unwrap_or_default();
        self.commits += 1;
        let standing = self.standing.map_or(last, |standing| standing.max(last));
        let standing = (!are_parked).then_some(standing);
        Doubt { token: format!("{}/{}", self.owner, self.commits), standing, positions }
    }

    /// Whether it is not known if the last commit has happened.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// From here on the commit may have happened.
    pub(crate) fn doubt(&mut self, doubt: Doubt) {
        self.doubt = Some(doubt);
    }

    /// The commit has happened.
    pub(crate) fn confirm(&mut self) {
        if let Some(doubt) = self.doubt.take() {
            match doubt.standing {
                Some(_) => self.standing = doubt.standing,
                None => self.heard.clear(),
            }
        }
    }

    /// The commit has not happened.
    pub(crate) fn refute(&mut self) {
        self.doubt = None;
    }
}

/// The failure of an owner that is no longer one.
pub(crate) fn fenced(epoch: Epoch, row: Option<&Row>) -> Failure {
    let reason = match row {
        Some(row) if row.epoch > epoch.0 => format!(
            "a newer owner has taken over this lane: epoch {} is in the positions table, ours is {epoch}; nothing was \
             written (if the event store was replaced, delete this connector's rows there)",
            row.epoch
        ),
        _ => format!("a newer owner has taken over this lane: the claim of epoch {epoch} is gone; nothing was written"),
    };
    Failure::stop(FailureClass::Fenced, reason)
}
