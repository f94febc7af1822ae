//! Owns a histogram of latencies whose error is at most 1/32 of a value.

/// Values of one power of two are told apart by this many bits.
const FINE_BITS: u32 = 5;
const BUCKETS: usize = 64 << FINE_BITS;

/// Counts of values, in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Latency {
    /// Counts a value.
    pub(crate) fn add(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// How many values were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The greatest value.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value that so many of a thousand do not exceed.
    pub(crate) fn permille(&self, permille: u64) -> u64 {
        let wanted = (self.total * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return lower_bound(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    let power = 63 - value.max(1).leading_zeros();
    let fine = if power < FINE_BITS { value } else { (value >> (power - FINE_BITS)) & ((1 << FINE_BITS) - 1) };
    ((power as usize) << FINE_BITS) | usize::try_from(fine).unwrap_or(0)
}

fn lower_bound(index: usize) -> u64 {
    let (power, fine) = ((index >> FINE_BITS) as u64, (index & ((1 << FINE_BITS) - 1)) as u64);
    if power < u64::from(FINE_BITS) { fine } else { ((1 << FINE_BITS) | fine) << (power - u64::from(FINE_BITS)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thirtieth() {
        let mut latency = Latency::default();
        (1..=10_000).for_each(|value| latency.add(value));
        let (median, high) = (latency.permille(500), latency.permille(990));
        assert!((4_800..=5_000).contains(&median), "{median}");
        assert!((9_600..=9_900).contains(&high), "{high}");
        assert_eq!((latency.total(), latency.max()), (10_000, 10_000));
    }

    #[test]
    fn small_values_are_exact() {
        let mut latency = Latency::default();
        latency.add(3);
        assert_eq!(latency.permille(500), 3);
    }
}
