//! What the author of a connector meets: [`Sink`], settings, outcomes, the catalogue entry, the test kit.
//!
//! This crate runs nothing: retries, batching, lanes, checkpoints and time limits belong to the runtime, and no sink
//! sees them. It knows no store and no sink by name.
//!
//! Invariants: only a [`Receipt`] marked by a sink says that a record is delivered, and only [`attempt`] makes receipts;
//! a [`Secret`](settings::Secret) is never printed or serialised.
//!
//! Begin reading at [`Sink`], then [`Receipt`].

mod batch;
mod sink;
mod outcome;
mod policy;
mod catalog;
pub mod settings;
mod headers;
pub mod http;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use batch::{Batch, Epoch, Lane, ParkedNumbers};
pub use catalog::{Catalog, Connect, Guarantee, Kind, LaneSupport, SinkContext, Target};
pub use headers::{DeliveryHeader, add_delivery_headers, delivery_headers, header_value_text, metadata_headers};
pub use outcome::{Failure, FailureClass, Next, Outcome, Receipt};
pub use policy::{DefaultAction, DefaultRow, PolicyClass, default_action};
pub use sink::{Sink, attempt};
