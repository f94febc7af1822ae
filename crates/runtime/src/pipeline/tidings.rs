//! Owns news that many wait for: that something has changed, and how often.
//!
//! Those who wait are woken in the order in which they began to wait, so that simulated runs are the same every time; the
//! channel that watches a value wakes its receivers in random order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts changes and tells of them.
#[derive(Debug, Default)]
pub(super) struct Tidings {
    count: AtomicU64,
    waiting: Notify,
}

impl Tidings {
    /// Something has changed.
    pub(super) fn tell(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.waiting.notify_waiters();
    }

    /// Follows the changes from now on.
    pub(super) fn follow(self: &Arc<Self>) -> Follower {
        Follower { tidings: Arc::clone(self), seen: self.count.load(Ordering::SeqCst) }
    }
}

/// Somebody who wants to know of changes.
#[derive(Debug)]
pub(super) struct Follower {
    tidings: Arc<Tidings>,
    seen: u64,
}

impl Follower {
    /// Waits until something has changed that was not told yet. Waiting may be broken off.
    pub(super) async fn changed(&mut self) {
        loop {
            let told = self.tidings.waiting.notified();
            tokio::pin!(told);
            // Whoever looks before waiting must not miss what changes in between.
            told.as_mut().enable();
            let count = self.tidings.count.load(Ordering::SeqCst);
            if count != self.seen {
                self.seen = count;
                return;
            }
            told.await;
        }
    }
}
