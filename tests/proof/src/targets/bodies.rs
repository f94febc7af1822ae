//! Owns the targets that read the bodies of requests to the server.

use forebay_api::testing::{append_array, append_plain};
use forebay_api::{FileFormat, parse_connector_file};
use forebay_event::ProposedEvent;
use forebay_runtime::management::doors::read_declared;

use super::sample::text;

/// An append as a JSON array of events.
pub fn http_append(bytes: &[u8]) {
    if let Some(events) = append_array(bytes) {
        check(&events);
    }
}

/// An append in the plain form.
pub fn http_append_plain(bytes: &[u8]) {
    if let Some(events) = append_plain(bytes) {
        check(&events);
    }
}

fn check(events: &[ProposedEvent]) {
    assert!(!events.is_empty(), "an append of no events is refused");
    for event in events {
        assert!(!event.event_type.is_empty() && !event.id.is_nil());
    }
}

/// A connector file: a byte for its form, then its text.
pub fn connector_file(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let formats = [FileFormat::Yaml, FileFormat::Json, FileFormat::Toml];
    let format = formats.get(usize::from(first % 3)).copied().unwrap_or(FileFormat::Yaml);
    if let Ok(file) = parse_connector_file(&text(rest), format) {
        drop(read_declared(&file).map_err(|error| error.to_string()));
    }
}
