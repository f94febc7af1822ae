//! Owns subscriptions: confirmation, history, caught up, live; and the checkpoints of a filtered one.
//!
//! The filter is applied here and not in the store, because checkpoints count every event examined, whether it matches
//! or not, and only who sees them all can count them.

use std::vec;

use forebay_access::{Guard, GuardedSubscription};
use forebay_event::{Position, RecordedEvent, Revision, StreamName};
use forebay_store::{
    Direction, EventFilter, LogPoint, Notice, PageLimit, ReadStream, StreamPoint, SubscribeAll, SubscribeStream,
};
use forebay_wire::event_store::client::streams::ReadResp;
use tonic::Status;

use super::filter::FilterRequest;
use super::names::IdForm;
use super::recorded;
use super::request::{ReadRequest, Target};
use super::service::{CallBounds, HAND_OUT};
use crate::status::grpc::{of_read, of_refused, of_subscription};
use crate::streams::links;

/// What is followed.
enum Followed {
    /// A stream, and its last revision as far as it was seen.
    Stream { stream: StreamName, seen: Option<Revision> },
    /// The log, through a filter if there is one.
    All { examiner: Option<Examiner> },
}

/// A subscription on its way to one client. It reads the next hand-out only when the last one has left.
pub(super) struct Follower {
    bounds: CallBounds,
    subscription: GuardedSubscription,
    followed: Followed,
    form: IdForm,
    resolve_links: bool,
    is_confirmed: bool,
    events: vec::IntoIter<RecordedEvent>,
    /// History ended here; to be told once all events before it have left.
    caught_up: Option<Option<Position>>,
    ended: bool,
}

impl Follower {
    /// Opens the subscription, so that a refusal is an answer of its own.
    pub(super) async fn begin(bounds: CallBounds, request: ReadRequest) -> Result<Box<Self>, Status> {
        let ReadRequest { target, form, resolve_links, .. } = request;
        let store = bounds.store();
        let (subscription, followed) = match target {
            Target::Stream { stream, from } => {
                let seen = if let StreamPoint::At(revision) = from { Some(revision) } else { None };
                let subscribe = SubscribeStream { stream: stream.clone(), from, limit: HAND_OUT };
                (store.subscribe_stream(subscribe).await, Followed::Stream { stream, seen })
            }
            Target::All { from, filter } => {
                (store.subscribe_all(whole_log(from)).await, Followed::All { examiner: filter.map(Examiner::new) })
            }
        };
        let subscription = subscription.map_err(|refused| of_refused(refused, of_subscription))?;
        let events = Vec::new().into_iter();
        let (is_confirmed, caught_up, ended) = (false, None, false);
        let follower =
            Self { bounds, subscription, followed, form, resolve_links, is_confirmed, events, caught_up, ended };
        Ok(Box::new(follower))
    }

    /// The next message; none only after an error has ended the subscription.
    pub(super) async fn next(mut self: Box<Self>) -> Option<(Result<ReadResp, Status>, Box<Self>)> {
        if self.ended {
            return None;
        }
        if !self.is_confirmed {
            self.is_confirmed = true;
            return Some((Ok(recorded::confirmation()), self));
        }
        let message = loop {
            match self.ready().await {
                Ok(Some(message)) => break Ok(message),
                Ok(None) => {}
                Err(status) => break Err(status),
            }
            if let Err(status) = self.turn().await {
                break Err(status);
            }
        };
        self.ended = message.is_err();
        Some((message, self))
    }

    /// What can be said without waiting for the store to have more.
    async fn ready(&mut self) -> Result<Option<ReadResp>, Status> {
        loop {
            if let Some(position) = self.due_checkpoint() {
                return Ok(Some(recorded::checkpoint(position, self.bounds.now())));
            }
            if let Some(event) = self.events.next() {
                if self.passes(&event) {
                    return self.message(&event).await.map(Some);
                }
            } else if let Some(position) = self.caught_up.take() {
                return self.told_caught_up(position).await.map(Some);
            } else {
                return Ok(None);
            }
        }
    }

    fn due_checkpoint(&mut self) -> Option<Position> {
        match &mut self.followed {
            Followed::All { examiner: Some(examiner) } => examiner.due.take(),
            Followed::All { examiner: None } | Followed::Stream { .. } => None,
        }
    }

    fn passes(&mut self, event: &RecordedEvent) -> bool {
        match &mut self.followed {
            Followed::Stream { seen, .. } => {
                *seen = Some(event.revision());
                true
            }
            Followed::All { examiner } => examiner.as_mut().is_none_or(|examiner| examiner.examine(event)),
        }
    }

    async fn message(&mut self, event: &RecordedEvent) -> Result<ReadResp, Status> {
        if !self.resolve_links || !links::is_link(event) {
            return Ok(recorded::event(event, self.form));
        }
        let target = links::target(self.bounds.store(), event).await.map_err(|refused| of_refused(refused, of_read))?;
        Ok(recorded::resolved(event, target.as_ref(), self.form))
    }

    async fn told_caught_up(&mut self, position: Option<Position>) -> Result<ReadResp, Status> {
        let now = self.bounds.now();
        match &self.followed {
            Followed::All { .. } => Ok(recorded::caught_up(None, position, now)),
            Followed::Stream { seen: Some(revision), .. } => Ok(recorded::caught_up(Some(*revision), None, now)),
            Followed::Stream { stream, seen: None } => {
                let revision = last_revision(self.bounds.store(), stream).await;
                Ok(recorded::caught_up(revision, None, now))
            }
        }
    }

    /// Waits for the next hand-out.
    async fn turn(&mut self) -> Result<(), Status> {
        let bounds = self.bounds.clone();
        let notice = tokio::select! {
            biased;
            status = bounds.passed() => return Err(status),
            notice = self.subscription.next() => notice.map_err(|refused| of_refused(refused, of_subscription))?,
        };
        match notice {
            Notice::Events(events) => self.events = events.into_iter(),
            // The store is asked for all events, and examines none for us.
            Notice::Checkpoint(_) => {}
            Notice::CaughtUp { position } => {
                if let Followed::All { examiner: Some(examiner) } = &mut self.followed {
                    examiner.catch_up();
                }
                self.caught_up = Some(position);
            }
        }
        Ok(())
    }
}

fn whole_log(from: LogPoint) -> SubscribeAll {
    SubscribeAll { from, filter: EventFilter::All, limit: HAND_OUT, checkpoint_every: usize::MAX }
}

/// The last revision of a stream of which nothing was handed out; none when it has no readable events.
async fn last_revision(store: &Guard, stream: &StreamName) -> Option<Revision> {
    let (direction, from, limit) = (Direction::Backward, StreamPoint::End, PageLimit::events(1));
    let page = store.read_stream(ReadStream { stream: stream.clone(), direction, from, limit }).await;
    page.ok().map(|page| page.last_revision)
}

/// A filter, and how far it has come: says when a checkpoint is due.
struct Examiner {
    filter: EventFilter,
    checkpoint_every: u64,
    /// Events examined since the last checkpoint.
    examined: u64,
    /// Everything up to here was examined.
    position: Option<Position>,
    /// The client was told of everything up to here.
    told: Option<Position>,
    /// To be told before anything else.
    due: Option<Position>,
}

impl Examiner {
    fn new(request: FilterRequest) -> Self {
        let FilterRequest { filter, checkpoint_every } = request;
        Self { filter, checkpoint_every, examined: 0, position: None, told: None, due: None }
    }

    /// Looks at an event; answers whether it passes. A checkpoint that falls due is told behind it.
    fn examine(&mut self, event: &RecordedEvent) -> bool {
        self.examined += 1;
        self.position = Some(event.position());
        if self.examined >= self.checkpoint_every {
            self.tell();
        }
        self.filter.matches(event)
    }

    /// History is finished: whatever was examined is told.
    fn catch_up(&mut self) {
        if self.position > self.told {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.examined = 0;
        self.told = self.position;
        self.due = self.position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_event::{ProposedEvent, Timestamp};
    use forebay_store::{FilterSubject, Matcher};
    use uuid::Uuid;

    fn examiner(checkpoint_every: u64) -> Examiner {
        let matcher = Matcher::Prefixes(vec!["A".to_owned()]);
        Examiner::new(FilterRequest { filter: EventFilter::Where(FilterSubject::EventType, matcher), checkpoint_every })
    }

    fn event(event_type: &str, position: u64) -> RecordedEvent {
        let proposed = ProposedEvent::json(Uuid::from_u128(1), event_type, "{}");
        let stream = StreamName::new("s").unwrap();
        RecordedEvent::record(&proposed, &stream, Revision::FIRST, Position::new(position), Timestamp::default())
    }

    /// What a client is told: event and checkpoint positions, in order.
    fn told(examiner: &mut Examiner, types: &[&str]) -> Vec<String> {
        let mut told = Vec::new();
        for (index, event_type) in (1..).zip(types) {
            if examiner.examine(&event(event_type, index)) {
                told.push(format!("event {index}"));
            }
            told.extend(examiner.due.take().map(|position| format!("checkpoint {position}")));
        }
        examiner.catch_up();
        told.extend(examiner.due.take().map(|position| format!("checkpoint {position}")));
        told
    }

    #[test]
    fn with_an_interval_of_one_every_event_examined_has_a_checkpoint_behind_it() {
        let told = told(&mut examiner(1), &["A", "B", "A"]);
        assert_eq!(told, ["event 1", "checkpoint 1", "checkpoint 2", "event 3", "checkpoint 3"]);
    }

    #[test]
    fn matching_events_count_as_well_and_the_rest_is_told_when_caught_up() {
        assert_eq!(told(&mut examiner(3), &["B", "A", "B", "B"]), ["event 2", "checkpoint 3", "checkpoint 4"]);
        assert_eq!(told(&mut examiner(100), &["B", "B"]), ["checkpoint 2"]);
        assert!(told(&mut examiner(100), &[]).is_empty());
    }
}
