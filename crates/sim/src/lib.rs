//! Runs the pipeline and the control plane, unchanged, in a simulated world: store, target, clocks, crashes, one seed.
//!
//! A run is one connector on one to four nodes, or up to six on nodes that know of each other, on one thread, in simulated
//! time. Whatever a seed says happens again when it is run again, step by step. This crate ships nothing and tests no
//! disk: the embedded log has its own tests for that.
//!
//! Invariants: whatever is drawn by chance follows from the seed; the checker shares no code with what it judges; a node
//! that has crashed has no way to the store or the target.
//!
//! Begin reading at [`run`], then the rules at the top of `check`, `owners`, `pace`, `replayed`, `spread` and `linear`.

mod chance;
mod clock;
mod policy;
mod variants;
mod scenario;
mod history;
mod check;
mod owners;
mod pace;
mod replayed;
mod spread;
mod operations;
mod linear;
mod reading;
mod store;
mod subscription;
mod link;
mod mercy;
mod target;
mod ledger;
mod sinks;
mod plain_sink;
mod table_sink;
mod world;
mod troubles;
mod life;
mod operators;
mod drive;
mod command;

pub use check::Counts;
pub use command::command;
pub use drive::{Outcome, run, run_traced};
