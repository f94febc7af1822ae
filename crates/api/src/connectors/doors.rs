//! Owns the door for fuzzing: the bodies of commands to connectors.

use forebay_connector::settings::SettingsMap;

use super::preview_settings::PreviewConnector;
use super::settings_body::{object, wrapped};

/// The settings that a body gives: as a create command, else in the preview's older words; none when both refuse it.
pub fn settings_body(body: &[u8]) -> Option<SettingsMap> {
    let object = object(body).ok()?;
    if let Ok(settings) = wrapped(&object, &["name"]) {
        return Some(settings);
    }
    PreviewConnector::read(object).and_then(|preview| preview.to_settings()).ok()
}
