//! Owns the time of both processes: the wall clock of one machine.

use forebay_event::{Clock, SystemClock};

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    SystemClock::new().now().ticks() / 10
}
