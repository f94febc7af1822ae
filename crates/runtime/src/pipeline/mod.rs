//! What happens to records: subscribe, filter, transform, lanes, deliver, checkpoint.
//!
//! ```text
//! store ─▶ subscribe ─▶ filter ─▶ transform ─▶ lanes ─▶ deliver ─▶ sink
//!              ▲                                            │
//!              └────────── checkpoint ◀── settled ◀─────────┘
//! ```
//!
//! One task reads and filters, one transforms (if there is a script), one per lane delivers, and one keeps the account
//! ([`run`]): it alone knows what is settled, writes checkpoints, gives room in the window back and ends the others.
//! Stations tell it what happened through one bounded queue, so a record is always accounted for before it is settled.
//!
//! What an attempt must pass before it is made (rate, pace, breaker, room) is `flow`; what connectors share in it is
//! `traffic`.

mod plan;
mod run;
mod progress;
mod start;
mod subscribe;
mod gaps;
mod window;
mod gate;
mod view;
mod filter;
mod key;
mod transform;
mod lanes;
mod backoff;
mod held;
mod policy;
mod breaker;
mod rate;
mod pace;
mod concurrency;
mod signal;
mod traffic;
mod flow;
mod deliver;
mod answer;
mod parked;
mod skipped;
mod replay;
mod report;
mod conduct;
mod watchdog;
mod tracker;
mod checkpoint;
mod preview;
#[cfg(feature = "testing")]
pub mod doors;
#[cfg(test)]
mod testing;

pub use breaker::BreakerState;
pub use checkpoint::CHECKPOINT_TYPE;
pub use parked::{
    ParkedCommand, ParkedCount, ParkedDesk, ParkedKey, ParkedLook, ParkedOutcome, ParkedRecord, ParkedRefusal,
    last_count,
};
pub use plan::Plan;
pub use preview::preview;
pub use progress::Progress;
pub use run::{End, PipelineFailure, Run, Surroundings, run};
pub(crate) use signal::{Follower, Signal};
pub use traffic::Traffic;
