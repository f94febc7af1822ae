//! Tests of the client protocol over real sockets, with requests that no official client would send.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod protocol;
mod hostile;
mod crowd;
