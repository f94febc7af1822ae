//! Owns which shard a record takes, and which lanes a shard had.

use forebay_connector::settings::{SettingsErrors, decode};
use forebay_connector::{Kind, Lane};

use crate::pipeline::key::{Key, Keying, mix};
use crate::pipeline::plan::lanes;
use crate::settings::{ConnectorSettings, LANES_MAX};
use crate::unit::{Generation, Shard};

/// Makes the choice of a shard independent of the choice of a lane, which takes the key as it is.
const SALT: u64 = 0x9e37_79b9_7f4a_7c15;

/// The shard of a key among so many.
#[expect(clippy::cast_possible_truncation, reason = "the remainder is smaller than the number of shards")]
pub(super) fn place(key: Key, count: u32) -> u32 {
    (mix(key.0 ^ SALT) % u64::from(count.max(1))) as u32
}

/// How a generation spread records.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) keying: Keying,
    pub(super) generation: u32,
    pub(super) count: u32,
    lanes: usize,
    /// The number of the first lane, when there were no shards.
    first_lane: u32,
}

impl Layout {
    /// Of an earlier generation of a connector of this kind.
    pub(super) fn of(generation: &Generation, kind: &Kind) -> Result<Self, SettingsErrors> {
        let settings = decode::<ConnectorSettings>(&generation.order)?;
        let keying = Keying::new(&settings)?;
        let lanes = lanes(&settings, kind)?;
        let first_lane = keying.first_lane(&settings, lanes);
        Ok(Self { keying, generation: generation.number, count: generation.count, lanes, first_lane })
    }

    /// The lanes of one of its shards.
    pub(super) fn lanes_of(&self, index: u32) -> Vec<Lane> {
        let shard = Shard { generation: self.generation, index, count: self.count };
        let lanes = u32::try_from(self.lanes).unwrap_or(LANES_MAX);
        let number = |lane| if self.generation == 0 { self.first_lane.saturating_add(lane) } else { shard.lane(lane) };
        (0..lanes).map(|lane| Lane(number(lane))).collect()
    }

    /// The lane of a key within its shard.
    pub(super) fn lane_of(&self, key: Key) -> usize {
        key.lane(self.lanes)
    }

    /// Where it parked record number 0 of a shard, as targets know it.
    pub(super) fn parked_base(&self, index: u32) -> u64 {
        let shard = Shard { generation: self.generation, index, count: self.count };
        if self.generation == 0 { 0 } else { shard.parked_base() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn keys_are_spread_evenly_over_shards_and_over_the_lanes_of_each() {
        let mut spread: BTreeMap<(u32, usize), u32> = BTreeMap::new();
        for number in 0..64_000 {
            let key = Key::of(&format!("order-{number}"));
            *spread.entry((place(key, 8), key.lane(8))).or_default() += 1;
        }
        assert_eq!(spread.len(), 64);
        assert!(spread.values().all(|keys| (850..1150).contains(keys)), "{spread:?}");
    }

    #[test]
    fn a_key_takes_the_same_shard_in_every_build() {
        assert_eq!(place(Key::of("order-1"), 64), place(Key::of("order-1"), 64));
        let places: Vec<_> = ["order-1", "order-2", "order-3"].map(|text| place(Key::of(text), 64)).to_vec();
        assert_eq!(places, PLACES);
        assert_eq!(place(Key::ALL, 1), 0);
    }

    const PLACES: [u32; 3] = [0, 3, 46];
}
