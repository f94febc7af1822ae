//! Owns the settings of how much is sent to a target: rates, breaker, adaptation, and when standing still is reported.

use forebay_connector::settings::DurationMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much may be sent per second.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitSettings {
    /// At most so many records per second, from 0.001; left out, any number.
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    pub events_per_second: Option<f64>,
    /// At most so many bytes of events per second; left out, any number. An event that is larger goes out by itself, and
    /// what follows waits.
    #[schemars(range(min = 1.0, max = 1e12))]
    pub bytes_per_second: Option<f64>,
    /// The time whose allowance may be used at once after a rest; batches are cut to it.
    pub burst_ms: DurationMs,
    /// What all connectors of this server that send to the same host may send together. Of different numbers the smallest
    /// holds.
    pub target: TargetRateSettings,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self {
            events_per_second: None,
            bytes_per_second: None,
            burst_ms: DurationMs::millis(1000),
            target: TargetRateSettings::default(),
        }
    }
}

/// What all connectors that send to the same host may send together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRateSettings {
    /// At most so many records per second to this host, from 0.001.
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    pub events_per_second: Option<f64>,
    /// At most so many bytes of events per second to this host.
    #[schemars(range(min = 1.0, max = 1e12))]
    pub bytes_per_second: Option<f64>,
}

/// When a target is taken to be down, for all connectors of this server that send to the same host.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BreakerSettings {
    /// Whether this connector holds back, and is held back, when the target is down.
    pub enabled: bool,
    /// After so many failures in a row (no connection, no answer, 5xx) nobody tries the target.
    #[schemars(range(min = 1, max = 10_000))]
    pub failures: u32,
    /// After this time one record is tried; when it gets through, or is refused, everybody goes on.
    pub delay_ms: DurationMs,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { enabled: true, failures: 8, delay_ms: DurationMs::millis(5000) }
    }
}

/// Whether the load on a target follows what it can take.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AdaptiveSettings {
    /// Whether fewer lanes send, and at a slower pace, when the target answers 429 or 503, late or not at all; and more
    /// when it has room again.
    pub enabled: bool,
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// When standing still is reported.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchdogSettings {
    /// A connector that is behind and makes no progress for so long counts as stalled.
    pub stalled_after_ms: DurationMs,
}

impl Default for WatchdogSettings {
    fn default() -> Self {
        Self { stalled_after_ms: DurationMs::millis(60_000) }
    }
}
