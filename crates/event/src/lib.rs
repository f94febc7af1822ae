//! The nouns of Forebay: event, stream, revision, position, record, time.
//!
//! This crate does no I/O and knows no async. It holds what every other crate talks about and nothing that only one of
//! them needs: no stored format, no wire type, no settings.
//!
//! Invariants: a [`StreamName`] is never empty; a [`Position`] and a [`Revision`] are ordered like the log; a
//! [`RecordedEvent`] shares one buffer for all of its parts, so handing it on copies no payload.
//!
//! Begin reading at [`RecordedEvent`], then [`Record`].

mod stream;
mod revision;
mod position;
mod event;
mod record;
mod clock;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use event::{ContentType, EventParts, MalformedEvent, ProposedEvent, RecordedEvent};
pub use position::Position;
pub use record::{Headers, Record, Reshape};
pub use revision::{ExpectedRevision, Revision};
pub use stream::{InvalidStreamName, StreamName};
