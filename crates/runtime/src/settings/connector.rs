//! Owns the whole of the settings that all connectors share.

use forebay_connector::settings::{SettingDescription, describe};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    AdaptiveSettings, AutocommitSettings, BatchSettings, BreakerSettings, ErrorSettings, HeaderSettings, LANES_MAX,
    LoggingSettings, Ordering, ParkingSettings, RateLimitSettings, ResilienceSettings, RestartSettings,
    SubscriptionSettings, TransformerSettings, WatchdogSettings,
};

/// What every connector can be told, whatever its kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorSettings {
    /// The kind of the connector, such as `http-sink`.
    pub instance_type_name: String,
    /// Which events are read, and from where.
    #[serde(default)]
    pub subscription: SubscriptionSettings,
    /// The user's function that reshapes records.
    #[serde(default)]
    pub transformer: TransformerSettings,
    /// Which records are delivered in the order of the log. `all`: all of them, one after the other. `stream`: those of
    /// one stream. `category`: those of all streams with the same text before the first `-`. `header`: those with the
    /// same value of a metadata field. `jsonPath`: those with the same value at a place of the record. Records without
    /// the field or the place share one key.
    #[serde(default)]
    pub ordering: Ordering,
    /// The name of the metadata field when `ordering` is `header`, the expression when it is `jsonPath`.
    #[serde(default)]
    pub ordering_key: String,
    /// How many batches may be on their way at once, each for other keys; from 1 to 256. 1 when `ordering` is `all`,
    /// otherwise 16 unless set.
    #[schemars(range(min = 1, max = LANES_MAX))]
    pub lanes: Option<u32>,
    /// How many records are delivered at once.
    #[serde(default)]
    pub batching: BatchSettings,
    /// What happens after a failure that may pass.
    #[serde(default)]
    pub resilience: ResilienceSettings,
    /// What happens after a failure that does not pass.
    #[serde(default)]
    pub errors: ErrorSettings,
    /// How much may be sent per second.
    #[serde(default)]
    pub rate_limit: RateLimitSettings,
    /// When the target is taken to be down.
    #[serde(default)]
    pub breaker: BreakerSettings,
    /// Whether the load follows what the target can take.
    #[serde(default)]
    pub adaptive: AdaptiveSettings,
    /// When standing still is reported.
    #[serde(default)]
    pub watchdog: WatchdogSettings,
    /// How much may be set aside.
    #[serde(default)]
    pub parking: ParkingSettings,
    /// When the position is stored.
    #[serde(default)]
    pub autocommit: AutocommitSettings,
    /// What happens after the connector has failed.
    #[serde(default)]
    pub restart: RestartSettings,
    /// What the connector logs.
    #[serde(default)]
    pub logging: LoggingSettings,
    /// Which metadata goes along with a record.
    #[serde(default)]
    pub headers: HeaderSettings,
}

impl ConnectorSettings {
    /// Every default, keyed by stream: what is left of settings that cannot be read any more.
    pub(crate) fn of_nothing() -> Self {
        Self {
            instance_type_name: String::new(),
            subscription: SubscriptionSettings::default(),
            transformer: TransformerSettings::default(),
            ordering: Ordering::Stream,
            ordering_key: String::new(),
            lanes: None,
            batching: BatchSettings::default(),
            resilience: ResilienceSettings::default(),
            errors: ErrorSettings::default(),
            rate_limit: RateLimitSettings::default(),
            breaker: BreakerSettings::default(),
            adaptive: AdaptiveSettings::default(),
            watchdog: WatchdogSettings::default(),
            parking: ParkingSettings::default(),
            autocommit: AutocommitSettings::default(),
            restart: RestartSettings::default(),
            logging: LoggingSettings::default(),
            headers: HeaderSettings::default(),
        }
    }
}

/// Describes every key that all connectors share, in the order of the way of a record.
pub fn shared_descriptions() -> Vec<SettingDescription> {
    describe::<ConnectorSettings>()
}
