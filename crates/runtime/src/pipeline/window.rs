//! Owns the bound on what is in flight: read, and not yet settled.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Records in flight are bounded by twice what all lanes can hold in hand, within these.
const RECORDS_MIN: usize = 1_024;
const RECORDS_MAX: usize = 32_768;
/// The bytes in flight at which reading stops.
const BYTES_MAX: usize = 32 << 20;

/// Counts what is in flight. Reading goes on only while there is room; one hand-out of the subscription may go beyond.
#[derive(Debug)]
pub(super) struct Window {
    records_max: usize,
    records: AtomicUsize,
    bytes: AtomicUsize,
    freed: Notify,
}

impl Window {
    /// A window for so many lanes with batches of so many records.
    pub(super) fn new(lanes: usize, batch_records: usize) -> Self {
        let records_max = (2 * lanes).saturating_mul(batch_records).clamp(RECORDS_MIN, RECORDS_MAX);
        Self { records_max, records: AtomicUsize::new(0), bytes: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// The records in flight at which reading stops.
    pub(super) fn records_max(&self) -> usize {
        self.records_max
    }

    /// Waits until something may be read. Only one task waits at a time.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.freed.notified().await;
        }
    }

    /// Takes room for what was read.
    pub(super) fn take(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives room back for what is settled.
    pub(super) fn release(&self, records: usize, bytes: usize) {
        self.records.fetch_sub(records, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_one();
    }

    fn has_room(&self) -> bool {
        self.records.load(Ordering::Acquire) < self.records_max && self.bytes.load(Ordering::Acquire) < BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn bounds_follow_lanes_and_batches() {
        assert_eq!(Window::new(1, 1).records_max(), RECORDS_MIN);
        assert_eq!(Window::new(16, 500).records_max(), 16_000);
        assert_eq!(Window::new(256, 10_000).records_max(), RECORDS_MAX);
    }

    #[tokio::test]
    async fn a_full_window_waits_for_room() {
        let window = Arc::new(Window::new(1, 1));
        window.take(RECORDS_MIN, 10);
        let waiting = tokio::spawn({
            let window = Arc::clone(&window);
            async move { window.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        window.release(1, 10);
        waiting.await.unwrap();
        window.take(0, BYTES_MAX);
        assert!(!window.has_room());
    }
}
