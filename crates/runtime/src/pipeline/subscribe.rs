//! Owns reading: an open subscription, reopened when it breaks, filtered, and held to the window.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{Position, Record, RecordedEvent, StreamName};
use forebay_store::{
    EventStore, LogPoint, Notice, PageLimit, ReadError, StreamPoint, SubscribeAll, SubscribeError, SubscribeStream,
    Subscription,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::filter::{Filter, Source};
use super::gaps::Gaps;
use super::gate::{Gate, Haste};
use super::key::{Key, Keying};
use super::lanes::{Router, Tracked};
use super::parked::KnownSettled;
use super::report::{ReadChunk, Report};
use super::run::PipelineFailure;
use super::shards::Share;
use super::start::{Begin, Origin};
use super::tracker::{Mark, SettledRanges, Slot};
use super::view::EventView;
use super::window::Window;

/// The bounds of one hand-out of the subscription.
const PAGE: PageLimit = PageLimit { events: 500, bytes: 1 << 20 };
const REOPEN_DELAY_FIRST: Duration = Duration::from_millis(100);
const REOPEN_DELAY_MAX: Duration = Duration::from_secs(10);
/// A subscription that cannot be opened for so long ends the connector.
const REOPEN_LIMIT: Duration = Duration::from_secs(600);

/// Where records go next.
pub(super) enum Onward {
    /// Through the transform.
    Transform(mpsc::Sender<Vec<Tracked>>),
    /// To the lanes.
    Lanes(Router),
}

/// What reading needs.
pub(super) struct ReaderParts {
    /// What the parked stream says is settled.
    pub(super) known: KnownSettled,
    /// Which records are this pipeline's own.
    pub(super) share: Share,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) filter: Filter,
    pub(super) keying: Keying,
    pub(super) window: Arc<Window>,
    /// Where readers of this process take turns.
    pub(super) turns: Arc<Gate>,
    pub(super) onward: Onward,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) gaps: Gaps,
    pub(super) stop: CancellationToken,
    /// Streams that begin with this are the connector's own and never read by itself.
    pub(super) own_streams: String,
    /// The store says where it is at the latest after so many events that did not match.
    pub(super) checkpoint_every: usize,
}

/// The first station: reads events and hands them on.
pub(super) struct Reader {
    parts: ReaderParts,
    origin: Origin,
    seen: Option<Mark>,
    settled: SettledRanges,
    next_seq: u64,
    reads_stream: bool,
    /// History is finished: what comes now has just happened.
    is_live: bool,
}

/// What is to become of an event.
enum Sorted {
    /// It goes on, with this key.
    Kept(Key),
    /// The parked stream says that an earlier run settled it; the checkpoint does not say so yet.
    SettledBefore,
    /// The checkpoint has it, a filter dropped it, or it is our own bookkeeping.
    Skipped,
}

/// Reading ends.
enum Ended {
    /// Somebody asked for it, or nobody listens any more.
    Stopped,
    /// It cannot go on.
    Failed(PipelineFailure),
}

impl Reader {
    pub(super) fn new(parts: ReaderParts, begin: Begin) -> Self {
        let reads_stream = matches!(begin.origin, Origin::Stream(_));
        Self {
            parts,
            origin: begin.origin,
            seen: begin.mark,
            settled: begin.settled,
            next_seq: 0,
            reads_stream,
            is_live: false,
        }
    }

    /// Reads until it is asked to stop or cannot go on.
    pub(super) async fn run(mut self) {
        let stop = self.parts.stop.clone();
        let reports = self.parts.reports.clone();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ended::Stopped,
            ended = self.read_on() => ended,
        };
        if let Ended::Failed(failure) = ended {
            let _ = reports.send(Report::Fatal(failure)).await;
        }
    }

    async fn read_on(&mut self) -> Ended {
        let mut delay = REOPEN_DELAY_FIRST;
        let mut broken_since: Option<Instant> = None;
        loop {
            let error = match self.open().await {
                Ok(mut subscription) => {
                    self.is_live = false;
                    if self.parts.reports.send(Report::Reading).await.is_err() {
                        return Ended::Stopped;
                    }
                    let before = self.seen;
                    let error = match self.read_from(subscription.as_mut()).await {
                        Ok(error) => error,
                        Err(ended) => return ended,
                    };
                    if self.seen != before {
                        (delay, broken_since) = (REOPEN_DELAY_FIRST, None);
                    }
                    error
                }
                Err(error) => error,
            };
            let since = *broken_since.get_or_insert_with(Instant::now);
            if !may_pass(&error) || since.elapsed() > REOPEN_LIMIT {
                return Ended::Failed(failure_of(&error));
            }
            tracing::warn!(reason = %error, delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                "the subscription broke and is opened again");
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(REOPEN_DELAY_MAX);
        }
    }

    async fn open(&self) -> Result<Box<dyn Subscription>, SubscribeError> {
        match (self.parts.filter.source(), self.origin) {
            (Source::Stream(stream), Origin::Stream(from)) => self.open_stream(stream, from).await,
            (Source::Stream(stream), Origin::Log(_)) => self.open_stream(stream, StreamPoint::Start).await,
            (Source::Log(filter), origin) => {
                let from = match origin {
                    Origin::Log(point) => point,
                    Origin::Stream(_) => LogPoint::Start,
                };
                let subscribe = SubscribeAll {
                    from,
                    filter: filter.clone(),
                    limit: PAGE,
                    checkpoint_every: self.parts.checkpoint_every,
                };
                self.parts.store.subscribe_all(subscribe).await
            }
        }
    }

    async fn open_stream(
        &self,
        stream: &StreamName,
        from: StreamPoint,
    ) -> Result<Box<dyn Subscription>, SubscribeError> {
        let subscribe = SubscribeStream { stream: stream.clone(), from, limit: PAGE };
        self.parts.store.subscribe_stream(subscribe).await
    }

    /// Reads until the subscription breaks.
    async fn read_from(&mut self, subscription: &mut dyn Subscription) -> Result<SubscribeError, Ended> {
        loop {
            self.parts.window.room().await;
            let notice = match subscription.next().await {
                Ok(notice) => notice,
                Err(error) => return Ok(error),
            };
            match notice {
                Notice::Events(events) => self.take_in(events).await?,
                Notice::Checkpoint(position) => {
                    self.examined(position);
                    let chunk = ReadChunk { seen: self.seen, ..ReadChunk::default() };
                    self.tell(Report::Read(chunk)).await?;
                }
                Notice::CaughtUp { position } => {
                    // The position of a stream's reader says nothing about the stream's revision.
                    if let (Some(position), false) = (position, self.reads_stream) {
                        self.examined(position);
                    }
                    self.is_live = true;
                    self.tell(Report::CaughtUp(self.seen)).await?;
                }
            }
        }
    }

    fn examined(&mut self, position: Position) {
        if self.seen.is_none_or(|seen| seen.position < position) {
            self.saw(Mark { position, revision: None });
        }
    }

    fn saw(&mut self, mark: Mark) {
        self.seen = Some(mark);
        self.origin = match mark.revision {
            Some(revision) => Origin::Stream(StreamPoint::At(revision)),
            None => Origin::Log(LogPoint::At(mark.position)),
        };
    }

    async fn take_in(&mut self, events: Vec<RecordedEvent>) -> Result<(), Ended> {
        let count = events.len();
        let mut kept = Vec::with_capacity(count);
        let mut slots = Vec::with_capacity(count);
        let (mut bytes, mut settled_before) = (0, 0);
        let haste = if self.is_live { Haste::Hurried } else { Haste::Patient };
        let turn = self.parts.turns.enter(haste).await;
        for event in events {
            let before = self.seen;
            let revision = self.reads_stream.then(|| event.revision());
            self.parts.gaps.saw(&event);
            self.saw(Mark { position: event.position(), revision });
            let key = match self.sort(&event) {
                Sorted::Kept(key) => key,
                Sorted::SettledBefore => {
                    settled_before += 1;
                    continue;
                }
                Sorted::Skipped => continue,
            };
            let size = event.size();
            bytes += size;
            slots.push(Slot { seq: self.next_seq, before, event: event.clone() });
            kept.push(Tracked { seq: self.next_seq, key, bytes: size, record: Record::of(event), doomed: None });
            self.next_seq += 1;
        }
        drop(turn);
        self.parts.window.take(kept.len(), bytes);
        let (events, skipped) = (count as u64, (count - kept.len()) as u64);
        let chunk = ReadChunk { events, skipped, settled_before, slots, seen: self.seen };
        self.tell(Report::Read(chunk)).await?;
        if kept.is_empty() {
            return Ok(());
        }
        let sent = match &self.parts.onward {
            Onward::Transform(transform) => transform.send(kept).await.is_ok(),
            Onward::Lanes(router) => router.send(kept).await.is_ok(),
        };
        if sent { Ok(()) } else { Err(Ended::Stopped) }
    }

    fn sort(&self, event: &RecordedEvent) -> Sorted {
        if self.settled.contains(event.position()) {
            return Sorted::Skipped;
        }
        if !self.reads_stream && event.stream().starts_with(self.parts.own_streams.as_str()) {
            return Sorted::Skipped;
        }
        let parts = &self.parts;
        let mut view = EventView::new(event);
        // Whose record it is costs less to know than whether the filter keeps it.
        let known_key = parts.share.is_part().then(|| parts.keying.key(&mut view));
        if known_key.is_some_and(|key| !parts.share.takes(key)) || !parts.filter.keeps(&mut view) {
            return Sorted::Skipped;
        }
        let key = known_key.unwrap_or_else(|| parts.keying.key(&mut view));
        let is_settled = parts.known.contains(key, event.position()) || parts.share.is_settled(&mut view);
        if is_settled { Sorted::SettledBefore } else { Sorted::Kept(key) }
    }

    async fn tell(&self, report: Report) -> Result<(), Ended> {
        self.parts.reports.send(report).await.map_err(|_| Ended::Stopped)
    }
}

fn may_pass(error: &SubscribeError) -> bool {
    match error {
        SubscribeError::StreamDeleted { .. } | SubscribeError::BehindEnd { .. } => false,
        SubscribeError::Closed => true,
        SubscribeError::Read(ReadError::Unavailable { .. } | ReadError::StreamNotFound { .. }) => true,
        SubscribeError::Read(ReadError::Damaged { .. } | ReadError::StreamDeleted { .. }) => false,
    }
}

fn failure_of(error: &SubscribeError) -> PipelineFailure {
    let code = match error {
        SubscribeError::StreamDeleted { .. } | SubscribeError::Read(ReadError::StreamDeleted { .. }) => {
            "stream-deleted"
        }
        SubscribeError::BehindEnd { .. } => "behind-end",
        SubscribeError::Closed | SubscribeError::Read(_) => "store",
    };
    let message = match error {
        SubscribeError::BehindEnd { from, end } => format!(
            "cannot continue behind position {from}: the store ends at {end}; it was restored to an earlier state or is \
             another store, so start the connector from a position that it has"
        ),
        other => format!("reading cannot go on: {other}"),
    };
    PipelineFailure { code, message }
}
