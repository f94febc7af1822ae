//! Who runs what: the lease on a connector and its activation on this node.

mod registry;
mod lease;
mod runner;
mod checkpoint;
mod lifecycle;
mod activate;
#[cfg(test)]
mod tests;

pub(crate) use activate::CUT_OFF_AFTER;
pub(crate) use checkpoint::last_checkpoint;
pub(crate) use registry::{Journal, Node, NodeParts, Phase, Slot};
#[cfg(test)]
pub(crate) use runner::{Prepared, Running, restart_delay};
pub(crate) use runner::{Runner, aside, pipeline_runner};
