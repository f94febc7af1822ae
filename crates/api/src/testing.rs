//! Owns what fuzzing may reach of the API: requests and what they are made of, given as bytes.

pub use crate::connectors::doors::settings_body;
pub use crate::grpc::doors::{call_limit, dialled};
pub use crate::streams::doors::{append_array, append_plain};
pub use crate::streams::grpc::doors::grpc_call;
