//! Owns what an append holds in memory while it arrives: bounded by itself, and by what all appends have together.

use forebay_event::ProposedEvent;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use crate::limits::AppendLimits;
use crate::status::grpc::{append_too_large, invalid, too_busy};
use crate::streams::StreamsApi;

/// One append holds at most so many events.
const APPEND_EVENTS_MAX: usize = 1 << 17;
/// What an event takes beside its payload, in bytes.
const EVENT_OVERHEAD: usize = 256;

/// The events of one append, as far as they have come.
pub(super) struct Gathered {
    events: Vec<ProposedEvent>,
    /// As the limit counts it.
    size: usize,
    /// As memory counts it, beyond what the share covers.
    uncovered: usize,
    share: Option<OwnedSemaphorePermit>,
    size_max: usize,
}

/// Why an event was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The append is larger than this, in bytes.
    TooLarge(usize),
    /// The append holds more events than one may.
    TooMany,
    /// All appends together hold as much as they may.
    Busy,
}

impl Gathered {
    /// Nothing yet.
    pub(super) fn new(limits: AppendLimits) -> Self {
        Self { events: Vec::new(), size: 0, uncovered: 0, share: None, size_max: limits.append_size_max }
    }

    /// Takes an event, if there is room for it.
    pub(super) fn try_push(&mut self, event: ProposedEvent, api: &StreamsApi) -> Result<(), NoRoom> {
        self.size += event.size();
        if self.size > self.size_max {
            return Err(NoRoom::TooLarge(self.size_max));
        }
        if self.events.len() >= APPEND_EVENTS_MAX {
            return Err(NoRoom::TooMany);
        }
        self.uncovered += event.data.len() + event.metadata.len() + event.event_type.len() + EVENT_OVERHEAD;
        let (permit, covered) = api.try_share(self.uncovered).ok_or(NoRoom::Busy)?;
        self.uncovered -= covered;
        match (&mut self.share, permit) {
            (Some(share), Some(permit)) => share.merge(permit),
            (None, permit) => self.share = permit,
            (Some(_), None) => {}
        }
        self.events.push(event);
        Ok(())
    }

    /// Takes an event, or says in a status why not.
    pub(super) fn push(&mut self, event: ProposedEvent, api: &StreamsApi) -> Result<(), Status> {
        self.try_push(event, api).map_err(|no_room| match no_room {
            NoRoom::TooLarge(limit) => append_too_large(limit),
            NoRoom::TooMany => invalid(too_many_events()),
            NoRoom::Busy => too_busy(),
        })
    }

    /// The events, and the share of memory to hold until they are written.
    pub(super) fn into_parts(self) -> (Vec<ProposedEvent>, Option<OwnedSemaphorePermit>) {
        (self.events, self.share)
    }
}

/// What is wrong with an append of too many events.
pub(super) fn too_many_events() -> String {
    format!("the append holds more than {APPEND_EVENTS_MAX} events")
}
