//! Owns limits on what passes per second: a bucket of tokens that whoever comes first draws from first.
//!
//! Drawing never fails: it answers when the tokens are there. What was drawn is spent, whether it is used or not, so
//! waiting may be broken off at any time and order among those who wait is the order of drawing.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::RateLimitSettings;

/// The slowest rate, in tokens per second: a wait is never longer than one can reckon with.
const PER_SECOND_MIN: f64 = 0.001;

/// A bucket of tokens. Over any time `t` no more than `room + t × rate` are drawn.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    per_second: f64,
    /// The most tokens that gather while nobody draws.
    room: f64,
    /// May be negative: drawn ahead of time.
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_second: f64, room: f64, now: Instant) -> Self {
        let per_second = per_second.max(PER_SECOND_MIN);
        Self { per_second, room, tokens: room, at: now }
    }

    /// Changes its rate and room; what was drawn stays drawn.
    pub(super) fn adjust(&mut self, per_second: f64, room: f64, now: Instant) {
        self.fill(now);
        (self.per_second, self.room) = (per_second.max(PER_SECOND_MIN), room);
        self.tokens = self.tokens.min(room);
    }

    /// Draws tokens; answers how long to wait until they are there.
    pub(super) fn draw(&mut self, tokens: f64, now: Instant) -> Duration {
        self.fill(now);
        self.tokens -= tokens;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens / self.per_second).unwrap_or(Duration::MAX)
    }

    fn fill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.room);
        self.at = self.at.max(now);
    }
}

/// What may pass per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RateLimits {
    pub(super) events: Option<f64>,
    pub(super) bytes: Option<f64>,
    /// The time whose allowance may be used at once.
    pub(super) burst: Duration,
}

impl RateLimits {
    /// Those of one connector.
    pub(super) fn of_connector(settings: &RateLimitSettings) -> Self {
        Self { events: settings.events_per_second, bytes: settings.bytes_per_second, burst: settings.burst_ms.0 }
    }

    /// Those that all connectors of a target share.
    pub(super) fn of_target(settings: &RateLimitSettings) -> Self {
        let target = settings.target;
        Self { events: target.events_per_second, bytes: target.bytes_per_second, burst: settings.burst_ms.0 }
    }

    /// The stricter of each.
    pub(super) fn stricter(self, other: Self) -> Self {
        let least = |left: Option<f64>, right: Option<f64>| left.into_iter().chain(right).reduce(f64::min);
        let burst = match (self.is_none(), other.is_none()) {
            (true, _) => other.burst,
            (_, true) => self.burst,
            _ => self.burst.min(other.burst),
        };
        Self { events: least(self.events, other.events), bytes: least(self.bytes, other.bytes), burst }
    }

    pub(super) fn is_none(&self) -> bool {
        self.events.is_none() && self.bytes.is_none()
    }

    /// A batch beyond these would come in one burst that is larger than allowed.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and casts saturate")]
    pub(super) fn batch_max(&self) -> (usize, usize) {
        let most = |rate: Option<f64>| rate.map_or(usize::MAX, |rate| self.room(rate).max(1.0) as usize);
        (most(self.events), most(self.bytes))
    }

    fn room(&self, rate: f64) -> f64 {
        (rate * self.burst.as_secs_f64()).max(1.0)
    }
}

/// Buckets for events and for bytes.
#[derive(Clone, Debug)]
pub(super) struct RateGuard {
    limits: RateLimits,
    events: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl RateGuard {
    pub(super) fn new(limits: RateLimits, now: Instant) -> Self {
        let bucket = |rate: Option<f64>| rate.map(|rate| Bucket::new(rate, limits.room(rate), now));
        Self { limits, events: bucket(limits.events), bytes: bucket(limits.bytes) }
    }

    pub(super) fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// Draws for records of so many bytes together; answers how long they must wait.
    #[expect(clippy::cast_precision_loss, reason = "a batch is far smaller than 2^53")]
    pub(super) fn draw(&mut self, records: usize, bytes: usize, now: Instant) -> Duration {
        let events = self.events.as_mut().map(|bucket| bucket.draw(records as f64, now));
        let bytes = self.bytes.as_mut().map(|bucket| bucket.draw(bytes as f64, now));
        events.max(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn a_bucket_lets_its_room_through_at_once_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 5.0, start);
        assert_eq!(bucket.draw(5.0, start), Duration::ZERO);
        assert_eq!([1.0, 2.0].map(|tokens| bucket.draw(tokens, start).as_millis()), [100, 300]);
        assert_eq!(bucket.draw(1.0, start + ms(10_000)), Duration::ZERO, "no more than the room gathers");
        assert_eq!(bucket.draw(5.0, start + ms(10_000)).as_millis(), 100);
        bucket.adjust(1.0, 1.0, start + ms(10_000));
        assert_eq!(bucket.draw(1.0, start + ms(10_000)).as_millis(), 2_000);
    }

    proptest! {
        /// Everybody who draws goes when told: over any stretch of time no more than room and rate allow, in order.
        #[test]
        fn no_stretch_of_time_sees_more_than_allowed(
            draws in proptest::collection::vec((0..2_000_u64, 1..20_u32), 1..60), rate in 1..200_u32, room in 1..50_u32,
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(f64::from(rate), f64::from(room), start);
            let mut now = start;
            let mut gone: Vec<(Duration, f64)> = Vec::new();
            for (pause, tokens) in draws {
                now += ms(pause);
                let at = now.duration_since(start) + bucket.draw(f64::from(tokens), now);
                assert!(gone.last().is_none_or(|(before, _)| *before <= at), "nobody overtakes");
                gone.push((at, f64::from(tokens)));
            }
            for (first, (from, _)) in gone.iter().enumerate() {
                let mut sum = 0.0;
                for (to, tokens) in &gone[first..] {
                    sum += tokens;
                    // A draw larger than the room goes as one piece, once all of it is there.
                    let allowed = f64::from(room).max(gone[first].1) + (*to - *from).as_secs_f64() * f64::from(rate);
                    assert!(sum <= allowed + 1e-3, "{sum} in {:?}, allowed {allowed}", *to - *from);
                }
            }
        }
    }

    #[test]
    fn the_strictest_wish_holds_for_a_shared_target() {
        let limits = |events, bytes, burst| RateLimits { events, bytes, burst: ms(burst) };
        let both = limits(Some(10.0), None, 1_000).stricter(limits(Some(20.0), Some(5.0), 500));
        assert_eq!(both, limits(Some(10.0), Some(5.0), 500));
        assert_eq!(RateLimits::default().stricter(both), both);
        assert_eq!(both.batch_max(), (5, 2));
    }

    #[test]
    fn bytes_and_events_are_both_counted() {
        let start = Instant::now();
        let limits = RateLimits { events: Some(100.0), bytes: Some(1_000.0), burst: ms(1_000) };
        let mut guard = RateGuard::new(limits, start);
        assert_eq!(guard.draw(10, 1_000, start), Duration::ZERO);
        assert_eq!(guard.draw(10, 500, start).as_millis(), 500);
        assert_eq!(guard.draw(90, 0, start).as_millis(), 500);
    }
}
