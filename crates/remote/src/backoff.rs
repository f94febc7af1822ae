//! Owns the pauses between attempts: longer each time, never two clients in step, and an end to them.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::failure::Failure;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// The next pause, doubled each time up to 5 s, and shortened by up to a half at random.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        let half = whole / 2;
        half + half.mul_f64(chance())
    }
}

/// A number from 0 to 1. Identifiers are random enough for a pause.
pub(crate) fn chance() -> f64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    // The upper 32 bits hold no version and no variant.
    f64::from(u32::try_from(high >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// The attempts at one call: as many as fit into its time.
#[derive(Debug)]
pub(crate) struct Attempts {
    limit: Duration,
    end: Instant,
    backoff: Backoff,
}

impl Attempts {
    /// Begins now and ends after so long.
    pub(crate) fn within(limit: Duration) -> Self {
        Self { limit, end: Instant::now() + limit, backoff: Backoff::new() }
    }

    /// Makes an attempt, which ends with the time for all of them.
    pub(crate) async fn bound<T, E: From<Failure>>(&self, attempt: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match tokio::time::timeout_at(self.end, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Late { limit: self.limit }.into()),
        }
    }

    /// Waits before the next attempt; answers the failure when another one does not help or finds no time.
    pub(crate) async fn pause_after(&mut self, failure: Failure) -> Result<(), Failure> {
        let pause = self.backoff.next();
        if !failure.may_pass() || Instant::now() + pause >= self.end {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_vary() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(pauses[19] >= LONGEST / 2 && pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses[10..].windows(2).any(|two| two[0] != two[1]), "no two clients stay in step");
    }
}
