//! Owns how long to wait before the next attempt, and when to give up.

use std::time::Duration;

use crate::settings::ResilienceSettings;

/// A target that asks for no delay at all still gets this much.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// The three phases, as settings have them.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    enabled: bool,
    phases: [Phase; 3],
    retries_max: Option<u64>,
    jitter: f64,
    retry_after_max: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Phase {
    delay: Duration,
    /// Since the first failure; none for never.
    end: Option<Duration>,
}

/// A failure and what came before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streak {
    /// Time since the first failure of this streak.
    pub(super) elapsed: Duration,
    /// Attempts that failed, this one among them; at least 1.
    pub(super) attempts: u32,
    /// The delay that the target asked for.
    pub(super) after: Option<Duration>,
    /// What jitter is drawn from: the same number gives the same delay.
    pub(super) seed: u64,
}

impl Backoff {
    pub(super) fn new(settings: &ResilienceSettings) -> Self {
        let phases = settings.phases_ms().map(|(delay_ms, limit_ms)| Phase {
            delay: millis(delay_ms),
            end: (limit_ms >= 0.0).then(|| millis(limit_ms)),
        });
        Self {
            enabled: settings.enabled,
            phases,
            retries_max: u64::try_from(settings.max_retries).ok(),
            jitter: settings.jitter,
            retry_after_max: settings.retry_after_max_ms.0,
        }
    }

    /// The time to wait before the next attempt; none when the failure is final.
    pub(super) fn delay(&self, streak: Streak) -> Option<Duration> {
        if !self.enabled || self.retries_max.is_some_and(|most| u64::from(streak.attempts) > most) {
            return None;
        }
        let phase = self.phases.iter().find(|phase| phase.end.is_none_or(|end| streak.elapsed < end))?;
        match streak.after {
            Some(after) => Some(after.min(self.retry_after_max).max(RETRY_AFTER_MIN)),
            None => Some(phase.delay.mul_f64(1.0 - self.jitter * unit(streak.seed))),
        }
    }
}

fn millis(number: f64) -> Duration {
    Duration::try_from_secs_f64(number / 1000.0).unwrap_or(Duration::MAX)
}

/// A number from 0 to 1 that looks drawn by chance.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn unit(seed: u64) -> f64 {
    (super::key::mix(seed) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ResilienceSettings {
        ResilienceSettings::default()
    }

    fn at(seconds: u64) -> Streak {
        Streak { elapsed: Duration::from_secs(seconds), attempts: 1, after: None, seed: 7 }
    }

    fn seconds(backoff: &Backoff, streak: Streak) -> Option<u64> {
        backoff.delay(streak).map(|delay| delay.as_secs())
    }

    #[test]
    fn phases_end_by_the_time_since_the_first_failure() {
        let backoff = Backoff::new(&settings());
        let delays = [0, 59, 60, 3599, 3600, 1_000_000].map(|elapsed| seconds(&backoff, at(elapsed)));
        assert_eq!(delays, [5, 5, 600, 600, 3600, 3600].map(Some));
    }

    #[test]
    fn a_finite_third_phase_ends() {
        let mut settings = settings();
        settings.third_delay_bound.upper_limit_ms = Some(7_200_000.0);
        let backoff = Backoff::new(&settings);
        assert_eq!([7199, 7200].map(|elapsed| seconds(&backoff, at(elapsed))), [Some(3600), None]);
    }

    #[test]
    fn retries_are_counted_when_bounded() {
        let backoff = Backoff::new(&ResilienceSettings { max_retries: 2, ..settings() });
        let delays = [1, 2, 3].map(|attempts| seconds(&backoff, Streak { attempts, ..at(0) }));
        assert_eq!(delays, [Some(5), Some(5), None]);
        let off = Backoff::new(&ResilienceSettings { enabled: false, ..settings() });
        assert_eq!(off.delay(at(0)), None);
    }

    #[test]
    fn wishes_of_the_target_are_obeyed_within_bounds() {
        let backoff = Backoff::new(&settings());
        let wish = |wanted| backoff.delay(Streak { after: Some(wanted), ..at(0) });
        assert_eq!(wish(Duration::from_secs(17)), Some(Duration::from_secs(17)));
        assert_eq!(wish(Duration::ZERO), Some(RETRY_AFTER_MIN));
        assert_eq!(wish(Duration::from_secs(1 << 30)), Some(Duration::from_secs(3600)));
    }

    #[test]
    fn jitter_only_shortens_and_repeats_for_the_same_seed() {
        let backoff = Backoff::new(&ResilienceSettings { jitter: 0.5, ..settings() });
        for seed in 0..1000 {
            let delay = backoff.delay(Streak { seed, ..at(0) }).unwrap();
            assert!(delay >= Duration::from_millis(2500) && delay <= Duration::from_secs(5), "{delay:?}");
            assert_eq!(backoff.delay(Streak { seed, ..at(0) }), Some(delay));
        }
    }
}
