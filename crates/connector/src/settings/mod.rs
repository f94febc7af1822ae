//! Owns settings: the flat map a user gives, its description, and the one decoder from the one to the other.

mod map;
mod secret;
mod values;
mod shape;
mod describe;
mod decode;
mod tracked;
mod errors;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use describe::{SettingDescription, ValueKind, check_known, describe};
pub use errors::{SettingError, SettingsErrors};
pub use map::SettingsMap;
pub use secret::{MASK, Secret};
pub use values::{Base64Text, DurationMs, Span, parse_duration};

/// A struct of settings: its fields' doc comments are the manual.
pub trait Settings: serde::de::DeserializeOwned + schemars::JsonSchema {}

impl<T: serde::de::DeserializeOwned + schemars::JsonSchema> Settings for T {}
