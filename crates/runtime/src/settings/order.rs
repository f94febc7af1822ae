//! Owns the settings of order and batches.

use forebay_connector::settings::DurationMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most lanes a connector can have.
pub const LANES_MAX: u32 = 256;

/// The most shards a connector can have.
pub const SHARDS_MAX: u32 = 64;

const BATCH_BYTES_DEFAULT: u32 = 4 << 20;

/// What records must have in common to be delivered in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Ordering {
    /// Nothing: all records are in one order.
    #[default]
    All,
    /// The stream.
    Stream,
    /// The stream's category.
    Category,
    /// A metadata field.
    Header,
    /// A value in the record.
    JsonPath,
}

impl Ordering {
    /// The word in settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Stream => "stream",
            Self::Category => "category",
            Self::Header => "header",
            Self::JsonPath => "jsonPath",
        }
    }
}

/// How many records are delivered at once.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchSettings {
    /// At most so many records in a batch, from 1 to 10000; left out, what suits the kind.
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_size: Option<u32>,
    /// A batch ends at the record that reaches so many bytes; from 1 to 67108864.
    #[schemars(range(min = 1, max = 67_108_864))]
    pub batch_bytes: u32,
    /// How long a batch waits to be filled. With 0 it takes what is there; while one batch is on its way the next
    /// gathers anyway.
    pub batch_timeout_ms: DurationMs,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { batch_size: None, batch_bytes: BATCH_BYTES_DEFAULT, batch_timeout_ms: DurationMs::millis(0) }
    }
}
