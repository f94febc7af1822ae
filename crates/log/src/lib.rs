//! The embedded event log: answers the store port from a directory of this machine.
//!
//! It owns the stored formats of events and their index, durability, recovery and the offline checks. It is not a
//! server, knows no wire type, and decides nothing about connectors. The key-value engine below it (fjall) is seen only
//! by the module `engine` and, while a directory is opened, by `manifest` and `journal`.
//!
//! Invariants: positions are dense and begin at 1; an append is acknowledged only after its sync; nothing that is not
//! yet durable is ever read; what is damaged is refused with its place and never passed over; after a failed write or
//! sync nothing is written until the log is opened anew.
//!
//! Begin reading at [`EmbeddedLog`], then `writer` (one group commit), `decide` (may this append go on?), `format` (what
//! lies on disk).

mod options;
mod open;
mod directory;
mod high_water;
mod manifest;
mod journal;
mod engine;
mod rooms;
mod format;
mod shared;
mod states;
mod blocks;
mod recent_ids;
mod writer;
mod plan;
mod decide;
mod reader;
mod port;
mod subscription;
mod repack;
mod verify;
mod info;
#[cfg(feature = "testing")]
pub mod testing;

pub use info::{LogInfo, info};
pub use open::{EmbeddedLog, OpenError, RecoveryReport};
pub use options::{LogLimits, LogOptions, SyncMode};
pub use verify::{Damage, VerifyProgress, VerifyReport, verify};

#[cfg(test)]
mod tests;
