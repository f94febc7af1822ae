//! Streams over gRPC: read and subscribe, append, append in batches, delete; as official clients call them.

mod intake;
mod service;
mod names;
mod proposal;
mod share;
mod append;
mod batch;
mod answers;
mod remove;
mod request;
mod filter;
mod recorded;
mod read;
mod subscribe;
#[cfg(feature = "testing")]
pub(crate) mod doors;

pub(crate) use intake::count as count_intake;
pub(crate) use service::StreamsService;
