//! Owns the door for fuzzing: what a pipeline reads from outside, given as bytes.

use forebay_connector::settings::SettingsErrors;
use forebay_event::{RecordedEvent, Timestamp};

use super::checkpoint::Checkpoint;
use super::filter::Filter;
use super::view::EventView;
use crate::settings::FilterSettings;

/// The data of a checkpoint as a later run writes it again; none when it is not one.
pub fn rewritten_checkpoint(data: &[u8]) -> Option<Vec<u8>> {
    Checkpoint::from_data(data).map(|checkpoint| checkpoint.to_data("sample", Timestamp::default()))
}

/// Whether a filter keeps each of these events.
pub fn kept(settings: &FilterSettings, events: &[RecordedEvent]) -> Result<Vec<bool>, SettingsErrors> {
    let filter = Filter::new(settings)?;
    Ok(events.iter().map(|event| filter.keeps(&mut EventView::new(event))).collect())
}
