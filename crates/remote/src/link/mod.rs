//! The way to the cluster: a connection, what the node at its end can do, which node that is, and keeping it open.

mod connection;
mod server;
mod discovery;
mod leader;
mod keeper;
mod seats;

pub(crate) use connection::{Connection, Reach};
pub(crate) use leader::{LeaderLink, Session};
pub(crate) use seats::{Seat, Seats};
pub use server::ServerFacts;
