//! Owns the quickstart: a server, real events, a connector, and a receiver that checks what arrives.

mod run;
mod bundle;
mod place;
mod story;
mod receiver;
mod ledger;
mod report;

pub(crate) use run::run;
pub use run::{LocalServer, QuickstartArgs, StartServer, Starting, Stop};
