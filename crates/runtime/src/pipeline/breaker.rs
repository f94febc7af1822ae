//! Owns the circuit breaker of one target: whether anybody may try it, and who asks first whether it is back.
//!
//! ```text
//!            failures in a row reach the bound
//!   closed ──────────────────────────────────────▶ open
//!     ▲  ▲                                        │  ▲
//!     │  └──── an answer to an earlier attempt ───┤  │ the probe failed
//!     │                              time is over ▼  │
//!     └──────────────── the probe was answered ── half-open: one attempt, of a real record
//! ```
//!
//! It is a plain state machine: time is handed in, and nothing here waits.

use std::time::Duration;

use tokio::time::Instant;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerLimits {
    /// Failures in a row, of all connectors that use the target, that open it; at least 1.
    pub(super) failures: u32,
    /// How long it stays open until one attempt is let through.
    pub(super) delay: Duration,
}

/// What a breaker does with attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets them through.
    #[default]
    Closed,
    /// Lets one through, to see whether the target is back.
    HalfOpen,
    /// Holds them all back: the target is taken to be down.
    Open,
}

impl BreakerState {
    /// The word in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "halfOpen",
            Self::Open => "open",
        }
    }
}

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It may.
    Go,
    /// It may, and decides whether the target is back. Its end must be told.
    Probe,
    /// Not before this time.
    NotBefore(Instant),
    /// Not before another attempt, the probe, is answered.
    AfterProbe,
}

/// What an attempt, or its answer, changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The target is taken to be down from now on.
    Opened,
    /// The target is back.
    Closed,
}

/// The breaker of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen => BreakerState::HalfOpen,
        }
    }

    /// Asks to make an attempt.
    pub(super) fn pass(&mut self, now: Instant) -> Pass {
        match self.state {
            State::Closed { .. } => Pass::Go,
            State::Open { until } if now < until => Pass::NotBefore(until),
            State::Open { .. } => {
                self.state = State::HalfOpen;
                Pass::Probe
            }
            State::HalfOpen => Pass::AfterProbe,
        }
    }

    /// The target answered an attempt, whatever it thought of the records: it is there.
    pub(super) fn answered(&mut self) -> Change {
        let was_closed = matches!(self.state, State::Closed { .. });
        self.state = State::default();
        if was_closed { Change::None } else { Change::Closed }
    }

    /// An attempt found the target down.
    pub(super) fn failed(&mut self, now: Instant, was_probe: bool, limits: BreakerLimits) -> Change {
        let failures = match self.state {
            State::Closed { failures } => failures.saturating_add(1),
            State::HalfOpen if was_probe => limits.failures,
            // An attempt that began before it opened tells nothing new.
            State::Open { .. } | State::HalfOpen => return Change::None,
        };
        if failures < limits.failures {
            self.state = State::Closed { failures };
            return Change::None;
        }
        self.state = State::Open { until: now + limits.delay };
        Change::Opened
    }

    /// The probe ended without telling anything: the next attempt takes its place.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if matches!(self.state, State::HalfOpen) {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    const LIMITS: BreakerLimits = BreakerLimits { failures: 3, delay: Duration::from_secs(5) };

    #[test]
    fn it_opens_after_failures_in_a_row_and_one_probe_closes_it() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..2 {
            assert_eq!(breaker.failed(start, false, LIMITS), Change::None);
        }
        assert_eq!(breaker.answered(), Change::None);
        let changes = [0; 3].map(|_| breaker.failed(start, false, LIMITS));
        assert_eq!(changes, [Change::None, Change::None, Change::Opened]);
        let until = start + LIMITS.delay;
        assert_eq!(breaker.pass(start), Pass::NotBefore(until));
        assert_eq!(breaker.failed(start, false, LIMITS), Change::None, "late failures do not prolong it");
        assert_eq!((breaker.pass(until), breaker.pass(until)), (Pass::Probe, Pass::AfterProbe));
        assert_eq!(breaker.failed(until, false, LIMITS), Change::None, "only the probe decides");
        assert_eq!(breaker.failed(until, true, LIMITS), Change::Opened);
        let later = until + LIMITS.delay;
        assert_eq!(breaker.pass(later), Pass::Probe);
        breaker.abandoned(later);
        assert_eq!(breaker.pass(later), Pass::Probe);
        assert_eq!(breaker.answered(), Change::Closed);
        assert_eq!(breaker.pass(later), Pass::Go);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Elapse(u16),
        Begin,
        Answer(u8),
        Fail(u8),
        Abandon(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..7_000_u16).prop_map(Step::Elapse),
            any::<()>().prop_map(|()| Step::Begin),
            any::<u8>().prop_map(Step::Answer),
            any::<u8>().prop_map(Step::Fail),
            any::<u8>().prop_map(Step::Fail),
            any::<u8>().prop_map(Step::Abandon),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Whatever attempts begin and end in whatever order: while it is open nobody passes, one probe at most is on its
        /// way, failures in a row open it, an answer closes it, and it never stays shut for good.
        #[test]
        fn it_keeps_its_promises(steps in steps()) {
            let mut breaker = Breaker::default();
            let mut now = Instant::now();
            // Attempts on their way: whether each is the probe. And the model.
            let mut attempts: Vec<bool> = Vec::new();
            let (mut in_a_row, mut open_until) = (0_u32, None::<Instant>);
            for step in steps {
                let take = |attempts: &mut Vec<bool>, which: u8| {
                    (!attempts.is_empty()).then(|| attempts.swap_remove(usize::from(which) % attempts.len()))
                };
                match step {
                    Step::Elapse(ms) => now += Duration::from_millis(u64::from(ms)),
                    Step::Begin => {
                        let probing = attempts.contains(&true);
                        match (breaker.pass(now), open_until) {
                            (Pass::Go, None) => attempts.push(false),
                            (Pass::Probe, Some(until)) => {
                                assert!(now >= until && !probing);
                                attempts.push(true);
                            }
                            (Pass::NotBefore(at), Some(until)) => assert!(now < until && at == until),
                            (Pass::AfterProbe, Some(_)) => assert!(probing),
                            other => panic!("{other:?}"),
                        }
                    }
                    Step::Answer(which) => if take(&mut attempts, which).is_some() {
                        let change = breaker.answered();
                        assert_eq!(change, if open_until.is_some() { Change::Closed } else { Change::None });
                        (in_a_row, open_until) = (0, None);
                        // A probe that is still out counts as an attempt like any other from now on.
                        attempts.iter_mut().for_each(|probe| *probe = false);
                    },
                    Step::Fail(which) => if let Some(was_probe) = take(&mut attempts, which) {
                        let change = breaker.failed(now, was_probe, LIMITS);
                        in_a_row = if open_until.is_none() { in_a_row + 1 } else { in_a_row };
                        let opens = was_probe || (open_until.is_none() && in_a_row >= LIMITS.failures);
                        assert_eq!(change, if opens { Change::Opened } else { Change::None });
                        if opens {
                            open_until = Some(now + LIMITS.delay);
                        }
                    },
                    Step::Abandon(which) => if let Some(was_probe) = take(&mut attempts, which) && was_probe {
                        breaker.abandoned(now);
                        open_until = Some(now);
                    },
                }
                assert_eq!(breaker.state(now) == BreakerState::Closed, open_until.is_none());
            }
            // Liveness: when all attempts have ended, the next one passes as soon as the time is over.
            for was_probe in attempts {
                if was_probe {
                    breaker.abandoned(now);
                }
            }
            assert!(matches!(breaker.pass(now + LIMITS.delay), Pass::Go | Pass::Probe));
        }
    }
}
