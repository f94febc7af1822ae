//! The sinks of Forebay: where records go.
//!
//! One module per target system, one line per sink in the [`catalog`]. A sink retries nothing, batches nothing and keeps
//! no checkpoint: it answers per record what happened, and the runtime decides.
//!
//! Invariants: every write carries the record's identity; no secret reaches an error, a log or a debug print.
//!
//! Begin reading at [`catalog`], then the sink with the fewest lines, `console`.

mod catalog;
mod envelope;
mod lines;
mod console;
mod file;
mod serilog;
mod http;
mod table;
mod postgres;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;

pub use catalog::catalog;
