//! The conformance suite: what every store behind the port must do, as cases that run against any of them.
//!
//! A store's own tests implement [`StoreUnderTest`] and call [`run_all`]. Cases share nothing but the store: each writes
//! to streams of its own, and reads the whole log from where it ended when the case began, so a store that is not empty
//! will do, and so will one that others write to meanwhile.

#![expect(clippy::indexing_slicing, reason = "a case that finds less than it wrote is to panic")]

mod subject;
mod expected;
mod repeated;
mod metadata;
mod deleted;
mod pages;
mod subscriptions;
mod border;

pub use subject::{Case, StoreUnderTest, cases, run_all};
