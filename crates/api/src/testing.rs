//! Owns what fuzzing may reach of the API: bodies of requests, given as bytes.

pub use crate::connectors::doors::settings_body;
pub use crate::streams::doors::{append_array, append_plain};
