//! Owns chance: numbers that follow from a seed, one row of them for every user.

use std::time::Duration;

use parking_lot::Mutex;

/// A row of numbers that look drawn by chance and follow from its seed.
#[derive(Debug)]
pub(crate) struct Chance(Mutex<u64>);

impl Chance {
    /// The row of one user under a seed; others draw from rows of their own.
    pub(crate) fn of(seed: u64, user: &str) -> Self {
        let start = user.bytes().fold(spread(seed ^ 0x5eed), |state, byte| spread(state ^ u64::from(byte)));
        Self(Mutex::new(start))
    }

    /// The next number, over all 64 bits.
    pub(crate) fn number(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        spread(*state)
    }

    /// A number from `least` to `most`, both included.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.number() % (most.saturating_sub(least) + 1)
    }

    /// The same, as a size.
    pub(crate) fn size(&self, least: usize, most: usize) -> usize {
        usize::try_from(self.between(least as u64, most as u64)).unwrap_or(least)
    }

    /// A time from `least` to `most` milliseconds.
    pub(crate) fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// True so many times in a thousand.
    pub(crate) fn hits(&self, permille: u64) -> bool {
        self.number() % 1000 < permille
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        let most = from.len().checked_sub(1)?;
        from.get(self.size(0, most))
    }
}

/// Spreads a number over all bits.
fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_user_draw_the_same_row() {
        let row =
            |seed, user| (0..5).map(|_| 0).scan(Chance::of(seed, user), |c, _| Some(c.number())).collect::<Vec<_>>();
        assert_eq!(row(1, "a"), row(1, "a"));
        assert_ne!(row(1, "a"), row(1, "b"));
        assert_ne!(row(1, "a"), row(2, "a"));
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let chance = Chance::of(7, "bounds");
        assert!((0..1000).all(|_| (3..=5).contains(&chance.between(3, 5))));
        assert!((0..100).all(|_| !chance.hits(0) && chance.hits(1000)));
        assert_eq!(chance.pick::<u8>(&[]), None);
    }
}
