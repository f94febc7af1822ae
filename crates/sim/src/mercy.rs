//! Owns how the target becomes milder: it takes more and more of what it refused, and whatever an operator has mended.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::chance::Chance;

/// A payload that holds this was mended by an operator: the target takes it.
pub(crate) const MENDED: &str = "mended";

/// What the target refused and takes now.
#[derive(Debug)]
pub(crate) struct Mercy {
    seed: u64,
    forgiven_permille: AtomicU64,
}

impl Mercy {
    /// Forgives nothing yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, forgiven_permille: AtomicU64::new(0) }
    }

    /// Forgives so many of a thousand records from now on; what was forgiven stays so.
    pub(crate) fn forgive(&self, permille: u64) -> u64 {
        self.forgiven_permille.fetch_max(permille, Ordering::Relaxed).max(permille)
    }

    /// Whether the target takes a record that it refused: the one at this position, with this payload.
    pub(crate) fn is_shown(&self, position: u64, payload: &[u8]) -> bool {
        let forgiven = self.forgiven_permille.load(Ordering::Relaxed);
        let is_forgiven = forgiven > 0 && Chance::of(self.seed ^ position, "mercy").hits(forgiven);
        is_forgiven || payload.windows(MENDED.len()).any(|part| part == MENDED.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgiven_stays_so_and_what_is_mended_is_taken() {
        let mercy = Mercy::new(3);
        let shown = |payload: &[u8]| (0..1_000).filter(|at| mercy.is_shown(*at, payload)).collect::<Vec<u64>>();
        assert_eq!(shown(b"{}").len(), 0);
        assert_eq!(shown(br#"{"mended":1}"#).len(), 1_000);
        mercy.forgive(300);
        let before = shown(b"{}");
        assert!((200..400).contains(&before.len()));
        mercy.forgive(600);
        mercy.forgive(100);
        let after = shown(b"{}");
        assert!(after.len() > before.len() && before.iter().all(|at| after.contains(at)));
    }
}
