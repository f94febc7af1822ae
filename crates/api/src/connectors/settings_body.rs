//! Owns reading a connector's settings from a body: flat or nested, wrapped or bare.

use forebay_connector::settings::SettingsMap;
use serde_json::{Map, Value};

use crate::request::json;
use crate::status::Refusal;

/// Reads a body that must be a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    json(body)
}

/// Settings as a flat map; if a value is itself an object or array, all are taken as nested.
pub(super) fn settings(value: &Value) -> Result<SettingsMap, Refusal> {
    let Value::Object(object) = value else {
        return Err(Refusal::field("settings", "settings is not an object: expected keys with text values"));
    };
    let nested = object.values().any(|value| value.is_object() || value.is_array());
    let read = if nested { SettingsMap::from_nested(value) } else { SettingsMap::from_flat_json(object) };
    read.map_err(Refusal::from)
}

/// The settings of a body that wraps them in `settings` or `configuration`, or is them.
///
/// A configuration that is not empty wins over settings. `others` are the members that stand beside them.
pub(super) fn wrapped(object: &Map<String, Value>, others: &[&str]) -> Result<SettingsMap, Refusal> {
    let (flat, nested) = (member(object, "settings"), member(object, "configuration"));
    if flat.is_none() && nested.is_none() {
        let mut bare = object.clone();
        bare.retain(|key, _| !others.iter().any(|other| key.eq_ignore_ascii_case(other)));
        return settings(&Value::Object(bare));
    }
    let names: Vec<_> = ["settings", "configuration"].iter().chain(others).copied().collect();
    if let Some(key) = object.keys().find(|key| !names.iter().any(|name| key.eq_ignore_ascii_case(name))) {
        return Err(Refusal::field(key, format!("{key} is not known: expected one of {}", names.join(", "))));
    }
    match (nested.filter(|value| value.as_object().is_none_or(|object| !object.is_empty())), flat) {
        (Some(nested), _) => SettingsMap::from_nested(nested).map_err(Refusal::from),
        (None, Some(flat)) => settings(flat),
        (None, None) => Ok(SettingsMap::default()),
    }
}

/// A member whatever the case of its letters; null counts as absent.
pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .filter(|value| !value.is_null())
}

/// A text member, if given.
pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match member(object, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Refusal::field(name, format!("{name} is {other}: expected a text"))),
    }
}

/// A whole number member, if given; a text that holds one counts.
pub(super) fn number(object: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(found) = member(object, name) else { return Ok(None) };
    let number = found.as_u64().or_else(|| found.as_str().and_then(|text| text.parse().ok()));
    number
        .map(Some)
        .ok_or_else(|| Refusal::field(name, format!("{name} is {found}: expected a whole number, not negative")))
}
