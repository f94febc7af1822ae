//! Reads config, wires the parts, runs, stops.
//!
//! This is the only crate that names the log *and* the sinks. It owns the operator's config, the listener, signals and
//! the order of starting and stopping. It answers no request itself: the API does.
//!
//! Invariants: nothing is served before the log is recovered and the connectors are brought back; the log closes last;
//! addresses other machines can reach are served only when the operator insists.
//!
//! Begin reading at `run`, then `wiring`.

mod options;
mod config;
mod cluster;
mod layers;
mod logging;
mod identity;
mod first_start;
mod wiring;
mod declared;
mod listener;
mod opening;
mod shutdown;
mod run;
mod offline;

pub use cluster::ClusterChoice;
pub use config::{Config, ConfigErrors, LogFormat, SecretKey, WrongKey};
pub use first_start::FirstStartError;
pub use layers::load;
pub use offline::{LogArgs, run_offline};
pub use options::ServeOptions;
pub use run::run;
pub use wiring::{RunningServer, StartError, start};
