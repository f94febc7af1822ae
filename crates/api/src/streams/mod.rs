//! Streams over HTTP: append, read, follow, delete; as the quick-starts do with curl, and in a plain JSON form.

mod routes;
mod state;
mod point;
mod append;
mod append_plain;
mod event_json;
mod read_plain;
mod subscribe;
mod links;
mod long_poll;
mod feed;
mod feed_all;
mod entry;
mod remove;
mod metadata;
#[cfg(feature = "testing")]
pub(crate) mod doors;
pub(crate) mod grpc;

pub(crate) use grpc::{StreamsService, count_intake};
pub(crate) use routes::ROUTES;
pub(crate) use state::{APPEND_BODY_SIZE_MAX, StreamsApi};

#[cfg(test)]
mod tests;
