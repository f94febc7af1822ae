//! Owns the settings that all connectors share: subscription, filter, transform, order, batches, resilience, checkpoint.

mod connector;
mod subscription;
mod order;
mod transformer;
mod resilience;
mod flow;
mod operation;
mod parking;

pub use connector::{ConnectorSettings, shared_descriptions};
pub use flow::{AdaptiveSettings, BreakerSettings, RateLimitSettings, TargetRateSettings, WatchdogSettings};
pub use operation::{
    AutocommitSettings, ErrorSettings, HeaderSettings, LoggingSettings, OnFailure, RestartPolicy, RestartSettings,
};
pub use order::{BatchSettings, LANES_MAX, Ordering, SHARDS_MAX};
pub use parking::ParkingSettings;
pub use resilience::{DelayBound, ResilienceSettings};
pub(crate) use subscription::node_labels;
pub use subscription::{FilterScope, FilterSettings, FilterType, InitialPosition, NodeAffinity, SubscriptionSettings};
pub use transformer::{EXECUTION_TIMEOUT_DEFAULT_MS, TransformerSettings};
