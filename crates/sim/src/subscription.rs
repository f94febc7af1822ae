//! Owns the simulated subscriptions, to the log and to a stream: history, then live, in hand-outs of any size.

use async_trait::async_trait;
use forebay_event::{Position, RecordedEvent, StreamName};
use forebay_store::{
    Direction, Notice, ReadError, ReadStream, StreamPoint, SubscribeAll, SubscribeError, SubscribeStream, Subscription,
};

use crate::link::Link;

/// A subscription of one life of a node.
pub(crate) struct LogSubscription {
    link: Link,
    subscribe: SubscribeAll,
    generation: u64,
    /// The index of the next event to look at.
    next: usize,
    /// Up to which index it was told.
    told: usize,
    has_caught_up: bool,
}

impl LogSubscription {
    pub(crate) fn open(link: Link, subscribe: SubscribeAll, generation: u64) -> Result<Self, SubscribeError> {
        let next = link.world.store.index_behind(subscribe.from).map_err(|end| match subscribe.from {
            forebay_store::LogPoint::At(from) => SubscribeError::BehindEnd { from, end },
            _ => SubscribeError::Closed,
        })?;
        Ok(Self { link, subscribe, generation, next, told: next, has_caught_up: false })
    }

    /// The next notice, if there is one now.
    fn look(&mut self) -> Option<Notice> {
        let store = &self.link.world.store;
        let most = self.link.node.chance.size(1, self.subscribe.limit.events.min(40));
        let (page, next): (Vec<RecordedEvent>, _) = store.log_from(self.next, most, &self.subscribe.filter);
        self.next = next;
        if !page.is_empty() {
            self.told = next;
            return Some(Notice::Events(page));
        }
        let position = store.position_before(next);
        if !self.subscribe.filter.is_all()
            && self.told < next
            && let Some(position) = position
        {
            self.told = next;
            return Some(Notice::Checkpoint(position));
        }
        if !self.has_caught_up {
            self.has_caught_up = true;
            return Some(Notice::CaughtUp { position });
        }
        None
    }
}

#[async_trait]
impl Subscription for LogSubscription {
    async fn next(&mut self) -> Result<Notice, SubscribeError> {
        loop {
            let world = std::sync::Arc::clone(&self.link.world);
            let changed = world.store.changed();
            if world.store.generation() != Some(self.generation) {
                return Err(ReadError::Unavailable { reason: "the simulated store went down".to_owned() }.into());
            }
            let before = (self.next, self.told, self.has_caught_up);
            if let Some(notice) = self.look() {
                let after = (self.next, self.told, self.has_caught_up);
                // Cancelled while it is on its way, it is handed out by the next call.
                (self.next, self.told, self.has_caught_up) = before;
                let notice = self.link.hand_out(notice).await?;
                (self.next, self.told, self.has_caught_up) = after;
                return Ok(notice);
            }
            changed.await;
        }
    }
}

/// A subscription of one life of a node to one stream, which need not be there yet.
pub(crate) struct StreamSubscription {
    link: Link,
    subscribe: SubscribeStream,
    generation: u64,
    /// The position of the last event that was handed out.
    seen: Option<Position>,
    has_caught_up: bool,
}

impl StreamSubscription {
    pub(crate) fn open(link: Link, mut subscribe: SubscribeStream, generation: u64) -> Self {
        if subscribe.from == StreamPoint::End
            && let Ok(Some(last)) = link.world.store.last_of(&subscribe.stream)
        {
            subscribe.from = StreamPoint::At(last.revision());
        }
        Self { link, subscribe, generation, seen: None, has_caught_up: false }
    }

    /// What is there behind what was handed out.
    fn look(&self) -> Vec<RecordedEvent> {
        let SubscribeStream { stream, from, limit } = &self.subscribe;
        let (stream, behind) = (StreamName::clone(stream), *from);
        let most = self.link.node.chance.size(1, limit.events.min(40));
        let from = if let StreamPoint::At(last) = behind { StreamPoint::At(last.next()) } else { StreamPoint::Start };
        let read = ReadStream { stream, direction: Direction::Forward, from, limit: *limit };
        let mut events = self.link.world.store.read_stream(&read).map(|page| page.events).unwrap_or_default();
        events.truncate(most);
        events
    }
}

#[async_trait]
impl Subscription for StreamSubscription {
    async fn next(&mut self) -> Result<Notice, SubscribeError> {
        let world = std::sync::Arc::clone(&self.link.world);
        loop {
            let changed = world.store.changed();
            if world.store.generation() != Some(self.generation) {
                return Err(ReadError::Unavailable { reason: "the simulated store went down".to_owned() }.into());
            }
            let events = self.look();
            if let Some((revision, position)) = events.last().map(|last| (last.revision(), last.position())) {
                let notice = self.link.hand_out(Notice::Events(events)).await?;
                (self.subscribe.from, self.seen) = (StreamPoint::At(revision), Some(position));
                return Ok(notice);
            }
            if !self.has_caught_up {
                let notice = self.link.hand_out(Notice::CaughtUp { position: self.seen }).await?;
                self.has_caught_up = true;
                return Ok(notice);
            }
            changed.await;
        }
    }
}
