//! Owns the targets that read settings.

use forebay_connector::settings::{SettingsMap, decode};
use forebay_runtime::pipeline::Plan;
use forebay_runtime::settings::{ConnectorSettings, shared_descriptions};
use serde_json::Value;

use super::sample::text;

/// Settings, one `key=value` a line: decoded, masked, nested and flattened, and made into a plan.
pub fn settings(bytes: &[u8]) {
    let text = text(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let map = SettingsMap::from_flat(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    check(&map);
}

/// Settings as JSON, flat and nested.
pub fn settings_json(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    if let Ok(map) = SettingsMap::from_nested(&value) {
        check(&map);
    }
    if let Some(Ok(map)) = value.as_object().map(SettingsMap::from_flat_json) {
        check(&map);
    }
    if let Some(map) = forebay_api::testing::settings_body(bytes) {
        check(&map);
    }
}

fn check(map: &SettingsMap) {
    let described = shared_descriptions();
    drop(decode::<ConnectorSettings>(map).map_err(|error| error.to_string()));
    let nested = map.to_nested(&described);
    if let Ok(back) = SettingsMap::from_nested(&nested) {
        assert_eq!(back.to_nested(&described), nested, "settings change when they are nested a second time");
    }
    let masked = map.masked(&described);
    assert_eq!(masked.iter().count(), map.iter().count(), "masking loses keys");
    // A script takes a thread and may take its time: it has a target of its own.
    if map.iter().all(|(key, _)| !key.to_ascii_lowercase().starts_with("transformer")) {
        drop(Plan::build("sample", map, &forebay_sinks::catalog()).map_err(|error| error.to_string()));
    }
}
