//! Reads config, wires the parts, runs, stops.
//!
//! This is the only crate that names the log *and* the sinks. It owns the operator's config, the listener, signals and
//! the order of starting and stopping. It answers no request itself: the API does.
//!
//! Invariants: nothing is served before the log is recovered (or the cluster answers) and the connectors are brought back,
//! but for the word that they are waited for; the log closes last; other machines are served only over TLS and when they
//! are asked who they are, unless the operator insists.
//!
//! Begin reading at `run`, then `wiring`.

mod options;
mod config;
mod cluster;
mod layers;
mod logging;
mod identity;
mod posture;
mod first_start;
mod events;
mod door;
mod wiring;
mod declared;
mod certificates;
mod greeting;
mod listener;
mod opening;
mod shutdown;
mod run;
mod offline;
mod development;

pub use certificates::CertificateError;
pub use cluster::ClusterChoice;
pub use config::{Config, ConfigErrors, FirstPassword, LogFormat, SecretKey, TlsFiles, WrongKey};
pub use development::{CertificatesArgs, run_certificates};
pub use first_start::FirstStartError;
pub use layers::load;
pub use offline::{LogArgs, run_offline};
pub use options::ServeOptions;
pub use posture::Exposed;
pub use run::run;
pub use wiring::{RunningServer, StartError, start, start_with_clock};
