//! Owns subscriptions: a position that moves on as far as it is asked to, and waits at the live end.
//!
//! A subscription holds no events between calls. Its position moves only after a page was read whole, so a call that is
//! dropped while it reads or waits loses nothing.

use std::sync::Arc;

use async_trait::async_trait;
use forebay_event::{Position, Revision, StreamName};
use forebay_store::{
    EventFilter, LogPoint, Notice, PageLimit, ReadError, StreamPoint, SubscribeAll, SubscribeError, SubscribeStream,
    Subscription,
};
use tokio::sync::watch;

use crate::port::off_thread;
use crate::reader::{Scan, Scanned, StreamScan, StreamScanned, scan_forward, scan_recent, scan_stream};
use crate::shared::{Live, Shared};
use crate::states::{StreamState, Visible};

/// A subscription to the whole log.
pub(crate) struct AllSubscription {
    shared: Arc<Shared>,
    live: watch::Receiver<Live>,
    /// What is waited for instead where bookkeeping is passed over.
    others: Option<watch::Receiver<u64>>,
    filter: EventFilter,
    limit: PageLimit,
    checkpoint_every: usize,
    /// The first position not yet examined.
    next: u64,
    /// Events that did not match since the last checkpoint notice.
    unmatched: usize,
    /// Up to here the reader knows that everything was examined.
    told: u64,
    is_caught_up: bool,
}

impl AllSubscription {
    pub(crate) fn open(shared: Arc<Shared>, subscribe: SubscribeAll) -> Result<Self, SubscribeError> {
        let live = shared.watch();
        let Live { head, closed } = *live.borrow();
        if closed {
            return Err(SubscribeError::Closed);
        }
        let behind = match subscribe.from {
            LogPoint::Start => 0,
            LogPoint::End => head,
            LogPoint::At(from) if from.commit() > head => {
                return Err(SubscribeError::BehindEnd { from, end: Position::new(head) });
            }
            LogPoint::At(from) => from.commit(),
        };
        let others = subscribe.filter.leaves_out_bookkeeping().then(|| shared.watch_others());
        Ok(Self {
            shared,
            live,
            others,
            filter: subscribe.filter,
            limit: subscribe.limit,
            checkpoint_every: subscribe.checkpoint_every.max(1),
            next: behind + 1,
            unmatched: 0,
            told: behind,
            is_caught_up: false,
        })
    }

    async fn read(&self, head: u64) -> Result<Scanned, ReadError> {
        let unmatched_max =
            if self.filter.is_all() { usize::MAX } else { self.checkpoint_every.saturating_sub(self.unmatched).max(1) };
        let scan = Scan { from: self.next, head, filter: &self.filter, limit: self.limit, unmatched_max };
        if let Some(page) = scan_recent(&self.shared, &scan)? {
            return Ok(page);
        }
        let shared = Arc::clone(&self.shared);
        let (from, filter, limit) = (self.next, self.filter.clone(), self.limit);
        off_thread(move || scan_forward(&shared, &Scan { from, head, filter: &filter, limit, unmatched_max })).await
    }

    /// Takes over a page that was read; answers what to hand out of it, if anything.
    fn advance(&mut self, page: Scanned) -> Option<Notice> {
        self.next = page.next;
        self.unmatched += page.unmatched;
        let last = page.events.last()?.position().commit();
        self.told = self.told.max(last);
        Some(Notice::Events(page.events))
    }

    /// A checkpoint notice, when one is due and says something new.
    fn checkpoint(&mut self, is_due: bool) -> Option<Notice> {
        let examined = self.next - 1;
        if self.filter.is_all() || !is_due || examined <= self.told {
            return None;
        }
        self.told = examined;
        self.unmatched = 0;
        Some(Notice::Checkpoint(Position::new(examined)))
    }
}

#[async_trait]
impl Subscription for AllSubscription {
    async fn next(&mut self) -> Result<Notice, SubscribeError> {
        loop {
            // Looked at before the head, which is written first: what comes in between wakes the wait below.
            if let Some(others) = &mut self.others {
                others.mark_unchanged();
            }
            let Live { head, closed } = *self.live.borrow_and_update();
            if closed {
                return Err(SubscribeError::Closed);
            }
            if let Some(checkpoint) = self.checkpoint(self.unmatched >= self.checkpoint_every) {
                return Ok(checkpoint);
            }
            if self.next <= head {
                let page = self.read(head).await?;
                if let Some(events) = self.advance(page) {
                    return Ok(events);
                }
                continue;
            }
            if !self.is_caught_up {
                if let Some(checkpoint) = self.checkpoint(true) {
                    return Ok(checkpoint);
                }
                self.is_caught_up = true;
                return Ok(Notice::CaughtUp { position: position(self.next - 1) });
            }
            let changed = match &mut self.others {
                Some(others) => others.changed().await,
                None => self.live.changed().await,
            };
            changed.map_err(|_| SubscribeError::Closed)?;
        }
    }
}

/// A subscription to one stream.
pub(crate) struct StreamSubscription {
    shared: Arc<Shared>,
    live: watch::Receiver<Live>,
    stream: StreamName,
    limit: PageLimit,
    /// The first revision not yet examined.
    next: u64,
    /// Up to this position of the log nothing of the stream is left.
    examined: Option<u64>,
    is_caught_up: bool,
}

/// What a look at the stream found.
struct Look {
    page: StreamScanned,
    state: StreamState,
    head: u64,
}

impl StreamSubscription {
    pub(crate) async fn open(shared: Arc<Shared>, subscribe: SubscribeStream) -> Result<Self, SubscribeError> {
        let live = shared.watch();
        if live.borrow().closed {
            return Err(SubscribeError::Closed);
        }
        let SubscribeStream { stream, from, limit } = subscribe;
        let (reading, name) = (Arc::clone(&shared), stream.clone());
        let state = off_thread(move || reading.with_engine(|engine| Ok(reading.state(engine, &name)?.0))).await?;
        if state.is_tombstoned() {
            return Err(SubscribeError::StreamDeleted { stream });
        }
        let next = match from {
            StreamPoint::Start => 0,
            StreamPoint::At(revision) if revision < Revision::MAX => revision.get() + 1,
            StreamPoint::At(_) | StreamPoint::End => state.next_revision(),
        };
        Ok(Self { shared, live, stream, limit, next, examined: None, is_caught_up: false })
    }

    async fn look(&self) -> Result<Look, ReadError> {
        let shared = Arc::clone(&self.shared);
        let (stream, next, limit) = (self.stream.clone(), self.next, self.limit);
        off_thread(move || {
            shared.with_engine(|engine| {
                let (state, head) = shared.state(engine, &stream)?;
                let visible = Visible::of(&stream, &state, shared.clock.now());
                let to = state.last.map_or(0, |last| last.revision);
                let scan = StreamScan { stream: &stream, from: next, to, head, visible, limit };
                let page = scan_stream(&shared, engine, &scan, true)?;
                Ok(Look { page, state, head })
            })
        })
        .await
    }

    /// Whether the stream has no events behind the last one examined, as far as memory can tell.
    fn has_nothing_new(&self) -> bool {
        self.shared
            .kept_state(&self.stream)
            .is_some_and(|state| !state.is_tombstoned() && state.next_revision() <= self.next)
    }
}

#[async_trait]
impl Subscription for StreamSubscription {
    async fn next(&mut self) -> Result<Notice, SubscribeError> {
        loop {
            let Live { head, closed } = *self.live.borrow_and_update();
            if closed {
                return Err(SubscribeError::Closed);
            }
            if self.examined.is_none_or(|examined| examined < head) && !(self.is_caught_up && self.has_nothing_new()) {
                let look = self.look().await?;
                if let Some(examined) = look.page.examined {
                    self.next = examined + 1;
                }
                if look.page.is_complete {
                    self.examined = Some(look.head);
                }
                if !look.page.events.is_empty() {
                    return Ok(Notice::Events(look.page.events));
                }
                if look.page.is_complete && look.state.is_tombstoned() {
                    return Err(SubscribeError::StreamDeleted { stream: self.stream.clone() });
                }
                continue;
            }
            if !self.is_caught_up {
                self.is_caught_up = true;
                return Ok(Notice::CaughtUp { position: position(self.examined.unwrap_or(head)) });
            }
            self.live.changed().await.map_err(|_| SubscribeError::Closed)?;
        }
    }
}

fn position(number: u64) -> Option<Position> {
    (number > 0).then(|| Position::new(number))
}
