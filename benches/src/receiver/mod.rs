//! The far end: a small HTTP server in a process of its own, which accounts for every event it is given.

mod account;
mod server;

pub(crate) use server::{SLOTS_MAX, run};
