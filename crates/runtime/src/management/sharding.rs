//! Owns how a connector is spread over shards, as its stream says: which generation holds, and which of its shards run.

use std::collections::BTreeSet;
use std::sync::Arc;

use forebay_connector::settings::SettingsMap;
use forebay_event::{Position, Revision};

use crate::unit::{Generation, Shard, Unit, order_in, shards_in};

/// So many generations may wait at most for records that the first of them began with.
pub(crate) const EARLIER_MAX: usize = 8;

/// How a connector is spread. One that never had shards is generation 0 and has nothing to say here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sharding {
    /// The present generation.
    pub(crate) generation: u32,
    count: u32,
    /// What decides which shard a record takes, once a start was accepted.
    order: Option<SettingsMap>,
    /// Its shards may run: all of the earlier generation are closed.
    is_open: bool,
    /// What earlier generations settled does not count: a user said where to begin, or the connector was made anew.
    pub(crate) begins_anew: bool,
    /// The connector was made anew and not started since.
    is_reborn: bool,
    /// Earlier generations, the oldest first: those whose settled records still count. The last one is what the present
    /// one takes over from.
    pub(crate) earlier: Vec<Generation>,
    running: BTreeSet<u32>,
    stopped: BTreeSet<u32>,
    /// The last failure of any shard.
    pub(crate) failed: Option<Revision>,
}

impl Sharding {
    /// What is left of it when the connector is made anew: generations go on counting, so that no stream is used twice.
    pub(super) fn reborn(&self) -> Self {
        if self.generation == 0 {
            return Self::default();
        }
        let running = BTreeSet::new();
        Self { is_reborn: true, running, stopped: BTreeSet::new(), failed: None, ..self.clone() }
    }

    /// Takes in a start.
    pub(super) fn activated(&mut self, settings: &SettingsMap, start_is_given: bool) {
        let (count, order) = (shards_in(settings), order_in(settings));
        self.running.clear();
        self.stopped.clear();
        if !self.changes_with(settings, start_is_given) {
            self.order = Some(order);
            return;
        }
        let was_open = self.is_open();
        if let (true, Some(order)) = (was_open, self.order.take()) {
            self.earlier.push(Generation { number: self.generation, count: self.count(), order, horizon: None });
        }
        self.begins_anew = start_is_given || self.is_reborn || (!was_open && self.begins_anew);
        self.generation += 1;
        self.count = count;
        self.order = Some(order);
        self.is_open = false;
        self.is_reborn = false;
    }

    /// Whether a start with these settings begins another generation.
    pub(crate) fn changes_with(&self, settings: &SettingsMap, start_is_given: bool) -> bool {
        let count = shards_in(settings);
        if self.generation == 0 && count == 1 {
            return false;
        }
        let is_same = count == self.count() && self.order.as_ref() == Some(&order_in(settings));
        // What was never opened may be half made, for other settings.
        !is_same || !self.is_open || start_is_given || self.is_reborn
    }

    /// Takes in that all of the earlier generation are closed. What generations before `since` settled is all below where
    /// the present one begins.
    pub(super) fn opened(&mut self, generation: u32, since: Option<u32>, horizon: Position) {
        if generation != self.generation || self.is_open() {
            return;
        }
        self.is_open = true;
        self.begins_anew = false;
        if let Some(last) = self.earlier.last_mut() {
            last.horizon = Some(horizon);
        }
        self.earlier.retain(|earlier| since.is_some_and(|since| earlier.number >= since));
    }

    /// Takes in that a shard runs; whether all do.
    pub(super) fn runs(&mut self, shard: (u32, u32)) -> bool {
        if shard.0 == self.generation {
            self.stopped.remove(&shard.1);
            self.running.insert(shard.1);
        }
        self.is_open() && self.running.len() >= self.count() as usize
    }

    /// Takes in that a shard has stopped; whether all have.
    pub(super) fn stops(&mut self, shard: (u32, u32)) -> bool {
        if shard.0 == self.generation {
            self.running.remove(&shard.1);
            self.stopped.insert(shard.1);
        }
        let supervised = if self.is_open() { self.count() as usize } else { 1 };
        self.stopped.len() >= supervised
    }

    /// Takes in that one has failed, and with it all.
    pub(super) fn fails(&mut self, at: Revision) {
        self.running.clear();
        self.stopped.clear();
        self.failed = Some(at);
    }

    /// Takes in that all are to stop.
    pub(super) fn is_to_stop(&mut self) {
        self.stopped.clear();
    }

    /// Whether it runs, by what was reported.
    pub(crate) fn is_running(&self, index: u32) -> bool {
        self.running.contains(&index)
    }

    /// Whether it has stopped, by what was reported.
    pub(crate) fn has_stopped(&self, index: u32) -> bool {
        self.stopped.contains(&index)
    }

    /// Whether its shards may run.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open || self.generation == 0
    }

    /// How many shards there are.
    pub(crate) fn count(&self) -> u32 {
        self.count.max(1)
    }

    /// What decides which shard a record takes.
    pub(crate) fn order(&self) -> Option<&SettingsMap> {
        self.order.as_ref()
    }

    /// What is run: the connector as a whole, or its shards. Until the earlier generation is closed it is one, which does
    /// that.
    pub(crate) fn units(&self, connector_id: &Arc<str>) -> Vec<Unit> {
        if self.generation == 0 {
            return vec![Unit::whole(connector_id)];
        }
        let (generation, count) = (self.generation, self.count());
        let supervised = if self.is_open() { count } else { 1 };
        (0..supervised).map(|index| Unit::of(connector_id, Shard { generation, index, count })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(shards: u32) -> SettingsMap {
        let pairs = [("ordering", "stream".to_owned()), ("subscription:shards", shards.to_string())];
        SettingsMap::from_flat(pairs.map(|(key, value)| (key.to_owned(), value)))
    }

    fn names(sharding: &Sharding) -> Vec<String> {
        sharding.units(&Arc::from("orders")).into_iter().map(|unit| unit.name.to_string()).collect()
    }

    fn numbers(sharding: &Sharding) -> Vec<(u32, u32)> {
        sharding.earlier.iter().map(|earlier| (earlier.number, earlier.count)).collect()
    }

    #[test]
    fn a_connector_without_shards_stays_as_it_is() {
        let mut sharding = Sharding::default();
        for given in [true, false] {
            sharding.activated(&settings(1), given);
            assert_eq!((names(&sharding), sharding.is_open()), (vec!["orders".to_owned()], true));
        }
    }

    #[test]
    fn another_number_of_shards_is_another_generation_that_must_be_opened() {
        let mut sharding = Sharding::default();
        sharding.activated(&settings(1), false);
        sharding.activated(&settings(3), false);
        assert_eq!(names(&sharding), ["orders/1.0"], "one takes over from the whole");
        assert_eq!(numbers(&sharding), [(0, 1)]);
        sharding.activated(&settings(3), false);
        assert_eq!(names(&sharding), ["orders/2.0"], "what was not opened is not gone on with");
        sharding.opened(2, Some(0), Position::new(9));
        assert_eq!(names(&sharding), ["orders/2.0", "orders/2.1", "orders/2.2"]);
        sharding.activated(&settings(3), false);
        assert_eq!(sharding.units(&Arc::from("orders")).len(), 3, "what was opened is");
        sharding.activated(&settings(1), false);
        sharding.activated(&settings(5), false);
        assert_eq!(names(&sharding), ["orders/4.0"]);
        assert_eq!(numbers(&sharding), [(0, 1), (2, 3)], "what was never opened is passed over");
        sharding.opened(3, None, Position::new(99));
        assert!(!sharding.is_open(), "that was another generation");
        sharding.opened(4, Some(2), Position::new(99));
        assert_eq!(numbers(&sharding), [(2, 3)]);
        assert_eq!(sharding.earlier[0].horizon, Some(Position::new(99)));
    }

    #[test]
    fn where_a_user_begins_nothing_counts_that_was_settled() {
        let mut sharding = Sharding::default();
        sharding.activated(&settings(2), false);
        assert!(!sharding.begins_anew && sharding.earlier.is_empty());
        sharding.opened(1, None, Position::new(1));
        sharding.activated(&settings(2), false);
        assert_eq!((sharding.generation, sharding.is_open()), (1, true), "a mere restart");
        sharding.activated(&settings(2), true);
        assert_eq!((sharding.generation, sharding.begins_anew), (2, true));
        sharding.activated(&settings(3), false);
        assert_eq!((sharding.generation, sharding.begins_anew), (3, true), "it was not opened in between");
        let mut reborn = sharding.reborn();
        reborn.activated(&settings(1), false);
        assert_eq!((reborn.generation, reborn.begins_anew, names(&reborn)), (4, true, vec!["orders/4.0".to_owned()]));
    }

    #[test]
    fn all_run_when_each_does_and_have_stopped_when_each_has() {
        let mut sharding = Sharding::default();
        sharding.activated(&settings(2), false);
        sharding.opened(1, None, Position::new(1));
        assert!(!sharding.runs((1, 0)) && !sharding.runs((1, 0)) && !sharding.runs((9, 1)) && sharding.runs((1, 1)));
        sharding.is_to_stop();
        assert!(!sharding.stops((1, 1)) && sharding.stops((1, 0)));
        assert!(sharding.has_stopped(0) && !sharding.is_running(0));
    }
}
