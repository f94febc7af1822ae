//! Owns the unit that is leased, checkpointed and run by itself: a connector, or one shard of it.
//!
//! ```text
//!               name          its streams are in
//!  connector    orders        $connectors/orders/
//!  shard        orders/2.3    $connectors/orders/shards/2.3/     shard 3 of generation 2
//! ```
//!
//! A generation is one way to spread a connector's records over shards. Generation 0 is the connector that was never
//! spread; later ones have streams of their own, so that what an earlier one left stays as it was.

use std::sync::Arc;

use forebay_connector::settings::SettingsMap;
use forebay_event::Position;

/// Epochs of a later generation are all higher than those of an earlier one: so many are its own.
const EPOCHS_PER_GENERATION_BITS: u32 = 32;
/// Lanes of a shard, as bits of a lane's number: 256 of them.
const LANE_BITS: u32 = 8;
/// Shards of a generation, as bits of a lane's number: 64 of them.
const SHARD_BITS: u32 = 6;
/// Revisions of a shard's parked stream, as bits of the number that targets know a parked record by.
const PARKED_BITS: u32 = 40;
/// What is left for the generation in both numbers.
const GENERATION_MASK: u32 = (1 << 17) - 1;
/// Set in the number of every lane of a shard.
const SHARDED_LANE: u32 = 1 << 31;
const SETTING_SHARDS: &str = "subscription:shards";
/// What decides which shard, and which lane of it, a record takes.
const ORDER_SETTINGS: [&str; 4] = ["instanceTypeName", "ordering", "orderingKey", "lanes"];

/// One of the shards of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    /// Which way to spread the connector's records it belongs to; from 1.
    pub generation: u32,
    /// Its number, from 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// The number of one of its lanes; no other shard of the connector, of whatever generation, has it.
    pub(crate) fn lane(self, index: u32) -> u32 {
        let generation = (self.generation & GENERATION_MASK) << (LANE_BITS + SHARD_BITS);
        SHARDED_LANE | generation | self.index << LANE_BITS | index
    }

    /// What is added to the number of a record that it parks, so that no other record of the connector has it.
    pub(crate) fn parked_base(self) -> u64 {
        let generation = u64::from(self.generation & GENERATION_MASK) << (PARKED_BITS + SHARD_BITS);
        generation | u64::from(self.index) << PARKED_BITS
    }

    fn name(self) -> String {
        format!("{}.{}", self.generation, self.index)
    }
}

/// What is leased, checkpointed and run by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// What leases, claims and plans call it: the connector's id, with the shard behind it if there is one.
    pub(crate) name: Arc<str>,
    /// Which shard; none when the connector is not spread.
    pub(crate) shard: Option<Shard>,
}

impl Unit {
    /// A connector as a whole.
    pub(crate) fn whole(connector_id: &Arc<str>) -> Self {
        Self { name: Arc::clone(connector_id), shard: None }
    }

    /// A shard of a connector.
    pub(crate) fn of(connector_id: &str, shard: Shard) -> Self {
        Self { name: Arc::from(format!("{connector_id}/{}", shard.name())), shard: Some(shard) }
    }
}

/// One way to spread a connector's records, that was used and is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Its number.
    pub(crate) number: u32,
    /// How many shards it had.
    pub(crate) count: u32,
    /// What decided which shard and lane a record took.
    pub(crate) order: SettingsMap,
    /// What it settled is nowhere above this; known once it was taken over from.
    pub(crate) horizon: Option<Position>,
}

impl Generation {
    /// Its units, in order.
    pub(crate) fn units(&self, connector_id: &Arc<str>) -> Vec<Unit> {
        if self.number == 0 {
            return vec![Unit::whole(connector_id)];
        }
        let (generation, count) = (self.number, self.count);
        (0..count).map(|index| Unit::of(connector_id, Shard { generation, index, count })).collect()
    }
}

/// The number of shards that settings ask for; what cannot be read was refused when they were given.
pub(crate) fn shards_in(settings: &SettingsMap) -> u32 {
    let given = settings.get(SETTING_SHARDS).and_then(|given| given.trim().parse().ok());
    given.unwrap_or(1).clamp(1, crate::settings::SHARDS_MAX)
}

/// What in settings decides which shard and lane a record takes.
pub(crate) fn order_in(settings: &SettingsMap) -> SettingsMap {
    let given = |key: &&str| Some(((*key).to_owned(), settings.get(key)?.trim().to_owned()));
    SettingsMap::from_flat(ORDER_SETTINGS.iter().filter_map(given))
}

/// Settings under which records take the shards and lanes that they took under this order.
pub(crate) fn put_order(settings: &mut SettingsMap, order: &SettingsMap) {
    for key in ORDER_SETTINGS {
        settings.remove(key);
    }
    for (key, value) in order.iter() {
        settings.insert(key, value);
    }
}

/// The connector that a unit's name belongs to.
pub(crate) fn connector_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(connector, _)| connector)
}

/// Where the streams of a unit are: `prefix/orders`, or `prefix/orders/shards/2.3`.
pub(crate) fn folder(prefix: &str, name: &str) -> String {
    match name.split_once('/') {
        None => format!("{prefix}/{name}"),
        Some((connector, shard)) => in_shards(&format!("{prefix}/{connector}"), shard),
    }
}

/// Where the streams of a shard of a generation are, by where those of its connector are.
pub(crate) fn shard_folder(connector: &str, generation: u32, index: u32) -> String {
    if generation == 0 {
        return connector.to_owned();
    }
    in_shards(connector, &Shard { generation, index, count: 0 }.name())
}

fn in_shards(connector: &str, shard: &str) -> String {
    format!("{connector}/shards/{shard}")
}

/// The lowest epoch that a unit of this name may have.
pub(crate) fn first_epoch(name: &str) -> u64 {
    let shard = name.split_once('/').and_then(|(_, shard)| shard.split_once('.'));
    let generation = shard.and_then(|(generation, _)| generation.parse::<u32>().ok()).unwrap_or(0);
    u64::from(generation) << EPOCHS_PER_GENERATION_BITS | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_says_where_the_streams_are() {
        let id: Arc<str> = Arc::from("orders");
        let shard = Shard { generation: 2, index: 3, count: 4 };
        assert_eq!(folder("$connectors", &Unit::whole(&id).name), "$connectors/orders");
        assert_eq!(folder("$connectors", &Unit::of(&id, shard).name), "$connectors/orders/shards/2.3");
        assert_eq!(connector_of("orders/2.3"), "orders");
        assert_eq!((first_epoch("orders"), first_epoch("orders/2.3")), (1, (2 << 32) + 1));
    }

    #[test]
    fn no_two_lanes_and_no_two_parked_records_have_one_number() {
        let shards = |generation| (0..64).map(move |index| Shard { generation, index, count: 64 });
        let all: Vec<_> = [1, 2, GENERATION_MASK].into_iter().flat_map(shards).collect();
        let lanes: BTreeSet<_> = all.iter().flat_map(|shard| (0..256).map(|lane| shard.lane(lane))).collect();
        assert_eq!(lanes.len(), 3 * 64 * 256);
        let parked: BTreeSet<_> = all.iter().map(|shard| shard.parked_base()).collect();
        assert_eq!(parked.len(), 3 * 64);
        assert!(
            parked.iter().all(|base| i64::try_from(base + ((1 << PARKED_BITS) - 1)).is_ok()),
            "they fit into a row"
        );
    }

    #[test]
    fn settings_say_how_records_are_spread() {
        let of = |pairs: &[(&str, &str)]| {
            SettingsMap::from_flat(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
        };
        assert_eq!(shards_in(&of(&[])), 1);
        assert_eq!(shards_in(&of(&[("Subscription:Shards", " 7 ")])), 7);
        let (one, other) = (of(&[("ordering", "stream"), ("url", "a")]), of(&[("ordering", "stream"), ("url", "b")]));
        assert_eq!(order_in(&one), order_in(&other));
    }
}
