//! Owns the clocks of a simulated node: they run on simulated time, drift, jump and stand still.

use std::time::Duration;

use forebay_event::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Where all wall clocks start: 2026-01-01T00:00:00Z.
const WALL_START: Timestamp = Timestamp::from_ticks(17_672_256_000_000_000);
/// Where the monotonic clocks start, so that none is ever near zero.
const MONOTONIC_START: Duration = Duration::from_secs(1_000);
/// The unit of drift.
const MILLION: u64 = 1_000_000;

/// The clocks of one node.
#[derive(Debug)]
pub(crate) struct NodeClock {
    begun: Instant,
    /// Runs faster by so many millionths, or slower.
    drift_ppm: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How far the wall clock is ahead, or behind, in milliseconds.
    wall_offset_ms: i64,
    /// Since when the monotonic clock stands still.
    frozen_at: Option<Duration>,
    /// How long it stood still before, in all.
    stood_still: Duration,
}

impl NodeClock {
    /// Clocks that begin now and run faster or slower by so many millionths.
    pub(crate) fn new(drift_ppm: i64) -> Self {
        Self { begun: Instant::now(), drift_ppm, state: Mutex::default() }
    }

    /// Lets the wall clock jump; the monotonic clock does not.
    pub(crate) fn jump(&self, by_ms: i64) {
        self.state.lock().wall_offset_ms += by_ms;
    }

    /// Lets the monotonic clock stand still: nobody on the node looks at it.
    pub(crate) fn freeze(&self) {
        let now = self.run();
        self.state.lock().frozen_at.get_or_insert(now);
    }

    /// Lets the monotonic clock run on: from where it stood, as after a machine was suspended, or from where it would be,
    /// as after a process was stopped.
    pub(crate) fn thaw(&self, was_suspended: bool) {
        let now = self.run();
        let mut state = self.state.lock();
        if let Some(since) = state.frozen_at.take().filter(|_| was_suspended) {
            state.stood_still += now.saturating_sub(since);
        }
    }

    /// What the oscillator has counted.
    fn run(&self) -> Duration {
        let elapsed = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let drift = elapsed / MILLION * self.drift_ppm.unsigned_abs();
        let counted = if self.drift_ppm < 0 { elapsed.saturating_sub(drift) } else { elapsed.saturating_add(drift) };
        Duration::from_nanos(counted)
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let offset_ms = self.state.lock().wall_offset_ms;
        let shift = Duration::from_millis(offset_ms.unsigned_abs());
        let now = WALL_START.plus(self.run());
        if offset_ms >= 0 {
            return now.plus(shift);
        }
        let ticks = u64::try_from(shift.as_nanos() / 100).unwrap_or(u64::MAX);
        Timestamp::from_ticks(now.ticks().saturating_sub(ticks))
    }

    fn monotonic(&self) -> Duration {
        let run = self.run();
        let state = self.state.lock();
        let until = state.frozen_at.unwrap_or(run);
        MONOTONIC_START + until.saturating_sub(state.stood_still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn jumps_move_the_wall_and_freezes_the_monotonic_clock() {
        let clock = NodeClock::new(10_000);
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(clock.monotonic() - monotonic, Duration::from_secs(101));
        clock.jump(-3_600_000);
        assert!(clock.now() < wall);
        clock.freeze();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(clock.monotonic() - monotonic, Duration::from_secs(101));
        clock.thaw(true);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(clock.monotonic() - monotonic, Duration::from_secs(202));
        clock.freeze();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(clock.monotonic() - monotonic, Duration::from_secs(202));
        clock.thaw(false);
        assert_eq!(clock.monotonic() - monotonic, Duration::from_secs(303));
    }
}
