//! The operator's commands: everything `forebay` does but serving.
//!
//! This crate sees only what any HTTP client sees: it knows the public API by its URLs and JSON, and no crate of the
//! server. It is *not* the place of anything that needs the data directory or a running pipeline.
//!
//! Invariants: standard output carries results only (JSON with `--json`), progress and errors go to standard error; every
//! request has a time limit; a reader that goes away ends the command quietly.
//!
//! Begin reading at [`Command`], then at `client`.

mod command;
mod settings_file;
mod client;
mod failure;
mod output;
mod numbers;
mod table;
mod progress;
mod run;
mod connectors;
mod apply;
mod preview;
mod parked;
mod nodes;
mod streams;
mod users;
mod password;
mod quickstart;
#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod testing;

pub use apply::ApplyArgs;
pub use command::{Command, CompletionsArgs, command};
pub use connectors::ConnectorsArgs;
pub use parked::ParkedArgs;
pub use preview::PreviewArgs;
pub use quickstart::{LocalServer, QuickstartArgs, StartServer, Starting, Stop};
pub use run::{Surroundings, run};
pub use streams::StreamsArgs;
pub use users::UsersArgs;
