//! Owns what is made of a server's messages: hand-outs within their bounds, checkpoints that rise, one notice of having
//! caught up; and the place behind which a new call goes on.

use std::collections::VecDeque;

use forebay_event::{Position, RecordedEvent};
use forebay_store::{EventFilter, Notice, PageLimit};

use super::feed::{Followed, Told};

/// How far a subscription is, and what is ready to be handed out.
pub(super) struct Progress {
    followed: Followed,
    limit: PageLimit,
    /// Matching events that are not yet in a hand-out.
    events: Vec<RecordedEvent>,
    size: usize,
    /// At most three: a checkpoint or the end of history comes with what stands before it.
    ready: VecDeque<Notice>,
    /// Events that did not match since the last checkpoint.
    unmatched: usize,
    /// The reader knows that everything up to here was examined.
    told: Option<Position>,
    /// Position of the last event seen.
    seen: Option<Position>,
    is_caught_up: bool,
    /// The call has said that its history is finished.
    is_live: bool,
}

impl Progress {
    /// Begins behind the place that is followed from.
    pub(super) fn new(followed: Followed, limit: PageLimit) -> Self {
        let told = match &followed {
            Followed::Log { behind, .. } => *behind,
            Followed::Stream { .. } => None,
        };
        let (events, ready) = (Vec::new(), VecDeque::new());
        let (size, unmatched, is_caught_up, is_live) = (0, 0, false, false);
        Self { followed, limit, events, size, ready, unmatched, told, seen: told, is_caught_up, is_live }
    }

    /// What a call is to be opened for now.
    pub(super) fn followed(&self) -> &Followed {
        &self.followed
    }

    /// The next hand-out, if one is ready.
    pub(super) fn pop(&mut self) -> Option<Notice> {
        self.ready.pop_front()
    }

    /// Whether more fits into the hand-out that is being gathered.
    pub(super) fn has_room(&self) -> bool {
        self.ready.is_empty()
    }

    /// A new call begins, with history.
    pub(super) fn reopened(&mut self) {
        self.is_live = false;
    }

    /// Takes in what the server says.
    pub(super) fn take(&mut self, told: Told) {
        match told {
            Told::Event(event) => self.take_event(event),
            Told::Checkpoint(position) => self.take_checkpoint(position),
            Told::CaughtUp => self.catch_up(),
            Told::FellBehind => (self.is_live, self.is_caught_up) = (false, false),
        }
    }

    /// Makes what was gathered ready.
    pub(super) fn seal(&mut self) {
        if !self.events.is_empty() {
            self.size = 0;
            self.ready.push_back(Notice::Events(std::mem::take(&mut self.events)));
        }
    }

    fn take_event(&mut self, event: RecordedEvent) {
        let position = event.position();
        let fits = match &mut self.followed {
            // Nothing is handed out twice, whatever a server sends after a new call.
            Followed::Log { behind, .. } if *behind >= Some(position) => return,
            Followed::Stream { behind, .. } if *behind >= Some(event.revision()) => return,
            Followed::Log { behind, filter, .. } => {
                *behind = Some(position);
                filter.matches(&event)
            }
            Followed::Stream { behind, .. } => {
                *behind = Some(event.revision());
                true
            }
        };
        if !self.is_live {
            // History after a notice of having caught up: a new call found more than the broken one had said.
            self.is_caught_up = false;
        }
        self.seen = Some(position);
        if !fits {
            self.unmatched += 1;
            self.checkpoint_if(self.is_due());
            return;
        }
        self.told = Some(position);
        self.size += event.size();
        self.events.push(event);
        if self.events.len() >= self.limit.events.max(1) || self.size >= self.limit.bytes {
            self.seal();
        }
    }

    fn take_checkpoint(&mut self, position: Position) {
        if let Followed::Log { behind, .. } = &mut self.followed {
            *behind = (*behind).max(Some(position));
            self.seen = *behind;
            self.checkpoint_if(true);
        }
    }

    fn catch_up(&mut self) {
        self.is_live = true;
        self.checkpoint_if(true);
        self.seal();
        if !self.is_caught_up {
            self.is_caught_up = true;
            self.ready.push_back(Notice::CaughtUp { position: self.seen });
        }
    }

    fn is_due(&self) -> bool {
        match &self.followed {
            Followed::Log { checkpoint_every, .. } => self.unmatched >= (*checkpoint_every).max(1),
            Followed::Stream { .. } => false,
        }
    }

    /// Makes a checkpoint ready, if one is due and says something new.
    fn checkpoint_if(&mut self, is_due: bool) {
        let Followed::Log { behind: Some(examined), filter, .. } = &self.followed else { return };
        let examined = *examined;
        if !is_due || matches!(filter, EventFilter::All) || Some(examined) <= self.told {
            return;
        }
        self.seal();
        self.told = Some(examined);
        self.unmatched = 0;
        self.ready.push_back(Notice::Checkpoint(examined));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::{ProposedEvent, Revision, StreamName, Timestamp};
    use forebay_store::{FilterSubject, Matcher};
    use uuid::Uuid;

    fn event(event_type: &str, number: u64) -> Told {
        let proposed = ProposedEvent::json(Uuid::from_u128(1), event_type, "{}");
        let (stream, time) = (StreamName::new("s").unwrap(), Timestamp::default());
        Told::Event(RecordedEvent::record(&proposed, &stream, Revision::new(number), Position::new(number), time))
    }

    fn log(filter: EventFilter, checkpoint_every: usize) -> Progress {
        let behind = Some(Position::new(10));
        Progress::new(Followed::Log { behind, filter, checkpoint_every }, PageLimit { events: 2, bytes: 1 << 20 })
    }

    fn only_a() -> EventFilter {
        EventFilter::Where(FilterSubject::EventType, Matcher::Prefixes(vec!["A".to_owned()]))
    }

    /// What is handed out, in short.
    fn handed_out(progress: &mut Progress, told: Vec<Told>) -> Vec<String> {
        told.into_iter().for_each(|told| progress.take(told));
        progress.seal();
        let short = |notice| match notice {
            Notice::Events(events) => {
                let positions: Vec<_> = events.iter().map(|event| event.position().to_string()).collect();
                format!("events {}", positions.join(" "))
            }
            Notice::Checkpoint(position) => format!("checkpoint {position}"),
            Notice::CaughtUp { position } => format!("caught up {}", position.unwrap()),
        };
        std::iter::from_fn(|| progress.pop()).map(short).collect()
    }

    #[test]
    fn hand_outs_keep_to_their_bound_and_repeat_nothing() {
        let mut progress = log(EventFilter::All, 1);
        let told = vec![event("A", 10), event("A", 11), event("B", 12), event("A", 13), Told::CaughtUp];
        assert_eq!(handed_out(&mut progress, told), ["events 11 12", "events 13", "caught up 13"]);
        progress.reopened();
        let again = vec![event("A", 12), event("A", 13), Told::CaughtUp, event("A", 14)];
        assert_eq!(handed_out(&mut progress, again), ["events 14"], "nothing was missed, so nothing is said again");
        progress.reopened();
        let more = vec![event("A", 15), Told::CaughtUp];
        assert_eq!(handed_out(&mut progress, more), ["events 15", "caught up 15"], "it had fallen behind");
    }

    #[test]
    fn checkpoints_rise_and_overtake_no_event() {
        let mut progress = log(only_a(), 100);
        let told = vec![
            Told::Checkpoint(Position::new(10)),
            event("A", 11),
            Told::Checkpoint(Position::new(11)),
            Told::Checkpoint(Position::new(14)),
            Told::Checkpoint(Position::new(12)),
            Told::CaughtUp,
        ];
        assert_eq!(handed_out(&mut progress, told), ["events 11", "checkpoint 14", "caught up 14"]);
        let Followed::Log { behind, .. } = progress.followed() else { panic!() };
        assert_eq!(*behind, Some(Position::new(14)), "a new call goes on behind the checkpoint");
    }

    #[test]
    fn a_filter_that_is_applied_here_has_checkpoints_of_its_own() {
        let mut progress = log(only_a(), 2);
        let told = vec![event("B", 11), event("B", 12), event("A", 13), event("B", 14), Told::CaughtUp];
        let expected = ["checkpoint 12", "events 13", "checkpoint 14", "caught up 14"];
        assert_eq!(handed_out(&mut progress, told), expected);
    }
}
