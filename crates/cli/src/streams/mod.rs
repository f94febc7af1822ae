//! Owns `streams`: appending, reading and subscribing over HTTP.

mod args;
mod proposed;
mod append;
mod read;
mod subscribe;
mod show;

pub(crate) use append::{Appender, Order};
pub use args::StreamsArgs;
pub(crate) use args::run;
pub(crate) use proposed::LineReader;
