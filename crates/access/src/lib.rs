//! Who asks, and what they may do: users, passwords, access lists.
//!
//! Users are kept in the log, in streams of their own; access lists are what streams' metadata says. This crate answers
//! decisions and hands out a [`Guard`]: the store as one caller may use it. It is *not* a protocol: it knows neither
//! HTTP nor gRPC, and no header. What the server does by itself (connectors, checkpoints) goes through the port and is
//! asked nothing.
//!
//! Invariants: a password is never stored, logged or answered, only its hash is stored; a list that cannot be understood
//! lets nobody in but administrators; a decision follows a change made through a guard at once; what verifying passwords
//! costs is bounded in time, memory and number.
//!
//! Begin reading at [`Access`], then `lists`, then `sign_in`.

mod caller;
mod password;
mod hasher;
mod aging;
mod user;
mod users;
mod first_users;
mod sign_in;
mod lists;
mod access;
mod guard;

pub use access::{Access, AccessDenied, Need, Rules};
pub use caller::{Caller, Credentials};
pub use first_users::FIRST_LOGINS;
pub use guard::{Guard, GuardedSubscription, Refused};
pub use lists::Right;
pub use password::Password;
pub use sign_in::SignInError;
pub use user::{User, UserStreams};
pub use users::{NewUser, UserError, Users};

#[cfg(test)]
mod tests;
