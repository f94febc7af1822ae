//! A store, a scripted sink and a harness for the tests of the pipeline.

#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod memory_store;
mod scripted_sink;
mod harness;
mod table;
mod dying_store;

#[allow(unused_imports, reason = "each test file needs its part")]
pub(crate) use dying_store::DyingStore;
#[allow(unused_imports, reason = "each test file needs its part")]
pub(crate) use harness::{Order, Running, failure, look, settings, start, start_in, start_with};
#[allow(unused_imports, reason = "each test file needs its part")]
pub(crate) use memory_store::MemoryStore;
#[allow(unused_imports, reason = "each test file needs its part")]
pub(crate) use scripted_sink::{Answer, Delivered, SinkScript, catalog};
#[allow(unused_imports, reason = "each test file needs its part")]
pub(crate) use table::{Table, Written, table_catalog};
