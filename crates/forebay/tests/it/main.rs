//! Black-box tests: the real binary on a free port and a directory of its own, seen only through its public API.
//!
//! The checker of what arrives shares no code with the server. Nothing here waits for time to pass: every wait is for a
//! condition, with a limit after which the test fails and says what it waited for.

mod http;
mod server;
mod receiver;
mod arrivals;
mod load;
mod quickstart;
mod kill;
mod shutdown;
mod refusals;
mod disk_full;
mod deliveries;
mod commands;
mod curl;
