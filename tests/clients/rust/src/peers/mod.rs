//! The official client and ours as peers: both do the same to one server, and must be told the same.

mod peer;
mod official;
mod ours;
mod script;

pub(crate) use script::compare;
