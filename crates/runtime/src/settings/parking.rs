//! Owns the settings of parking: how much a connector may set aside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const KEYS_DEFAULT: u32 = 1_000;
const BYTES_DEFAULT: u64 = 64 << 20;

/// How much a connector may set aside. One that would need more stops and says so.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ParkingSettings {
    /// At most so many keys may be parked; from 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keys_max: u32,
    /// At most so many bytes may be parked: data, metadata, what a transform made of them, and 512 bytes for each
    /// record; from 1 to 4294967296.
    #[schemars(range(min = 1, max = 4_294_967_296_u64))]
    pub bytes_max: u64,
}

impl Default for ParkingSettings {
    fn default() -> Self {
        Self { keys_max: KEYS_DEFAULT, bytes_max: BYTES_DEFAULT }
    }
}
