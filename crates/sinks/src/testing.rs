//! Owns what fuzzing and proofs may reach of the sinks.

pub use crate::http::testing::http_requests;
