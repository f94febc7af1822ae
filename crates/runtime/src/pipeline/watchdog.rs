//! Owns the judgement whether a connector stands still: it is behind, and nothing moves for too long.

use std::time::Duration;

use forebay_event::{Position, Timestamp};
use tokio::time::Instant;

use super::Progress;

/// What moved, as numbers that only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moved {
    read: u64,
    settled: u64,
    up_to: Option<Position>,
}

/// Looks now and then at what was done.
#[derive(Debug)]
pub(super) struct Watchdog {
    limit: Duration,
    moved: Option<Moved>,
    since: (Instant, Timestamp),
}

/// Nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stall {
    pub(super) since: Timestamp,
    pub(super) lasted: Duration,
}

impl Watchdog {
    pub(super) fn new(limit: Duration, now: (Instant, Timestamp)) -> Self {
        Self { limit, moved: None, since: now }
    }

    /// Since when nothing has moved, if that is too long for a connector that is behind.
    pub(super) fn look(&mut self, progress: &Progress, now: (Instant, Timestamp)) -> Option<Stall> {
        let settled = progress.delivered + progress.skipped + progress.parked;
        let moved = Some(Moved { read: progress.read, settled, up_to: progress.settled });
        let is_behind = !progress.caught_up || progress.in_flight() > 0;
        if moved != self.moved || !is_behind {
            (self.moved, self.since) = (moved, now);
        }
        let (since, lasted) = (self.since.1, now.0.saturating_duration_since(self.since.0));
        (lasted >= self.limit && is_behind).then_some(Stall { since, lasted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_behind_and_does_not_move_stands_still() {
        let start = Instant::now();
        let at = |seconds: u64| {
            (start + Duration::from_secs(seconds), Timestamp::default().plus(Duration::from_secs(seconds)))
        };
        let stall = |since: u64, lasted: u64| Some(Stall { since: at(since).1, lasted: Duration::from_secs(lasted) });
        let mut watchdog = Watchdog::new(Duration::from_secs(60), at(0));
        let mut progress = Progress { caught_up: true, ..Progress::default() };
        assert_eq!(watchdog.look(&progress, at(600)), None, "at rest is not standing still");
        progress.read = 5;
        progress.delivered = 4;
        assert_eq!(watchdog.look(&progress, at(601)), None);
        assert_eq!(watchdog.look(&progress, at(660)), None);
        assert_eq!(watchdog.look(&progress, at(661)), stall(601, 60));
        progress.read = 6;
        assert_eq!(watchdog.look(&progress, at(700)), None, "reading is progress");
        assert_eq!(watchdog.look(&progress, at(760)), stall(700, 60));
        progress.parked = 2;
        assert_eq!(watchdog.look(&progress, at(761)), None);
        progress.caught_up = false;
        assert_eq!(watchdog.look(&progress, at(830)), stall(761, 69));
        progress.settled = Some(Position::new(9));
        assert_eq!(watchdog.look(&progress, at(831)), None, "passing over is progress");
    }
}
