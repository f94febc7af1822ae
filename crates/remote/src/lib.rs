//! Answers the store port from an EventStoreDB or KurrentDB cluster: a thin client of its protocol over gRPC.
//!
//! It owns how a cluster is found, reached and reached again, and how every call of the port is said in the protocol. It
//! is not a general client: it speaks what the port needs, and nothing else of the protocol. It decides nothing about
//! streams; the cluster does.
//!
//! Invariants: every call ends within a bound; an append whose outcome is unknown is made exactly once or reported as
//! unknown; a subscription resumes behind what was seen, with neither gap nor repeat; a position is stored and sent as
//! the cluster gave it, never derived; no password is ever shown.
//!
//! ```text
//!  port ─▶ append, remove, read, subscribe ─▶ link (one connection to the leader, kept by one task) ─▶ node
//!                                    └──────▶ seats (connections that subscriptions share)          ─▶ node
//! ```
//!
//! Begin reading at `port`, then `append` and `subscribe`; how nodes are found is in `link`.

mod settings;
mod tls;
mod failure;
mod backoff;
mod link;
mod small;
mod recorded;
mod filter;
mod append;
mod remove;
mod read;
mod subscribe;
mod port;

pub use link::ServerFacts;
pub use port::{ConnectError, RemoteStore};
pub use settings::{
    Credentials, InvalidConnectionString, KeepAlive, NodeAddress, NodePreference, RemoteSettings, TlsSettings,
};
pub use tls::InvalidTls;
