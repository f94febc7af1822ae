//! Owns a signal that many wait for: it wakes them in the order in which they began to wait, so that a simulated run
//! can be repeated step by step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Given again and again, and followed by many.
#[derive(Debug, Default)]
pub(crate) struct Signal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How often it was given.
    count: AtomicU64,
    given: Notify,
}

/// Sees whether a signal was given since it looked last.
#[derive(Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    seen: u64,
}

impl Signal {
    /// Wakes all who wait; who does not wait sees it later.
    pub(crate) fn give(&self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        self.0.given.notify_waiters();
    }

    /// Follows it from now on.
    pub(crate) fn follow(&self) -> Follower {
        Follower { shared: Arc::clone(&self.0), seen: self.0.count.load(Ordering::SeqCst) }
    }
}

impl Follower {
    /// Takes all that was given so far for seen.
    pub(crate) fn catch_up(&mut self) {
        self.seen = self.shared.count.load(Ordering::SeqCst);
    }

    /// Waits until the signal was given since the last look. Waiting may be broken off.
    pub(crate) async fn changed(&mut self) {
        loop {
            let given = self.shared.given.notified();
            tokio::pin!(given);
            given.as_mut().enable();
            let count = self.shared.count.load(Ordering::SeqCst);
            if std::mem::replace(&mut self.seen, count) != count {
                return;
            }
            given.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test]
    async fn who_waits_is_woken_in_order_and_who_does_not_sees_it_later() {
        let (signal, woken) = (Signal::default(), Arc::new(Mutex::new(Vec::new())));
        let mut late = signal.follow();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (mut follower, woken) = (signal.follow(), Arc::clone(&woken));
            tasks.spawn(async move {
                follower.changed().await;
                woken.lock().push(number);
            });
        }
        tokio::task::yield_now().await;
        signal.give();
        while tasks.join_next().await.is_some() {}
        assert_eq!(*woken.lock(), (0..20).collect::<Vec<_>>());
        late.changed().await;
        assert!(tokio::time::timeout(std::time::Duration::ZERO, late.changed()).await.is_err());
    }
}
