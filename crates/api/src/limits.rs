//! Owns the bounds that the store sets and the API must know beforehand.

/// What one append may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendLimits {
    /// Events of one append together, in bytes (as [`forebay_event::ProposedEvent::size`] counts them).
    pub append_size_max: usize,
    /// One event, in bytes.
    pub event_size_max: usize,
}

/// What stands around the payloads of a message, in bytes.
const MESSAGE_OVERHEAD: usize = 1 << 20;

impl AppendLimits {
    /// The largest message that holds what may be appended, in bytes.
    pub(crate) fn message_size_max(self) -> usize {
        self.append_size_max.max(self.event_size_max).saturating_add(MESSAGE_OVERHEAD)
    }
}
