//! Tests of the client protocol over real sockets, with requests that no official client would send.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and prints what it measured")]

mod calls;
mod protocol;
mod hostile;
mod crowd;
