//! Owns when a failed connector is started again: never, or after a growing delay, by its settings.

use std::time::Duration;

use forebay_connector::settings::{DurationMs, SettingsMap, decode};
use schemars::JsonSchema;
use serde::Deserialize;

/// The keys of restarting; every connector has them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Restart {
    /// What happens after the connector has failed.
    restart: RestartKeys,
}

/// What happens after the connector has failed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct RestartKeys {
    /// `never` or `onFailure`.
    policy: Policy,
    /// The delay before the first restart.
    delay_ms: DurationMs,
    /// Each further restart waits twice as long, up to this.
    delay_max_ms: DurationMs,
    /// At most so many restarts in a row, -1 for no limit.
    max_restarts: i64,
}

impl Default for RestartKeys {
    fn default() -> Self {
        Self {
            policy: Policy::Never,
            delay_ms: DurationMs::millis(10_000),
            delay_max_ms: DurationMs::millis(600_000),
            max_restarts: -1,
        }
    }
}

/// Whether a failed connector is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Policy {
    /// Only by a person.
    #[default]
    Never,
    /// By itself.
    OnFailure,
}

/// How long to wait after so many failures in a row; none when it stays failed. Settings that cannot be read mean never.
pub(crate) fn delay(settings: &SettingsMap, failures: u32) -> Option<Duration> {
    let restart = decode::<Restart>(settings).ok()?.restart;
    let limit = u32::try_from(restart.max_restarts).unwrap_or(u32::MAX);
    if restart.policy == Policy::Never || failures > limit {
        return None;
    }
    let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let (first, most) = (restart.delay_ms.0, restart.delay_max_ms.0);
    Some(first.saturating_mul(factor).min(most.max(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_end_at_the_limit() {
        let map = |entries: &[(&str, &str)]| {
            SettingsMap::from_flat(entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
        };
        assert_eq!(delay(&map(&[("instanceTypeName", "x")]), 1), None);
        let settings = map(&[
            ("restart:policy", "onFailure"),
            ("restart:delayMs", "100"),
            ("restart:delayMaxMs", "300"),
            ("restart:maxRestarts", "3"),
        ]);
        let waits = [1, 2, 3, 4].map(|failures| delay(&settings, failures).map(|delay| delay.as_millis()));
        assert_eq!(waits, [Some(100), Some(200), Some(300), None]);
        assert_eq!(delay(&map(&[("restart:policy", "onfailure")]), 40), Some(Duration::from_secs(600)));
    }
}
