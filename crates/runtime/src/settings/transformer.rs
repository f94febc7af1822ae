//! Owns the settings of the transform.

use forebay_connector::settings::DurationMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The time a script may take for one record unless set, in milliseconds.
pub const EXECUTION_TIMEOUT_DEFAULT_MS: u64 = 3000;

/// The user's function that reshapes records.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TransformerSettings {
    /// Whether the function is used.
    pub enabled: bool,
    /// JavaScript that defines `function transform(record)`: plain text, or base64 of UTF-8. The function changes the
    /// record in place or returns one; `null` drops it. Events that are not JSON pass untouched.
    pub function: String,
    /// How long the function may take for one record, at least 1 ms.
    pub execution_timeout_ms: DurationMs,
}

impl Default for TransformerSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            function: String::new(),
            execution_timeout_ms: DurationMs::millis(EXECUTION_TIMEOUT_DEFAULT_MS),
        }
    }
}
