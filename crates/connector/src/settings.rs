//! Owns settings: the flat map a user gives, its description, and the one decoder from the one to the other.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What a user gives a connector: keys with `:` between levels, such as `subscription:filter:scope`, and text values.
///
/// Keys are kept as given and compared without regard to case. A key that begins with `_` (at any level) is a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsMap {
    entries: BTreeMap<String, String>,
}

impl SettingsMap {
    /// Takes a flat map as it is.
    pub fn from_flat(entries: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { entries: entries.into_iter().collect() }
    }

    /// The value of a key, whatever the case of its letters.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }

    /// All entries, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// One key that a struct of settings knows: what the reference page, `describe`, the form and the schema show.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingDescription {
    /// The key, such as `authentication:basic:password`; `defaultHeaders:*` stands for any name at that place.
    pub key: String,
    /// What a value looks like, for a person: `text`, `true or false`, `whole number`, `duration`, or the allowed words.
    pub expected: String,
    /// The value that holds when the key is absent, as text.
    pub default: Option<String>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is never shown again.
    pub secret: bool,
    /// The allowed words, if the value is one of a list.
    pub words: Vec<String>,
    /// The manual: meaning, unit, bounds.
    pub doc: String,
}

/// A struct of settings: its fields' doc comments are the manual.
pub trait Settings: DeserializeOwned + JsonSchema {}

impl<T: DeserializeOwned + JsonSchema> Settings for T {}

/// A value that is never printed, logged or answered.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting {key} {found}: expected {expected}")]
pub struct SettingError {
    /// The key, as the user gave it.
    pub key: String,
    /// What was found: `is "abc"`, `is missing`, `is not known`; secrets are not shown.
    pub found: String,
    /// What is expected there; for an unknown key the nearest that is known.
    pub expected: String,
}

/// All settings that are wrong, found in one pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SettingsErrors {
    /// At least one.
    pub errors: Vec<SettingError>,
}
