//! Runs connectors: what users ask (`management`), who runs what (`control`), what happens to records (`pipeline`).
//!
//! This crate knows no store but the port, and no sink but through the catalogue. It speaks neither HTTP nor gRPC.
//!
//! Invariants: a checkpoint never passes a record that is not settled, and is written under the lease's epoch; a
//! connector that fails hurts no other; status comes from progress, never from the last command.
//!
//! Begin reading at [`pipeline`]: its `mod` lines are the way of an event. Then [`Connectors`].

pub mod settings;
mod unit;
pub mod management;
pub mod control;
pub mod pipeline;
pub mod metrics;

pub use control::ClusterConfig;
pub use management::{Connectors, RuntimeConfig};
pub use unit::Shard;
