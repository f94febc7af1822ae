//! Tests of the remote store over real sockets, against our own server.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod node;
mod conformance;
