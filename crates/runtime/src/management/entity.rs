//! Owns what a connector is: the fold of its management stream, and which commands fit its state.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::settings::SettingsMap;
use forebay_event::{Position, Revision, Timestamp};

use super::event::{Happening, ManagementEvent};
use super::sharding::Sharding;
use super::{ConnectorState, ErrorDetails};
use crate::unit::Unit;

/// A run that lasted this long counts as a success: the count of failures in a row begins anew.
pub(crate) const STEADY: Duration = Duration::from_secs(60);

/// A connector as its stream says it is.
#[derive(Clone, Debug)]
pub(crate) struct Entity {
    /// Its id.
    pub(crate) id: Arc<str>,
    /// Where its stream ends; none when nothing was written.
    pub(crate) stream_revision: Option<Revision>,
    /// What is known; none when it was never created.
    pub(crate) facts: Option<Facts>,
}

/// What is known about a connector that was created. Settings are as stored: secrets sealed.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) name: String,
    /// The type's name at creation; reconfiguring does not change it.
    pub(crate) kind: String,
    pub(crate) settings: SettingsMap,
    pub(crate) settings_at: Timestamp,
    /// Counts reconfigurations since the last creation.
    pub(crate) revision: u64,
    pub(crate) created_at: Timestamp,
    /// Where the first creation stands in the log; gives the order of lists, also after it was created anew.
    pub(crate) place: Position,
    pub(crate) updated_at: Timestamp,
    pub(crate) deleted_at: Option<Timestamp>,
    /// The observed state: what the last command or report said.
    pub(crate) state: ConnectorState,
    pub(crate) state_at: Timestamp,
    pub(crate) error: Option<ErrorDetails>,
    /// The last accepted start since the last creation.
    pub(crate) activation: Option<Arc<Activation>>,
    /// The desired state: whether that start still holds.
    pub(crate) wanted: bool,
    /// Failures in a row since the last start.
    pub(crate) failures: u32,
    /// When it is tried again after a failure.
    pub(crate) next_restart: Option<Timestamp>,
    /// How it is spread over shards.
    pub(crate) sharding: Sharding,
}

/// An accepted start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activation {
    /// The revision of the event that says so; names this activation.
    pub(crate) revision: Revision,
    /// Where that event stands in the log: checkpoints behind it were written by this activation.
    pub(crate) position: Position,
    /// The settings to run with.
    pub(crate) settings: SettingsMap,
    /// Where to begin, if the start said so.
    pub(crate) start_from: Option<Position>,
}

impl Entity {
    /// A connector of which nothing is known.
    pub(crate) fn unknown(id: &str) -> Self {
        Self { id: Arc::from(id), stream_revision: None, facts: None }
    }

    /// What is known, unless it was never created or is deleted.
    pub(crate) fn live(&self) -> Option<&Facts> {
        self.facts.as_ref().filter(|facts| facts.deleted_at.is_none())
    }

    /// What should run now.
    pub(crate) fn wanted(&self) -> Option<&Arc<Activation>> {
        self.live().filter(|facts| facts.wanted).and_then(|facts| facts.activation.as_ref())
    }

    /// What is run of it.
    pub(crate) fn units(&self) -> Vec<Unit> {
        self.facts.as_ref().map_or_else(|| vec![Unit::whole(&self.id)], |facts| facts.sharding.units(&self.id))
    }

    /// Whether a unit is one of those that are run by now.
    pub(crate) fn has_unit(&self, unit: &Unit) -> bool {
        let generation = self.facts.as_ref().map_or(0, |facts| facts.sharding.generation);
        unit.shard.map_or(0, |shard| shard.generation) == generation
    }

    /// Takes in what stands at a revision; what it has taken in before changes nothing.
    pub(crate) fn take_in(&mut self, at: (Revision, Position), event: Option<&ManagementEvent>) {
        let (revision, position) = at;
        if self.stream_revision.is_some_and(|seen| seen >= revision) {
            return;
        }
        self.stream_revision = Some(revision);
        match event {
            None => {}
            Some(ManagementEvent { at: time, what: Happening::Created { name, settings } }) => {
                let place = self.facts.as_ref().map_or(position, |facts| facts.place);
                let sharding = self.facts.as_ref().map(|facts| facts.sharding.reborn()).unwrap_or_default();
                self.facts = Some(Facts { sharding, ..Facts::created(*time, place, name, settings) });
            }
            Some(event) => {
                if let Some(facts) = &mut self.facts {
                    facts.take_in(at, event);
                }
            }
        }
    }
}

impl Facts {
    fn created(at: Timestamp, place: Position, name: &str, settings: &SettingsMap) -> Self {
        Self {
            name: name.to_owned(),
            kind: settings.get("instanceTypeName").unwrap_or_default().to_owned(),
            settings: settings.clone(),
            settings_at: at,
            revision: 0,
            created_at: at,
            place,
            updated_at: at,
            deleted_at: None,
            state: ConnectorState::Stopped,
            state_at: at,
            error: None,
            activation: None,
            wanted: false,
            failures: 0,
            next_restart: None,
            sharding: Sharding::default(),
        }
    }

    fn take_in(&mut self, (revision, position): (Revision, Position), event: &ManagementEvent) {
        let at = event.at;
        self.updated_at = at;
        match &event.what {
            Happening::Created { .. } | Happening::ParkedChanged { .. } => {}
            Happening::Reconfigured { revision, settings } => {
                self.revision = (*revision).max(self.revision.saturating_add(1));
                self.settings = settings.clone();
                self.settings_at = at;
            }
            Happening::Renamed { name } => self.name.clone_from(name),
            Happening::Activating { settings, start_from } => {
                self.sharding.activated(settings, start_from.is_some());
                let (settings, start_from) = (settings.clone(), *start_from);
                self.activation = Some(Arc::new(Activation { revision, position, settings, start_from }));
                self.wanted = true;
                self.failures = 0;
                self.next_restart = None;
                self.reach(ConnectorState::Activating, at);
            }
            Happening::Running => {
                self.error = None;
                self.next_restart = None;
                self.reach(ConnectorState::Running, at);
            }
            Happening::Deactivating => {
                self.wanted = false;
                self.next_restart = None;
                self.sharding.is_to_stop();
                self.reach(ConnectorState::Deactivating, at);
            }
            Happening::Stopped => {
                self.error = None;
                self.reach(ConnectorState::Stopped, at);
            }
            Happening::Failed { error, next_restart } => {
                self.failures = self.failures_at(at);
                self.sharding.fails(revision);
                self.error = Some(error.clone());
                self.next_restart = *next_restart;
                if next_restart.is_none() {
                    self.wanted = false;
                }
                self.reach(ConnectorState::Stopped, at);
            }
            Happening::ShardRunning { shard } => self.shard_runs(*shard, at),
            Happening::ShardStopped { shard } => self.shard_stops(*shard, at),
            Happening::ShardsOpened { generation, since, horizon } => {
                self.sharding.opened(*generation, *since, *horizon);
            }
            Happening::Deleted => {
                self.wanted = false;
                self.next_restart = None;
                self.deleted_at = Some(at);
                self.reach(ConnectorState::Stopped, at);
            }
        }
    }

    /// A connector runs when all of its shards do.
    fn shard_runs(&mut self, shard: (u32, u32), at: Timestamp) {
        let all = self.sharding.runs(shard);
        if !self.wanted {
            return;
        }
        self.next_restart = None;
        match self.state {
            ConnectorState::Running => {}
            _ if all => {
                self.error = None;
                self.reach(ConnectorState::Running, at);
            }
            ConnectorState::Stopped => self.reach(ConnectorState::Activating, at),
            ConnectorState::Activating | ConnectorState::Deactivating => {}
        }
    }

    /// It has stopped when all of them have.
    fn shard_stops(&mut self, shard: (u32, u32), at: Timestamp) {
        if self.sharding.stops(shard) {
            self.error = None;
            self.reach(ConnectorState::Stopped, at);
        } else if self.wanted && self.state == ConnectorState::Running {
            self.reach(ConnectorState::Activating, at);
        }
    }

    /// How many failures in a row there are with one that happens now.
    pub(crate) fn failures_at(&self, at: Timestamp) -> u32 {
        let steady = self.state == ConnectorState::Running && at.since(self.state_at) >= STEADY;
        if steady { 1 } else { self.failures.saturating_add(1) }
    }

    fn reach(&mut self, state: ConnectorState, at: Timestamp) {
        self.state = state;
        self.state_at = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(happenings: &[Happening]) -> Facts {
        let mut entity = Entity::unknown("orders");
        for (number, what) in (0_u64..).zip(happenings) {
            let at = Timestamp::from_ticks(0).plus(Duration::from_secs(number));
            let event = ManagementEvent { at, what: what.clone() };
            entity.take_in((Revision::new(number), Position::new(number * 10)), Some(&event));
        }
        entity.facts.unwrap()
    }

    fn created() -> Happening {
        let settings = SettingsMap::from_flat([("instanceTypeName".to_owned(), "test-sink".to_owned())]);
        Happening::Created { name: "orders".to_owned(), settings }
    }

    fn activating() -> Happening {
        Happening::Activating { settings: SettingsMap::default(), start_from: None }
    }

    fn failed(next_restart: Option<Timestamp>) -> Happening {
        let error = ErrorDetails { code: "connect".to_owned(), message: "refused".to_owned() };
        Happening::Failed { error, next_restart }
    }

    #[test]
    fn what_was_running_stays_wanted_after_the_host_stopped_it() {
        let facts = fold(&[created(), activating(), Happening::Running, Happening::Stopped]);
        assert_eq!(facts.state, ConnectorState::Stopped);
        assert!(facts.wanted);
    }

    #[test]
    fn stop_failure_and_delete_end_the_wish_to_run() {
        assert!(!fold(&[created(), activating(), Happening::Deactivating]).wanted);
        assert!(!fold(&[created(), activating(), failed(None)]).wanted);
        assert!(fold(&[created(), activating(), failed(Some(Timestamp::from_ticks(9)))]).wanted);
        assert!(fold(&[created(), activating(), failed(None), Happening::Deleted]).deleted_at.is_some());
    }

    #[test]
    fn created_anew_counts_from_zero_and_keeps_its_place() {
        let reconfigured = Happening::Reconfigured { revision: 1, settings: SettingsMap::default() };
        let facts = fold(&[created(), reconfigured, Happening::Deleted, created()]);
        assert_eq!((facts.revision, facts.place, facts.deleted_at), (0, Position::new(0), None));
    }

    #[test]
    fn failures_in_a_row_are_counted() {
        let soon = Some(Timestamp::from_ticks(9));
        let facts = fold(&[created(), activating(), failed(soon), Happening::Running, failed(soon)]);
        assert_eq!(facts.failures, 2);
        assert_eq!(facts.failures_at(Timestamp::from_ticks(0).plus(Duration::from_secs(600))), 3);
    }

    #[test]
    fn a_revision_is_taken_in_once() {
        let mut entity = Entity::unknown("orders");
        let event = ManagementEvent { at: Timestamp::from_ticks(1), what: created() };
        entity.take_in((Revision::FIRST, Position::new(1)), Some(&event));
        entity.take_in((Revision::FIRST, Position::new(1)), None);
        entity.take_in((Revision::new(1), Position::new(2)), None);
        assert_eq!(entity.stream_revision, Some(Revision::new(1)));
    }
}
