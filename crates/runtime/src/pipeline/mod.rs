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

mod plan;
mod run;
mod progress;
mod start;
mod subscribe;
mod window;
mod view;
mod filter;
mod key;
mod transform;
mod lanes;
mod backoff;
mod held;
mod deliver;
mod answer;
mod parked;
mod replay;
mod report;
mod conduct;
mod tracker;
mod checkpoint;
mod preview;
#[cfg(test)]
mod testing;

pub use checkpoint::CHECKPOINT_TYPE;
pub use parked::{
    ParkedCommand, ParkedCount, ParkedDesk, ParkedKey, ParkedLook, ParkedOutcome, ParkedRecord, ParkedRefusal,
    last_count,
};
pub use plan::Plan;
pub use preview::preview;
pub use progress::Progress;
pub use run::{End, PipelineFailure, Run, Surroundings, run};
