//! Owns the simulated subscription to the log: history, then live, in hand-outs of any size.

use async_trait::async_trait;
use forebay_event::RecordedEvent;
use forebay_store::{Notice, ReadError, SubscribeAll, SubscribeError, Subscription};

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
