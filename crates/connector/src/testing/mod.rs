//! Owns the test kit of connectors: records to deliver, a target that misbehaves on order, the contract of every sink.

pub mod names;
pub mod samples;
pub mod receiver;
pub mod contract;
