//! One shard among several: which records are its own, what earlier generations of shards settled, and how one generation
//! takes over from another.
//!
//! ```text
//!  generation g      shard 0   shard 1   …        each: lease taken, parked stream claimed, lanes in the target taken
//!       │               │         │               over, and a last event in its checkpoints that says: closed
//!       ▼               └────┬────┘
//!  generation g+1    first checkpoints, parked records moved ─▶ opened ─▶ shard 0   shard 1   shard 2   …
//! ```
//!
//! What a closed shard left never changes again. So everybody who asks whether a record is settled by it gets the same
//! answer, and a take-over that was broken off is simply done again.

mod layout;
mod closing;
mod earlier;
mod opening;
mod part;

pub(crate) use closing::{CloseOrder, HandOver, HandOverError, is_closed};
pub(crate) use opening::{OpenOrder, OpenedShards};
pub(crate) use part::ShardPart;

pub(super) use closing::CLOSED_TYPE;
pub(super) use part::Share;
