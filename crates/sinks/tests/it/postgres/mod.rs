//! Tests of the PostgreSQL sink against a server of its own.

mod server;
mod lane;
mod contract;
mod writing;
mod replays;
mod fencing;
mod crashes;
mod secured;
