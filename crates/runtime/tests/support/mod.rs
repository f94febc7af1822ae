//! A store, a scripted sink and a harness for the tests of the pipeline.

#![allow(dead_code, reason = "each test uses its part")]

mod memory_store;
mod scripted_sink;
mod harness;

pub(crate) use harness::{failure, look, settings, start, start_with};
pub(crate) use memory_store::MemoryStore;
pub(crate) use scripted_sink::{Answer, SinkScript, catalog};
