//! Owns which other nodes live, as far as this node can tell: by how long ago, on its own monotonic clock, it last heard
//! something new of each.
//!
//! ```text
//! heard ──▶ live ── half of its duration silent ──▶ suspect ── all of it ──▶ forgotten
//! ```
//!
//! A node that hears nothing at all, not even itself, is blind: it judges nobody until it hears again, and then gives
//! everybody a new start.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forebay_event::{Position, Revision};
use tracing::{info, warn};
use uuid::Uuid;

use super::announce::{Announcement, NodeState};

/// The most other nodes that are known at once.
const MEMBERS_MAX: usize = 256;

/// So many of the last announcements are remembered by their place in the log.
const PLACES_MAX: usize = 32;

/// Another node.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) said: Announcement,
    /// The revision of the first announcement of this life: who is older.
    pub(crate) since: Revision,
    /// When something new of it was last heard.
    heard: Duration,
}

/// All other nodes that are not known to be gone, and where the stream was read to.
#[derive(Debug, Default)]
pub(crate) struct Members {
    others: BTreeMap<Uuid, Member>,
    /// Where this node's present life began in the stream, once it was heard.
    pub(crate) own_since: Option<Revision>,
    /// The last announcement that was taken in.
    pub(crate) read_to: Option<Revision>,
    /// When anything was last heard.
    contact: Duration,
    /// Where the last announcements stand in the log, and when they were heard: what stands before one was there by then.
    places: VecDeque<(Position, Duration)>,
    /// After so long without hearing anything this node is blind.
    blind_after: Duration,
}

impl Member {
    /// It is silent for longer than it should be.
    pub(crate) fn is_suspect(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) >= self.said.duration / 2
    }

    /// How long nothing new was heard.
    pub(crate) fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard)
    }
}

impl Members {
    /// Knows nobody yet.
    pub(crate) fn new(blind_after: Duration, now: Duration) -> Self {
        Self { contact: now, blind_after, ..Self::default() }
    }

    /// Something was heard.
    pub(crate) fn in_contact(&mut self, now: Duration) {
        if self.is_blind(now) {
            for member in self.others.values_mut() {
                member.heard = now;
            }
            // A store that was away may have gone back to an earlier state, where places mean something else.
            self.places.clear();
        }
        self.contact = now;
    }

    /// An announcement of whomever was heard, which stands there in the log.
    pub(crate) fn heard_at(&mut self, place: Position, now: Duration) {
        if self.places.back().is_some_and(|(last, _)| *last >= place) {
            self.places.clear();
        }
        if self.places.len() >= PLACES_MAX {
            self.places.pop_front();
        }
        self.places.push_back((place, now));
    }

    /// By when, at the latest, something was in the log that stands there, as far as announcements tell: the first one
    /// behind it was heard then.
    pub(crate) fn was_there_by(&self, place: Position) -> Option<Duration> {
        self.places.iter().find(|(behind, _)| *behind > place).map(|(_, heard)| *heard)
    }

    /// Nothing was heard for so long that silence says nothing about the others.
    pub(crate) fn is_blind(&self, now: Duration) -> bool {
        now.saturating_sub(self.contact) >= self.blind_after
    }

    /// Takes in what another node says.
    pub(crate) fn take_in(&mut self, revision: Revision, said: Announcement, now: Duration) {
        let since = said.since.unwrap_or(revision);
        if said.state == NodeState::Left {
            if self.others.remove(&said.node).is_some() {
                info!(node = %said.node, name = said.name, "a node has left");
            }
            return;
        }
        if !self.others.contains_key(&said.node) {
            if self.others.len() >= MEMBERS_MAX {
                warn!(node = %said.node, limit = MEMBERS_MAX, "there are too many nodes; one is not taken in");
                return;
            }
            info!(node = %said.node, name = said.name, "heard of a node");
        }
        self.others.insert(said.node, Member { said, since, heard: now });
    }

    /// Forgets those that were silent for too long.
    pub(crate) fn forget_silent(&mut self, now: Duration) {
        if self.is_blind(now) {
            return;
        }
        self.others.retain(|node, member| {
            let silent_for = member.silent_for(now);
            let lives = silent_for < member.said.duration;
            if !lives {
                warn!(%node, name = member.said.name, silent_ms = silent_for.as_millis(), "a node is silent; its connectors are free");
            }
            lives
        });
    }

    /// The other nodes that live.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Member> {
        self.others.values()
    }

    /// How long from now until somebody's silence means more.
    pub(crate) fn next_change(&self, now: Duration) -> Option<Duration> {
        let ends = self
            .others
            .values()
            .flat_map(|member| [member.said.duration / 2, member.said.duration].map(|age| member.heard + age));
        ends.filter(|end| *end > now).map(|end| end - now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Uuid = Uuid::from_u128(9);

    fn said(state: NodeState) -> Announcement {
        Announcement {
            node: NODE,
            name: String::new(),
            address: None,
            labels: BTreeMap::new(),
            started: None,
            duration: Duration::from_secs(10),
            since: None,
            state,
            claims: BTreeMap::new(),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_silent_node_is_suspect_and_then_forgotten() {
        let mut members = Members::new(at(5), at(0));
        members.take_in(Revision::new(4), said(NodeState::Active), at(1));
        for second in 2..11 {
            members.in_contact(at(second));
            members.forget_silent(at(second));
            let member = members.others().next().unwrap();
            assert_eq!(member.is_suspect(at(second)), second >= 6);
        }
        assert_eq!(members.next_change(at(7)), Some(at(4)));
        members.forget_silent(at(11));
        assert_eq!(members.others().count(), 0);
    }

    #[test]
    fn who_hears_nothing_judges_nobody() {
        let mut members = Members::new(at(5), at(0));
        members.take_in(Revision::new(4), said(NodeState::Active), at(1));
        members.forget_silent(at(600));
        assert_eq!(members.others().count(), 1);
        members.in_contact(at(600));
        members.forget_silent(at(601));
        assert_eq!(members.others().count(), 1, "it has a new start");
    }

    #[test]
    fn who_says_that_it_left_is_gone_at_once() {
        let mut members = Members::new(at(5), at(0));
        members.take_in(Revision::new(4), said(NodeState::Active), at(1));
        members.take_in(Revision::new(5), said(NodeState::Left), at(1));
        assert_eq!(members.others().count(), 0);
    }

    #[test]
    fn what_stands_before_an_announcement_was_there_when_that_was_heard() {
        let mut members = Members::new(at(5), at(0));
        for number in 1..40 {
            members.in_contact(at(number));
            members.heard_at(Position::new(number * 10), at(number));
        }
        assert_eq!(members.was_there_by(Position::new(385)), Some(at(39)));
        assert_eq!(members.was_there_by(Position::new(379)), Some(at(38)));
        assert_eq!(members.was_there_by(Position::new(380)), Some(at(39)));
        assert_eq!(members.was_there_by(Position::new(390)), None, "nothing stands behind it yet");
        assert_eq!(members.was_there_by(Position::new(1)), Some(at(8)), "only so many are remembered");
        members.heard_at(Position::new(5), at(40));
        assert_eq!(members.was_there_by(Position::new(379)), None, "the log went back");
        members.in_contact(at(600));
        assert_eq!(members.was_there_by(Position::new(1)), None, "it was away");
    }
}
