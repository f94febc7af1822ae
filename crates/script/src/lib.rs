//! Runs what users write: JSONPath expressions and JavaScript transforms, bounded in time and memory.
//!
//! This crate is *not* where it is decided which events a connector takes or what happens to a record that fails: that
//! is the pipeline's. It does no I/O and gives scripts none.
//!
//! Invariants: nothing a user writes can panic, block or exhaust this process beyond the bounds of [`limits`]; results
//! come in the order of the records; an event's payload goes in and out as bytes.
//!
//! Begin reading at [`JsonPath`], then [`Transform`].

pub mod limits;
pub mod jsonpath;
pub mod javascript;

pub use javascript::{FailureKind, ScriptError, Transform, TransformFailure, Transformed, headers_of, validate};
pub use jsonpath::{JsonPath, JsonPathError, TooManyNodes};
pub use limits::Limits;
