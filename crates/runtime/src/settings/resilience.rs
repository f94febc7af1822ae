//! Owns the settings of what happens after a failure that may pass.

use forebay_connector::settings::DurationMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens after a failure that may pass: three phases, told apart by the time since the first failure.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResilienceSettings {
    /// Whether failures are retried. When not, the first failure is final.
    pub enabled: bool,
    /// The first phase: short delays.
    pub first_delay_bound: DelayBound,
    /// The second phase: longer delays.
    pub second_delay_bound: DelayBound,
    /// The third phase: for ever, unless its limit is set.
    pub third_delay_bound: DelayBound,
    /// At most so many retries of one record, -1 for no limit. The failure after the last one is final.
    #[schemars(range(min = -1))]
    pub max_retries: i64,
    /// The part of a delay that is left to chance, from 0 to 1: with 0.2 a delay is between 80 % and 100 % of what it
    /// would be.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: f64,
    /// The longest time a target may ask us to wait (`Retry-After`); longer wishes are cut to it.
    pub retry_after_max_ms: DurationMs,
}

impl Default for ResilienceSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            first_delay_bound: PHASES_DEFAULT[0],
            second_delay_bound: PHASES_DEFAULT[1],
            third_delay_bound: PHASES_DEFAULT[2],
            max_retries: -1,
            jitter: 0.0,
            retry_after_max_ms: DurationMs::millis(3_600_000),
        }
    }
}

/// The documented phases: 5 s up to a minute, 10 min up to an hour, then 1 h for ever.
const PHASES_DEFAULT: [DelayBound; 3] =
    [DelayBound::of(5_000.0, 60_000.0), DelayBound::of(600_000.0, 3_600_000.0), DelayBound::of(3_600_000.0, -1.0)];

impl ResilienceSettings {
    /// The delay of each phase and its end since the first failure, both in milliseconds; a negative end is never.
    pub fn phases_ms(&self) -> [(f64, f64); 3] {
        let given = [self.first_delay_bound, self.second_delay_bound, self.third_delay_bound];
        let mut phases = PHASES_DEFAULT;
        for (phase, given) in phases.iter_mut().zip(given) {
            phase.delay_ms = given.delay_ms.or(phase.delay_ms);
            phase.upper_limit_ms = given.upper_limit_ms.or(phase.upper_limit_ms);
        }
        phases.map(|phase| (phase.delay_ms.unwrap_or_default(), phase.upper_limit_ms.unwrap_or_default()))
    }
}

/// One phase of retries.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DelayBound {
    /// The time between two attempts, in milliseconds; at least 1.
    #[schemars(range(min = 1.0))]
    pub delay_ms: Option<f64>,
    /// The phase ends so many milliseconds after the first failure; -1 for never.
    #[schemars(range(min = -1.0))]
    pub upper_limit_ms: Option<f64>,
}

impl DelayBound {
    const fn of(delay_ms: f64, upper_limit_ms: f64) -> Self {
        Self { delay_ms: Some(delay_ms), upper_limit_ms: Some(upper_limit_ms) }
    }
}
