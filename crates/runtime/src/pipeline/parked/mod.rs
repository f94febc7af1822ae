//! Records that were set aside: what is stored of them, what is parked now, and what people do about it.
//!
//! ```text
//! lane ─▶ lot ─▶ events in `$connectors/{id}/parked` ─▶ index: keys, each with its records in order
//!          ▲                                               │
//!          └── desk ◀─ retry, replay, edit, drop           └─▶ look: lists and details
//! ```
//!
//! The stream is the truth: what is parked is what its events say, whoever reads them. A running pipeline is its only
//! writer and claims it at start; a connector that does not run has none, so that edits and drops may be written then.

mod stored;
mod index;
mod stream;
mod lot;
mod moved;
mod desk;
mod look;
#[cfg(test)]
mod tests;

pub use desk::{ParkedCommand, ParkedDesk, ParkedOutcome, ParkedRefusal};
pub use index::ParkedCount;
pub use look::{ParkedKey, ParkedLook, ParkedRecord, last_count};

pub(super) use desk::{LANE_ORDERS_MAX, LaneOrder, Reach};
pub(super) use index::{Parked, ReplayOrder};
pub(super) use lot::{KnownSettled, LotSite, Opened, ParkError, ParkingLot, ToPark};
pub(super) use moved::MoveError;
