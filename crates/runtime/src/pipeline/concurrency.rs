//! Owns how many lanes may have a batch on its way to one target at once: fewer when it is slow, more when it is not.
//!
//! Lanes wait for each other here; records of a key are in one lane, so their order is not touched. The number rises by
//! one for each full round of answers while all of it is used, and falls by a part when requests are not answered in time
//! or take much longer than they once did.

use std::time::Duration;

use tokio::time::Instant;

/// What is left of the number after a request that was not answered in time.
const CUT_BY_TIMEOUT: f64 = 0.5;
/// What is left of it when answers take too long.
const CUT_BY_LATENCY: f64 = 0.85;
/// Cuts are so far apart: an answer in between tells about what was sent before the last one.
const CUT_INTERVAL: Duration = Duration::from_secs(1);
/// Latency alone leaves this part of the lanes: a target may be slow and yet take all of them.
const LATENCY_LEAVES: f64 = 0.25;
/// Answers that take so many times as long as the quickest known, and this much more, take too long.
const SLOWER_FACTOR: f64 = 2.0;
const SLOWER_S: f64 = 0.02;
/// The weight of a new answer in the smoothed latency.
const SMOOTHING: f64 = 0.1;
/// The quickest answer is forgotten after so long: targets change.
const QUICKEST_HOLDS: Duration = Duration::from_secs(600);

/// The number for one target.
#[derive(Debug)]
pub(super) struct Concurrency {
    lanes: usize,
    limit: f64,
    quickest_s: Option<(f64, Instant)>,
    smoothed_s: Option<f64>,
    cut_at: Option<Instant>,
}

impl Concurrency {
    pub(super) fn new() -> Self {
        Self { lanes: 0, limit: 0.0, quickest_s: None, smoothed_s: None, cut_at: None }
    }

    /// How many batches may be on their way at once; at least 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    pub(super) fn limit(&self) -> usize {
        (self.limit as usize).max(1)
    }

    /// Lanes of another connector use the target.
    pub(super) fn joined(&mut self, lanes: usize) {
        self.lanes += lanes;
        self.limit += float(lanes);
    }

    /// Lanes of a connector use it no longer.
    pub(super) fn left(&mut self, lanes: usize) {
        self.lanes = self.lanes.saturating_sub(lanes);
        self.limit = self.limit.min(float(self.lanes));
    }

    /// A request was answered after so long, while so many batches were on their way. `comparable` says that all requests
    /// to this target are about the same, so that time tells something.
    pub(super) fn answered(&mut self, latency: Duration, in_flight: usize, comparable: bool, now: Instant) {
        let is_slow = comparable && self.is_slow(latency.as_secs_f64(), now);
        if is_slow && self.may_cut(now) {
            let floor = (float(self.lanes) * LATENCY_LEAVES).max(1.0);
            self.cut((self.limit.min(float(in_flight)) * CUT_BY_LATENCY).max(floor), now);
        } else if !is_slow && in_flight >= self.limit() {
            self.limit = (self.limit + 1.0 / self.limit.max(1.0)).min(float(self.lanes));
        }
    }

    /// A request was not answered in time, while so many batches were on their way.
    pub(super) fn timed_out(&mut self, in_flight: usize, now: Instant) {
        if self.may_cut(now) {
            self.cut((self.limit.min(float(in_flight)) * CUT_BY_TIMEOUT).max(1.0), now);
        }
    }

    fn is_slow(&mut self, latency_s: f64, now: Instant) -> bool {
        let smoothed = self.smoothed_s.map_or(latency_s, |known| known + SMOOTHING * (latency_s - known));
        self.smoothed_s = Some(smoothed);
        let holds = |at: Instant| now.saturating_duration_since(at) < QUICKEST_HOLDS;
        let quickest = match self.quickest_s {
            Some((quickest, at)) if quickest <= latency_s && holds(at) => quickest,
            _ => {
                self.quickest_s = Some((latency_s, now));
                latency_s
            }
        };
        smoothed > quickest * SLOWER_FACTOR + SLOWER_S
    }

    fn may_cut(&self, now: Instant) -> bool {
        self.cut_at.is_none_or(|at| now.saturating_duration_since(at) >= CUT_INTERVAL)
    }

    fn cut(&mut self, limit: f64, now: Instant) {
        self.limit = limit.min(self.limit);
        self.cut_at = Some(now);
        // The next round is judged by itself.
        self.smoothed_s = None;
    }
}

#[expect(clippy::cast_precision_loss, reason = "lanes are few")]
fn float(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that works on one request at a time: the more are sent, the longer each takes.
    struct Queue {
        service: Duration,
    }

    /// Runs rounds against it: everybody who may sends one request and waits for the answer.
    fn rounds(concurrency: &mut Concurrency, target: &Queue, now: &mut Instant, rounds: usize) {
        for _ in 0..rounds {
            let in_flight = concurrency.limit();
            let latency = target.service * u32::try_from(in_flight).unwrap();
            *now += latency;
            for _ in 0..in_flight {
                concurrency.answered(latency, in_flight, true, *now);
            }
        }
    }

    #[test]
    fn a_target_that_queues_is_not_flooded_and_still_kept_busy() {
        let (mut concurrency, mut now) = (Concurrency::new(), Instant::now());
        concurrency.joined(64);
        concurrency.answered(Duration::from_millis(50), 1, true, now);
        rounds(&mut concurrency, &Queue { service: Duration::from_millis(50) }, &mut now, 400);
        assert!((1..=20).contains(&concurrency.limit()), "{concurrency:?}");
        // Ten times as fast: room again, up to where it queues.
        rounds(&mut concurrency, &Queue { service: Duration::from_micros(100) }, &mut now, 20_000);
        assert_eq!(concurrency.limit(), 64, "{concurrency:?}");
    }

    #[test]
    fn answers_that_do_not_come_halve_it_once_a_round() {
        let (mut concurrency, mut now) = (Concurrency::new(), Instant::now());
        concurrency.joined(16);
        for _ in 0..16 {
            concurrency.timed_out(16, now);
        }
        assert_eq!(concurrency.limit(), 8);
        for _ in 0..10 {
            now += CUT_INTERVAL;
            concurrency.timed_out(16, now);
        }
        assert_eq!(concurrency.limit(), 1);
        for _ in 0..200 {
            let limit = concurrency.limit();
            concurrency.answered(Duration::from_millis(5), limit, true, now);
        }
        assert_eq!(concurrency.limit(), 16);
    }

    #[test]
    fn it_never_exceeds_the_lanes_there_are() {
        let (mut concurrency, now) = (Concurrency::new(), Instant::now());
        concurrency.joined(4);
        concurrency.joined(12);
        for _ in 0..100 {
            concurrency.answered(Duration::from_millis(5), 16, true, now);
        }
        assert_eq!(concurrency.limit(), 16);
        concurrency.left(12);
        assert_eq!(concurrency.limit(), 4);
        // Requests that differ in kind say nothing by their time.
        for ms in [1, 1_000, 5_000] {
            concurrency.answered(Duration::from_millis(ms), 4, false, now);
        }
        assert_eq!(concurrency.limit(), 4);
    }
}
