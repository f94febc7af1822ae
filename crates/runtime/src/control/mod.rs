//! Who runs what: the nodes over one store, the lease on a connector and its activation on this node.
//!
//! ```text
//! announcements ─▶ members ─▶ assign ─▶ plan ─▶ turn ─▶ lease ─▶ activation
//!       ▲                                                  │
//!       └───────────────── claims ◀────────────────────────┘
//! ```

mod registry;
mod announce;
mod members;
mod assign;
mod cluster;
mod membership;
mod measures;
mod turn;
mod lease;
mod runner;
mod checkpoint;
mod lifecycle;
mod crew;
mod handover;
mod activate;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod assign_tests;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod shards_tests;
#[cfg(test)]
mod takeover_tests;

pub(crate) use activate::CUT_OFF_AFTER;
pub(crate) use announce::NodeState;
pub(crate) use checkpoint::last_checkpoint;
pub use cluster::ClusterConfig;
pub(crate) use measures::ControlMetrics;
pub(crate) use membership::{join, take_part};
pub(crate) use registry::{Hosting, Journal, Node, NodeParts, Phase, Slot};
#[cfg(test)]
pub(crate) use runner::{Prepared, Running, restart_delay};
pub(crate) use runner::{Runner, aside, pipeline_runner};
