//! How to reach a cluster: the settings, and the connection string that users give them in.

mod reach;
mod connection_string;
mod options;
mod errors;

pub use errors::InvalidConnectionString;
pub use reach::{Credentials, KeepAlive, NodeAddress, NodePreference, RemoteSettings, TlsSettings};
