//! Owns the settings of running: checkpoints, final failures, restarts, logs, headers.

use std::time::Duration;

use forebay_connector::settings::DurationMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When the position is stored.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AutocommitSettings {
    /// Whether checkpoints are written at all. When not, every start begins at an older checkpoint or at the initial
    /// position.
    pub enabled: bool,
    /// A checkpoint is written at this interval (milliseconds, or a duration) if anything has changed.
    pub interval: DurationMs,
    /// A checkpoint is written after so many settled records, but not within 50 ms of the last one. After a crash comes
    /// again at most what was settled since the last checkpoint (this many records, or what was settled in 50 ms or
    /// while that checkpoint was being stored, if that is more), what was settled while the next one was being stored,
    /// and what was in flight.
    #[schemars(range(min = 1))]
    pub records_threshold: u32,
}

impl Default for AutocommitSettings {
    fn default() -> Self {
        Self { enabled: true, interval: DurationMs::millis(5000), records_threshold: 1000 }
    }
}

/// What happens after a failure that does not pass.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorSettings {
    /// When the target refuses a record for good, or retries are exhausted. `stop`: the connector fails and tries this
    /// record first when it is started again. `park`: the record and all later ones of its key are set aside, in order,
    /// and the other keys go on.
    pub on_reject: OnFailure,
    /// The same when the transform fails on a record.
    pub on_script_error: OnFailure,
    /// What happens after failures of one class, whatever else would: rows such as `status:409=skip,status:4xx=park`. A
    /// class is `connect`, `timeout`, `unauthorised` (401, 403 and 407), `malformed`, `too-large` (413), `script`,
    /// `local`, `busy`, `setup`, `broken`, a status such as `status:409`, or a range of them such as `status:4xx`; the
    /// most specific row holds, and where there is none, the kind's own table. `retry`: it is tried again. `park`: the record and its key are set aside. `skip`: the record is left out,
    /// and an event in the connector's `skipped` stream tells of it. `stop`: the connector fails.
    pub policy: Vec<String>,
}

/// What happens to a connector whose record cannot be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// It stops and says why.
    #[default]
    Stop,
    /// It sets the record aside and goes on.
    Park,
}

/// What happens after the connector has failed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartSettings {
    /// `never`: it stays stopped until somebody starts it. `onFailure`: it is started again after a delay.
    pub policy: RestartPolicy,
    /// The delay before the first restart.
    pub delay_ms: DurationMs,
    /// Each further restart waits twice as long, up to this.
    pub delay_max_ms: DurationMs,
    /// At most so many restarts in a row, -1 for no limit.
    #[schemars(range(min = -1))]
    pub max_restarts: i64,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Never,
            delay_ms: DurationMs::millis(10_000),
            delay_max_ms: DurationMs::millis(600_000),
            max_restarts: -1,
        }
    }
}

impl RestartSettings {
    /// How long to wait before the restart of this number in a row, counted from 0; none when it is not to be restarted.
    pub fn delay(&self, restarts_in_a_row: u32) -> Option<Duration> {
        if self.policy == RestartPolicy::Never {
            return None;
        }
        if u32::try_from(self.max_restarts).is_ok_and(|most| restarts_in_a_row >= most) {
            return None;
        }
        let factor = 1u32.checked_shl(restarts_in_a_row).unwrap_or(u32::MAX);
        Some(self.delay_ms.0.saturating_mul(factor).min(self.delay_max_ms.0.max(self.delay_ms.0)))
    }
}

/// Whether a failed connector is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RestartPolicy {
    /// Only by a person.
    #[default]
    Never,
    /// By itself.
    OnFailure,
}

/// What the connector logs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoggingSettings {
    /// Whether starts, retries, failures and stops of this connector are logged.
    pub enabled: bool,
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Which metadata goes along with a record.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderSettings {
    /// Whether metadata keys that begin with `$` are left out of the headers.
    pub ignore_system: bool,
}

impl Default for HeaderSettings {
    fn default() -> Self {
        Self { ignore_system: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_each_time_up_to_the_bound() {
        let mut restart = RestartSettings { policy: RestartPolicy::OnFailure, ..RestartSettings::default() };
        let waits = |settings: &RestartSettings, number| settings.delay(number).map(|delay| delay.as_secs());
        assert_eq!([0, 1, 2, 9, 40].map(|n| waits(&restart, n)), [10, 20, 40, 600, 600].map(Some));
        restart.max_restarts = 2;
        assert_eq!([1, 2].map(|n| waits(&restart, n)), [Some(20), None]);
        assert_eq!(RestartSettings::default().delay(0), None);
    }
}
