//! Owns `connectors`: the commands and queries of connector management.

mod args;
mod create;
mod change;
mod wait;
mod list;
mod show;
mod describe;

pub use args::ConnectorsArgs;
pub(crate) use args::run;
pub(crate) use wait::{state_of, wait_for};
