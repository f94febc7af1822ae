//! The HTTP fault matrix: a connector over a real log delivers a thousand events to a target that misbehaves in one way.
//!
//! For each kind: nothing is lost, keys stay in order, the policy holds, and what the operator is told names the cause.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod told;
mod world;
mod passing;
mod refused;
mod reachable;
