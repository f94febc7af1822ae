//! Black-box tests: the real binary on a free port and a directory of its own, seen only through its public API.
//!
//! The checker of what arrives shares no code with the server. Nothing here waits for time to pass: every wait is for a
//! condition, with a limit after which the test fails and says what it waited for.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that panics has failed, and a skipped one says so aloud"
)]

mod http;
mod server;
mod receiver;
mod arrivals;
mod load;
mod quickstart;
mod kill;
mod blocked;
mod sql_kills;
mod stale_owner;
mod stale_epoch;
mod crowd;
mod shutdown;
mod refusals;
mod disk_full;
mod deliveries;
mod commands;
mod curl;
mod access;
mod tls;
mod parking;
mod way;
mod namespace;
mod wall_clock;
mod history;
mod fleet;
mod failover;
mod store_away;
