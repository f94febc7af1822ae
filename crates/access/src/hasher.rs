//! Owns how much of the machine hashing passwords may take: so many threads at once, and so many that wait.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// A quarter of the processors, but at least one and at most so many.
const RUNNING_MAX: usize = 4;
/// So many wait for their turn; others are told to come back.
const WAITING_MAX: usize = 64;

/// Lets hashing run on threads of its own, within bounds.
pub(crate) struct Hasher {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// More wait for hashing than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {WAITING_MAX} wait for a password to be verified")]
pub(crate) struct Busy;

impl Hasher {
    /// As many at once as fit this machine.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let running = (processors / 4).clamp(1, RUNNING_MAX);
        Self { running: Arc::new(Semaphore::new(running)), waiting: Arc::new(Semaphore::new(WAITING_MAX)) }
    }

    /// Does the work when its turn comes, unless what `known` answers then makes it needless. Work that has begun keeps
    /// its place until it is done, also when nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        known: impl Fn() -> Option<T>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let _place = self.waiting.clone().try_acquire_owned().map_err(|_| Busy)?;
        let turn = self.running.clone().acquire_owned().await.map_err(|_| Busy)?;
        if let Some(known) = known() {
            return Ok(known);
        }
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_sent_away() {
        let hasher = Arc::new(Hasher::new());
        let turns = hasher.running.available_permits();
        let held = hasher.running.clone().acquire_many_owned(u32::try_from(turns).unwrap()).await.unwrap();
        let mut waiting = Vec::new();
        for number in 0..WAITING_MAX {
            let hasher = Arc::clone(&hasher);
            waiting.push(tokio::spawn(async move { hasher.run(|| None, move || number).await }));
        }
        while hasher.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hasher.run(|| None, || 0).await, Err(Busy));
        drop(held);
        for (number, one) in waiting.into_iter().enumerate() {
            assert_eq!(one.await.unwrap(), Ok(number));
        }
        assert_eq!(hasher.run(|| Some(7), || 0).await, Ok(7), "what is known by then is not worked out");
    }
}
