//! Owns time: the wall clock and the monotonic one, real or under a test's control.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in wall-clock time, in ticks of 100 ns since 1970-01-01T00:00:00Z (the resolution of the protocol).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

const TICKS_PER_SECOND: u64 = 10_000_000;
const NANOS_PER_TICK: u64 = 100;

impl Timestamp {
    /// The point so many ticks of 100 ns after the Unix epoch.
    pub const fn from_ticks(ticks: u64) -> Self {
        Self(ticks)
    }

    /// Ticks of 100 ns since the Unix epoch.
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        self.0 / (TICKS_PER_SECOND / 1000)
    }

    /// The time from `earlier` to this point; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = self.0.saturating_sub(earlier.0);
        Duration::new(ticks / TICKS_PER_SECOND, u32::try_from(ticks % TICKS_PER_SECOND * NANOS_PER_TICK).unwrap_or(0))
    }

    /// The point so much later.
    pub fn plus(self, duration: Duration) -> Self {
        let ticks = u64::try_from(duration.as_nanos() / u128::from(NANOS_PER_TICK)).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ticks))
    }

    /// Reads RFC 3339 text in UTC, as [`Display`](fmt::Display) writes it.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339(text).ok()?;
        Self::from_system_time(time)
    }

    fn from_system_time(time: SystemTime) -> Option<Self> {
        let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since_epoch.as_nanos() / u128::from(NANOS_PER_TICK)).ok().map(Self)
    }

    /// The same point as the standard library's type.
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH + self.since(Self(0))
    }
}

/// Writes RFC 3339 in UTC with seven digits after the second, for example `2026-11-21T08:00:00.0000001Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Self(self.0 - self.0 % TICKS_PER_SECOND);
        let whole = humantime::format_rfc3339_seconds(seconds.to_system_time()).to_string();
        write!(f, "{}.{:07}Z", whole.trim_end_matches('Z'), self.0 % TICKS_PER_SECOND)
    }
}

/// Where the time comes from. Everything that needs the time takes one of these, so that a test can own it.
pub trait Clock: Send + Sync + 'static {
    /// The wall-clock time; may jump in either direction.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point in the past; never goes back, and is what leases and limits are measured by.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts reading the machine's clocks.
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is told to take")]
    fn now(&self) -> Timestamp {
        Timestamp::from_system_time(SystemTime::now()).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    ticks: AtomicU64,
}

impl ManualClock {
    /// Stands at this time; the monotonic clock starts at the same number.
    pub fn at(time: Timestamp) -> Self {
        Self { ticks: AtomicU64::new(time.ticks()) }
    }

    /// Moves both clocks on.
    pub fn advance(&self, duration: Duration) {
        let ticks = u64::try_from(duration.as_nanos() / u128::from(NANOS_PER_TICK)).unwrap_or(u64::MAX);
        self.ticks.fetch_add(ticks, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.ticks.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.now().since(Timestamp(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_survives_its_text() {
        let time = Timestamp::from_ticks(17_637_120_000_000_001);
        assert_eq!(time.to_string(), "2025-11-21T08:00:00.0000001Z");
        assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Some(time));
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(Timestamp::from_ticks(5));
        assert_eq!(clock.now().ticks(), 5);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().since(Timestamp::from_ticks(5)), Duration::from_secs(1));
    }
}
