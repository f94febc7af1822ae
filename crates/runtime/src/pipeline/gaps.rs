//! Owns the notice of events that are gone before they were read: truncated, expired, scavenged or deleted.
//!
//! Nothing can be done about them, so reading goes on behind them; but it is said, and counted. They show as a jump in
//! the revisions of a stream. An event of the store's own in a user's stream, whose type begins with `$`, counts too when
//! the subscription leaves those out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_event::RecordedEvent;
use forebay_store::{EventFilter, FilterSubject, LogPoint, StreamPoint};
use tokio::time::Instant;

use super::filter::Source;
use super::key::Key;
use super::start::Origin;
use crate::metrics::ConnectorMetrics;

/// Of so many streams the next revision is remembered while the log is read; then all are forgotten.
const STREAMS_MAX: usize = 65_536;
/// Lines in the log are so far apart; what is found in between is counted in the next one.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Where the notice goes.
pub(super) struct Notices {
    pub(super) connector_id: Arc<str>,
    pub(super) metrics: ConnectorMetrics,
    pub(super) is_logging: bool,
}

/// What is known of the revisions to come.
pub(super) struct Gaps {
    expected: Expected,
    notices: Notices,
    /// Found since the last line.
    untold: u64,
    told_at: Option<Instant>,
}

enum Expected {
    /// The next revision of the one stream that is read.
    Stream(u64),
    /// The next revision of each stream that was seen. `from_start` while every stream is read from its first event.
    Log { next: HashMap<Key, u64>, from_start: bool },
    /// Events are left out by their type, so revisions jump all the time.
    Unknown,
}

impl Gaps {
    /// Begins where reading begins.
    pub(super) fn new(source: &Source, origin: Origin, notices: Notices) -> Self {
        let expected = match (source, origin) {
            (Source::Stream(_), Origin::Stream(StreamPoint::At(revision))) => Expected::Stream(revision.get() + 1),
            (Source::Stream(_), _) => Expected::Stream(0),
            (Source::Log(EventFilter::Where(FilterSubject::EventType, _)), _) => Expected::Unknown,
            (Source::Log(_), origin) => {
                Expected::Log { next: HashMap::new(), from_start: origin == Origin::Log(LogPoint::Start) }
            }
        };
        Self { expected, notices, untold: 0, told_at: None }
    }

    /// An event was read: tells of those before it that are not there any more.
    pub(super) fn saw(&mut self, event: &RecordedEvent) {
        let revision = event.revision().get();
        let missing = match &mut self.expected {
            Expected::Unknown => return,
            Expected::Stream(next) => {
                let missing = revision.saturating_sub(*next);
                *next = revision.saturating_add(1);
                missing
            }
            // The store keeps house in its own streams as it likes.
            Expected::Log { .. } if event.stream().starts_with('$') => return,
            Expected::Log { next, from_start } => {
                if next.len() >= STREAMS_MAX {
                    next.clear();
                    *from_start = false;
                }
                let before = next.insert(Key::of(event.stream()), revision.saturating_add(1));
                before.or(from_start.then_some(0)).map_or(0, |next| revision.saturating_sub(next))
            }
        };
        if missing > 0 {
            self.tell(event, missing);
        }
    }

    fn tell(&mut self, event: &RecordedEvent, missing: u64) {
        self.notices.metrics.missing(missing);
        self.untold = self.untold.saturating_add(missing);
        if self.told_at.is_some_and(|at| at.elapsed() < LINE_INTERVAL) || !self.notices.is_logging {
            return;
        }
        tracing::warn!(
            connector = %self.notices.connector_id, missing = self.untold, stream = event.stream(),
            first = event.revision().get() - missing, next = event.revision().get(),
            "events are not there any more: truncated, expired, scavenged or deleted before they were read; reading goes \
             on behind them"
        );
        (self.untold, self.told_at) = (0, Some(Instant::now()));
    }
}
