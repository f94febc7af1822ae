//! Who runs what: the lease on a connector and its activation on this node.

mod registry;
mod lease;
mod runner;
mod restart;
mod checkpoint;
mod lifecycle;
mod activate;
#[cfg(test)]
mod tests;

pub(crate) use activate::CUT_OFF_AFTER;
pub(crate) use checkpoint::last_checkpoint;
pub(crate) use registry::{Journal, Node, NodeParts, Phase, Slot};
pub(crate) use runner::{Runner, pipeline_runner};
#[cfg(test)]
pub(crate) use {restart::delay as restart_delay, runner::Prepared, runner::Running};
