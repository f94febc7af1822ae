//! Proofs that stand outside: targets for fuzzing, a target of HTTP that misbehaves, and a check of what it saw.
//!
//! This package is for tests alone. What judges (the receiver, the history) shares no code with what is judged: it reads
//! bytes from sockets by itself and knows of the product only what its pages promise.
//!
//! Invariants: a receiver records a request before it answers; a check names the event that is lost or out of order.
//!
//! Begin reading at `tests/http_faults.rs`, then [`faults`].

pub mod faults;
pub mod history;
pub mod targets;
