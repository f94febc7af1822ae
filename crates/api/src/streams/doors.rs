//! Owns the door for fuzzing: the bodies of appends.

use forebay_event::ProposedEvent;

/// The events of an array body; none when it is refused.
pub fn append_array(body: &[u8]) -> Option<Vec<ProposedEvent>> {
    super::append::array(body).ok()
}

/// The events of a plain body; none when it is refused.
pub fn append_plain(body: &[u8]) -> Option<Vec<ProposedEvent>> {
    super::append_plain::read(body).ok().map(|(_, events)| events)
}
