//! Owns the way of an attempt to its target: rate, pace, breaker and room before it, and what is learned after it.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Failure, FailureClass, Next, Outcome, Receipt};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::{BreakerLimits, Change};
use super::gate::{Haste, Inside};
use super::lanes::BatchLimits;
use super::rate::{RateGuard, RateLimits};
use super::tidings::Follower;
use super::traffic::{Endpoint, EndpointView, Seat};
use crate::settings::ConnectorSettings;

/// Whoever is refused more often in a row is not refused for load.
const LOAD_ATTEMPTS_MAX: u32 = 5;
/// Shown for targets that nobody else can mean.
const PRIVATE: &str = "connector";

/// How one connector sends to its target.
pub(super) struct Flow {
    endpoint: Arc<Endpoint>,
    rate: Option<Mutex<RateGuard>>,
    habits: Habits,
    _seat: Seat,
}

/// What a connector has decided about how it sends.
#[derive(Clone, Copy, Debug)]
struct Habits {
    breaker: Option<BreakerLimits>,
    adapts: bool,
    one_by_one: bool,
}

/// An attempt that may be made now.
pub(super) struct Admitted {
    endpoint: Arc<Endpoint>,
    habits: Habits,
    begun: Instant,
    in_flight: usize,
    /// It decides whether the target is back; false once that is told.
    is_probe: bool,
    _inside: Option<Inside>,
}

impl Flow {
    /// The name of the place a connector sends to.
    pub(super) fn endpoint_name(endpoint: Option<String>, connector_id: &str) -> String {
        endpoint.unwrap_or_else(|| format!("{PRIVATE}:{connector_id}"))
    }

    pub(super) fn new(endpoint: Arc<Endpoint>, settings: &ConnectorSettings, lanes: usize, one_by_one: bool) -> Self {
        let breaker = settings.breaker;
        let limits = BreakerLimits { failures: breaker.failures.max(1), delay: breaker.delay_ms.0 };
        let adapts = settings.adaptive.enabled;
        let rate = RateLimits::of_connector(&settings.rate_limit);
        let wish = RateLimits::of_target(&settings.rate_limit);
        Self {
            rate: (!rate.is_none()).then(|| Mutex::new(RateGuard::new(rate, Instant::now()))),
            habits: Habits { breaker: breaker.enabled.then_some(limits), adapts, one_by_one },
            _seat: endpoint.join(if adapts { lanes } else { 0 }, wish),
            endpoint,
        }
    }

    /// The bounds of the next batch: smaller when a full one would go beyond a burst.
    pub(super) fn batch_limits(&self, limits: BatchLimits) -> BatchLimits {
        let mine = self.rate.as_ref().map(|rate| rate.lock().limits().batch_max());
        let Habits { adapts, one_by_one, .. } = self.habits;
        let (shared, burst) = self.endpoint.with(|state, _| {
            let burst = if adapts && one_by_one { state.pace.burst() } else { None };
            (state.rate.as_ref().map(|rate| rate.limits().batch_max()), burst)
        });
        let (mut records, mut bytes) = (burst.unwrap_or(usize::MAX), usize::MAX);
        for (most_records, most_bytes) in mine.into_iter().chain(shared) {
            (records, bytes) = (records.min(most_records), bytes.min(most_bytes));
        }
        BatchLimits { records: limits.records.min(records).max(1), bytes: limits.bytes.min(bytes).max(1), ..limits }
    }

    /// Waits until an attempt at so many records of so many bytes may be made. Waiting may be broken off.
    pub(super) async fn admit(&self, records: usize, bytes: usize) -> Admitted {
        let mine = self.rate.as_ref().map(|rate| rate.lock().draw(records, bytes, Instant::now()));
        self.enter(mine.unwrap_or_default().max(self.draw_shared(records, bytes))).await
    }

    /// Waits until the way to the target may be tried: for everybody who sends there it is as if it were one record.
    pub(super) async fn admit_opening(&self) -> Admitted {
        self.enter(self.draw_shared(1, 0)).await
    }

    async fn enter(&self, wait: Duration) -> Admitted {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let is_probe = self.habits.breaker.is_some() && self.endpoint.pass().await;
        let mut admitted = Admitted {
            endpoint: Arc::clone(&self.endpoint),
            habits: self.habits,
            begun: Instant::now(),
            in_flight: 0,
            is_probe,
            _inside: None,
        };
        if self.habits.adapts {
            admitted._inside = Some(self.endpoint.gate.enter(Haste::Patient).await);
            admitted.in_flight = self.endpoint.gate.inside();
            admitted.begun = Instant::now();
        }
        admitted
    }

    /// Draws from everything that is limited per second for all that send there; answers the longest wait.
    #[expect(clippy::cast_precision_loss, reason = "a batch is far smaller than 2^53")]
    fn draw_shared(&self, records: usize, bytes: usize) -> Duration {
        let Habits { adapts, one_by_one, .. } = self.habits;
        let theirs = self.endpoint.with(|state, now| {
            let shared = state.rate.as_mut().map(|rate| rate.draw(records, bytes, now));
            let requests = if one_by_one { records as f64 } else { 1.0 };
            shared.max(adapts.then(|| state.pace.draw(requests, now)))
        });
        theirs.unwrap_or_default()
    }

    /// Follows how often the target came back.
    pub(super) fn recoveries(&self) -> Follower {
        self.endpoint.recoveries()
    }

    /// What the target looks like now.
    pub(super) fn view(&self) -> EndpointView {
        self.endpoint.view()
    }
}

/// What an attempt says about its target.
#[derive(Debug, Default)]
struct Findings {
    delivered: usize,
    /// Something was answered, whether it was liked or not.
    answered: bool,
    /// No connection, no answer, or 5xx.
    down: bool,
    timed_out: bool,
    /// Refused for load.
    too_much: bool,
}

impl Findings {
    fn of(receipt: &Receipt) -> Self {
        let mut findings = Self::default();
        for outcome in receipt.outcomes() {
            let failure = match outcome {
                Outcome::Delivered => {
                    findings.delivered += 1;
                    continue;
                }
                Outcome::Unanswered => continue,
                Outcome::Failed(failure) => failure,
            };
            findings.add(failure);
        }
        findings.answered |= findings.delivered > 0;
        findings
    }

    fn add(&mut self, failure: &Failure) {
        match failure.class {
            FailureClass::Connect => self.down = true,
            FailureClass::Timeout => (self.down, self.timed_out) = (true, true),
            FailureClass::Status(status) => {
                self.too_much |= matches!(status, 429 | 503);
                let is_down = status >= 500 && failure.next != Next::Reject;
                self.down |= is_down;
                self.answered |= !is_down;
            }
            FailureClass::Unauthorised | FailureClass::Busy | FailureClass::Setup | FailureClass::Fenced => {
                self.answered = true;
            }
            FailureClass::TooLarge
            | FailureClass::Malformed
            | FailureClass::Script
            | FailureClass::Local
            | FailureClass::Broken => {}
        }
    }
}

impl Admitted {
    /// Learns from what came of the attempt of this number. What is refused again and again says
    /// something of the records: a key that its target does not take now must not slow down the others.
    pub(super) fn learn(self, receipt: &Receipt, number: u32) {
        let mut findings = Findings::of(receipt);
        findings.too_much &= number <= LOAD_ATTEMPTS_MAX;
        self.learn_from(&findings);
    }

    /// Learns from how it went to open the way. A way that is open does not prove that requests are answered, so a
    /// breaker that is open waits for a record to get through.
    pub(super) fn learn_opening(self, failure: Option<&Failure>) {
        let Some(failure) = failure else { return };
        let mut findings = Findings::default();
        findings.add(failure);
        findings.answered = false;
        self.learn_from(&findings);
    }

    fn learn_from(mut self, findings: &Findings) {
        if self.habits.adapts {
            self.adapt(findings);
        }
        let Some(limits) = self.habits.breaker else { return };
        if !findings.answered && !findings.down {
            // Nothing was learned; a probe is given up when this is dropped.
            return;
        }
        let down = (!findings.answered).then_some(limits);
        let change = self.endpoint.tell_breaker(self.is_probe, down);
        self.is_probe = false;
        let target = self.endpoint.name();
        match change {
            Change::None => {}
            Change::Opened => tracing::warn!(target_name = target, "the target is taken to be down, nobody tries it"),
            Change::Closed => tracing::info!(target_name = target, "the target answers again"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch is far smaller than 2^53")]
    fn adapt(&self, findings: &Findings) {
        let failed = usize::from(findings.too_much || findings.down || findings.delivered == 0);
        let requests = if self.habits.one_by_one { (findings.delivered + failed).max(1) } else { 1 };
        let taken = if self.habits.one_by_one { findings.delivered } else { usize::from(findings.delivered > 0) };
        let latency = self.begun.elapsed() / u32::try_from(requests).unwrap_or(u32::MAX);
        let (in_flight, comparable) = (self.in_flight, self.habits.one_by_one);
        self.endpoint.with(|state, now| {
            if taken > 0 {
                state.pace.taken(taken as f64, now);
            }
            if findings.too_much && state.pace.refused(now) {
                tracing::debug!(pace = state.pace.per_second(), "the target takes no more, the pace is lowered");
            }
            if findings.timed_out {
                state.concurrency.timed_out(in_flight, now);
            } else if findings.answered {
                state.concurrency.answered(latency, in_flight, comparable, now);
            }
        });
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.is_probe {
            self.endpoint.abandon_probe();
        }
    }
}
