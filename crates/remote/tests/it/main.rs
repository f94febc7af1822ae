//! Tests of the remote store over real sockets, against our own server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod node;
mod proxy;
mod fake;
mod conformance;
mod appends;
mod subscriptions;
mod reaching;
mod secured;
mod killed;
