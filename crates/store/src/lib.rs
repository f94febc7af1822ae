//! The port to an event store, and the conformance suite every store passes.
//!
//! Everything above this crate sees a store only as [`EventStore`]; nothing there can tell the embedded log from a
//! cluster. This crate is not a store, and holds no stored format and no wire type.
//!
//! Invariants: a page never ends in the middle of what it says it holds; a subscription hands out every event once, in
//! order, with neither gap nor repeat where history meets the live end; an append is acknowledged only when durable.
//!
//! Begin reading at [`EventStore`].

mod append;
mod read;
mod filter;
mod look_ahead;
mod subscribe;
mod metadata;
mod port;
#[cfg(feature = "testing")]
pub mod testing;

pub use append::{AppendError, AppendRequest, Appended};
pub use filter::{EventFilter, FilterSubject, InvalidFilter, Matcher};
pub use metadata::{METADATA_TYPE, StreamMetadata, TOMBSTONE_TYPE};
pub use port::{EventStore, Outage};
pub use read::{AllPage, Direction, LogPoint, PageLimit, ReadAll, ReadError, ReadStream, StreamPage, StreamPoint};
pub use subscribe::{Notice, SubscribeAll, SubscribeError, SubscribeStream, Subscription};
