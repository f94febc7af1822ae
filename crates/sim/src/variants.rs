//! Owns what every third seed adds to its scenario: operators who deal with parked records, and nodes that know of each
//! other and share several connectors.
//!
//! It is drawn from a row of its own, and two seeds of three have nothing of it, so that they say what they always said.

use crate::chance::Chance;

/// One seed in so many has any of it: those that leave `SHARE - 1`.
const SHARE: u64 = 3;

/// What a seed adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variants {
    pub(crate) operators: Option<Operators>,
    pub(crate) cluster: Option<Cluster>,
}

/// Operators at work on parked records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operators {
    /// How many, at the same time.
    pub(crate) count: usize,
    /// The longest pause between two commands of one.
    pub(crate) pause_ms_max: u64,
    /// Records that the target refuses for good, in a thousand.
    pub(crate) refused_permille: u64,
    /// While there are faults the target comes to forgive so many of them, in a thousand, at most.
    pub(crate) forgiven_permille_max: u64,
    /// In the end the target takes everything, and all that is parked is replayed.
    pub(crate) ends_empty: bool,
}

/// Nodes that announce themselves and share connectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) nodes: usize,
    pub(crate) connectors: usize,
}

impl Variants {
    /// What this seed adds.
    pub(crate) fn of(seed: u64) -> Self {
        if seed % SHARE != SHARE - 1 {
            return Self::default();
        }
        let chance = Chance::of(seed, "variants");
        let kind = chance.between(0, 9);
        let operators = Operators {
            count: chance.size(1, 2),
            pause_ms_max: chance.between(500, 6_000),
            refused_permille: chance.between(10, 150),
            forgiven_permille_max: chance.between(0, 1_000),
            ends_empty: chance.hits(500),
        };
        let cluster = Cluster { nodes: chance.size(2, 4), connectors: chance.size(1, 6) };
        Self { operators: (kind < 6).then_some(operators), cluster: (kind >= 4).then_some(cluster) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seeds_of_three_add_nothing_and_the_others_something() {
        let all: Vec<_> = (1..=300).map(Variants::of).collect();
        let added = |what: fn(&Variants) -> bool| all.iter().filter(|variants| what(variants)).count();
        assert_eq!(added(|variants| *variants == Variants::default()), 200);
        assert!(added(|variants| variants.operators.is_some()) > 40);
        assert!(added(|variants| variants.cluster.is_some()) > 40);
        assert!(added(|variants| variants.cluster.is_some() && variants.operators.is_some()) > 10);
    }
}
