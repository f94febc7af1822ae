//! Owns the pace at which a target is sent to once it has said that it is too much: found from what it takes, and kept
//! just below.
//!
//! As long as the target never refuses for load there is no pace. At the first refusal it drops to a little under what was
//! taken in the last second and searches from there, half as much again every second. At every later refusal it drops to
//! a little under where it was, or what was taken. Then it rises along a cubic curve: back to just below the place of the
//! refusal, slowly past it, and ever faster beyond, so that a target with room again is found out within half a minute. At
//! a slow pace the way back takes longer, so that refusals stay rare among the requests that there are.

use std::time::Duration;

use tokio::time::Instant;

use super::rate::Bucket;

/// What is left of the pace after a refusal.
const CUT: f64 = 0.92;
/// This part of the pace counts as all of it.
const NEARLY: f64 = 0.85;
/// The same while it is searched for: what was taken in the last second was taken at a slower pace.
const NEARLY_SEARCHING: f64 = 0.5;
/// How much faster it is after a second of searching.
const SEARCH_FACTOR: f64 = 1.5;
/// How long it takes at least to be back where the refusal was, in seconds.
const BACK_S: f64 = 5.0;
/// And how long at most.
const BACK_S_MAX: f64 = 120.0;
/// So many requests are made until then, within these bounds: one refusal in a round is a small part of them.
const BACK_REQUESTS: f64 = 150.0;
/// What was taken in a second is known but for so many requests.
const METER_SLACK: f64 = 1.0;
/// Refusals so soon after a cut are answers to what was sent before it.
const CUT_INTERVAL: Duration = Duration::from_secs(1);
/// What was taken is counted over so many slots of this length.
const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_millis(100);
/// Fewer whole slots than these tell nothing.
const SLOTS_MIN: u64 = 3;
/// The slowest pace, in requests per second; below, the delays between attempts do the work.
const PACE_MIN: f64 = 1.0;
/// A pace beyond this is none.
const PACE_MAX: f64 = 50_000.0;
/// The time whose allowance may be used at once.
const BURST_S: f64 = 0.02;

/// The pace of one target, in requests.
#[derive(Debug)]
pub(super) struct Pace {
    meter: Meter,
    paced: Option<Paced>,
}

#[derive(Debug)]
struct Paced {
    /// Where the refusal was, in requests per second.
    peak: f64,
    /// How far along the curve, in seconds.
    along_s: f64,
    /// After the first refusal, until the next: what was taken before it tells little.
    searching: bool,
    looked_at: Instant,
    cut_at: Instant,
    bucket: Bucket,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { meter: Meter::new(now), paced: None }
    }

    /// Requests per second, if there is a pace.
    pub(super) fn per_second(&self) -> Option<f64> {
        self.paced.as_ref().map(Paced::per_second)
    }

    /// How many requests one may make at once without going beyond the burst; none for any number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    pub(super) fn burst(&self) -> Option<usize> {
        self.per_second().map(|rate| room(rate) as usize)
    }

    /// Draws so many requests; answers how long they must wait.
    pub(super) fn draw(&mut self, requests: f64, now: Instant) -> Duration {
        let taken = self.meter.per_second(now).unwrap_or_default();
        let Some(paced) = &mut self.paced else { return Duration::ZERO };
        let elapsed = now.saturating_duration_since(paced.looked_at).as_secs_f64();
        paced.looked_at = now;
        // A pace that nobody uses is not raised: nothing is known about what lies above it.
        if taken >= paced.per_second() / 2.0 {
            paced.along_s += elapsed;
        }
        let rate = paced.per_second();
        if rate > PACE_MAX {
            self.paced = None;
            return Duration::ZERO;
        }
        paced.bucket.adjust(rate, room(rate), now);
        paced.bucket.draw(requests, now)
    }

    /// So many requests were taken.
    pub(super) fn taken(&mut self, requests: f64, now: Instant) {
        self.meter.count(requests, now);
    }

    /// A request was refused because there were too many; answers whether the pace was cut.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        // Nothing gets through at all: that is no question of pace.
        let Some(taken) = self.meter.per_second(now).filter(|taken| *taken >= PACE_MIN) else { return false };
        if self.paced.as_ref().is_some_and(|paced| now.saturating_duration_since(paced.cut_at) < CUT_INTERVAL) {
            return false;
        }
        // What was taken is measured roughly: when it is about the pace, the pace itself says more.
        let peak = self.paced.as_ref().map_or(taken, |paced| {
            let nearly = if paced.searching { NEARLY_SEARCHING } else { NEARLY };
            if taken + METER_SLACK >= paced.per_second() * nearly { paced.per_second() } else { taken }
        });
        let searching = self.paced.is_none();
        let rate = peak * CUT;
        let mut bucket = match self.paced.take() {
            Some(paced) => paced.bucket,
            None => Bucket::new(rate, 0.0, now),
        };
        bucket.adjust(rate, room(rate), now);
        self.paced = Some(Paced { peak, along_s: 0.0, searching, looked_at: now, cut_at: now, bucket });
        true
    }
}

impl Paced {
    fn per_second(&self) -> f64 {
        if self.searching {
            return (self.peak * CUT * SEARCH_FACTOR.powf(self.along_s)).max(PACE_MIN);
        }
        let back_s = (BACK_REQUESTS / self.peak).clamp(BACK_S, BACK_S_MAX);
        let from_peak = self.along_s - back_s;
        // Up to the peak the curve takes its time, beyond it room is found out as quickly at any pace.
        let part = from_peak / if from_peak < 0.0 { back_s } else { BACK_S };
        (self.peak * (1.0 + (1.0 - CUT) * part * part * part)).max(PACE_MIN)
    }
}

fn room(rate: f64) -> f64 {
    (rate * BURST_S).max(1.0)
}

/// Counts what was taken in the last second.
#[derive(Debug)]
struct Meter {
    slots: [f64; SLOTS],
    start: Instant,
    /// The number of the newest slot since the start.
    newest: u64,
    /// The slot in which the present stretch of traffic began.
    began: u64,
}

impl Meter {
    fn new(now: Instant) -> Self {
        Self { slots: [0.0; SLOTS], start: now, newest: 0, began: 0 }
    }

    fn count(&mut self, requests: f64, now: Instant) {
        self.go_to(now);
        if self.slots.iter().all(|slot| *slot == 0.0) {
            self.began = self.newest;
        }
        if let Some(slot) = self.slots.get_mut(index(self.newest)) {
            *slot += requests;
        }
    }

    /// None while too little was seen to tell.
    #[expect(clippy::cast_precision_loss, reason = "at most as many as there are slots")]
    fn per_second(&mut self, now: Instant) -> Option<f64> {
        self.go_to(now);
        // The newest slot is not over yet.
        let newest = self.slots.get(index(self.newest)).copied().unwrap_or_default();
        let whole = (self.newest - self.began).min(SLOTS as u64 - 1);
        let sum: f64 = self.slots.iter().sum();
        (whole >= SLOTS_MIN).then(|| (sum - newest) / (whole as f64 * SLOT.as_secs_f64()))
    }

    fn go_to(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.start).as_millis() / SLOT.as_millis();
        let slot = u64::try_from(since).unwrap_or(u64::MAX);
        let passed = slot.saturating_sub(self.newest).min(SLOTS as u64);
        for number in 1..=passed {
            if let Some(slot) = self.slots.get_mut(index(self.newest.wrapping_add(number))) {
                *slot = 0.0;
            }
        }
        self.newest = self.newest.max(slot);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
fn index(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that takes so many requests per second and forgives a few at once.
    struct Target {
        bucket: f64,
        at: Duration,
    }

    impl Target {
        fn takes(&mut self, per_second: f64, at: Duration) -> bool {
            self.bucket = (self.bucket + (at - self.at).as_secs_f64() * per_second).min(3.0);
            self.at = at;
            if self.bucket < 1.0 {
                return false;
            }
            self.bucket -= 1.0;
            true
        }
    }

    /// Sends as fast as the pace allows, 300 per second at most, for so many seconds; answers taken and refused.
    fn send(pace: &mut Pace, target: &mut Target, start: Instant, seconds: u64, per_second: f64) -> (f64, f64) {
        let (mut taken, mut refused) = (0.0, 0.0);
        let end = target.at + Duration::from_secs(seconds);
        let mut at = target.at;
        while at < end {
            at += pace.draw(1.0, start + at).max(Duration::from_micros(3_333));
            if target.takes(per_second, at) {
                pace.taken(1.0, start + at);
                taken += 1.0;
            } else {
                pace.refused(start + at);
                refused += 1.0;
            }
        }
        (taken, refused)
    }

    #[test]
    fn it_follows_a_capacity_that_changes() {
        let start = Instant::now();
        let (mut pace, mut target) = (Pace::new(start), Target { bucket: 0.0, at: Duration::ZERO });
        for (capacity, settling) in
            [(200.0, 10), (50.0, 5), (200.0, 30), (120.0, 5), (20.0, 20), (5.0, 60), (40.0, 120), (2.0, 60)]
        {
            send(&mut pace, &mut target, start, settling, capacity);
            let (taken, refused) = send(&mut pace, &mut target, start, 600, capacity);
            let (used, share) = (taken / (capacity * 600.0), refused / (taken + refused));
            assert!(used > 0.9, "{used} of {capacity}/s is used, {share} refused, {pace:?}");
            assert!(share < 0.01, "{share} of {capacity}/s is refused, {pace:?}");
        }
        // Room without end: the pace goes away.
        send(&mut pace, &mut target, start, 600, 1e9);
        assert!(pace.per_second().is_none_or(|rate| rate > 300.0), "{pace:?}");
    }

    #[test]
    fn a_target_that_takes_nothing_at_all_is_no_question_of_pace() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            now += Duration::from_millis(100);
            assert!(!pace.refused(now));
        }
        assert_eq!((pace.per_second(), pace.burst(), pace.draw(5.0, now)), (None, None, Duration::ZERO));
    }

    #[test]
    fn a_pace_that_nobody_uses_does_not_rise() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            now += Duration::from_millis(10);
            pace.taken(1.0, now);
        }
        assert!(pace.refused(now));
        assert!(!pace.refused(now), "one cut for what was sent before it");
        let cut = pace.per_second().unwrap();
        assert!((85.0..100.0).contains(&cut), "{cut}");
        now += Duration::from_secs(10);
        for _ in 0..60 {
            now += Duration::from_secs(1);
            pace.draw(1.0, now);
            pace.taken(1.0, now);
        }
        assert!(pace.per_second().unwrap() < 110.0);
    }
}
