//! Owns the HTTP client that sinks share: one connection per lane, bounded in time and bytes, errors sorted.
//!
//! A lane has one request in flight, so it needs one connection and no pool. The connection is driven by the task that
//! waits for the answer: no second task, no hand-over between them.

mod origin;
mod tls;
mod names;
mod connect;
mod link;
mod answer;
mod failure;
#[cfg(test)]
mod tests;

pub use answer::{Answer, RETRY_AFTER_MAX};
pub use link::{HttpClient, HttpLimits, HttpLink};
pub use origin::{InvalidOrigin, Origin};
pub use tls::{InvalidTls, TlsOptions, client_config};
