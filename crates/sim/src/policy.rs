//! Owns what the target never takes, and what the connector's table says is to become of it.

use crate::chance::Chance;

/// The statuses that the target refuses a record with.
const STATUSES: [u16; 4] = [400, 404, 409, 422];

/// What a row of the connector's table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Retry,
    Park,
    Skip,
    Stop,
}

/// Which records the target refuses, and what the connector was told to do with them.
#[derive(Clone, Debug)]
pub(crate) struct Refusals {
    seed: u64,
    permille: u64,
    /// For each status; none when the table has no row for it: then it is parked.
    actions: [Option<Action>; STATUSES.len()],
}

impl Refusals {
    /// Refuses so many records in a thousand. A connector may stop at one only where that is asked for.
    pub(crate) fn of(seed: u64, permille: u64, may_stop: bool) -> Self {
        let chance = Chance::of(seed, "policy");
        let has_table = chance.hits(500);
        let actions = std::array::from_fn(|_| match chance.between(0, 4) {
            _ if !has_table => None,
            0 => Some(Action::Park),
            1 | 2 => Some(Action::Skip),
            3 if may_stop => Some(Action::Stop),
            3 => None,
            _ => Some(Action::Retry),
        });
        Self { seed, permille, actions }
    }

    /// The table as the setting has it; empty when there is none.
    pub(crate) fn table(&self) -> String {
        let row = |(status, action): (&u16, &Option<Action>)| {
            let word = match (*action)? {
                Action::Retry => "retry",
                Action::Park => "park",
                Action::Skip => "skip",
                Action::Stop => "stop",
            };
            Some(format!("status:{status}={word}"))
        };
        STATUSES.iter().zip(&self.actions).filter_map(row).collect::<Vec<_>>().join(",")
    }

    /// With which status the record at this position is refused, and what is to become of it. What is tried again, and
    /// what a person has to look at, is refused only while there are faults.
    pub(crate) fn of_record(&self, position: u64) -> Option<(u16, Action)> {
        let chance = Chance::of(self.seed ^ position, "refused");
        if !chance.hits(self.permille) {
            return None;
        }
        let which = chance.size(0, STATUSES.len() - 1);
        let status = STATUSES.get(which).copied()?;
        Some((status, self.actions.get(which).copied().flatten().unwrap_or(Action::Park)))
    }

    /// With which status the target refuses a record now.
    pub(crate) fn refuses(&self, position: u64, is_hostile: bool) -> Option<u16> {
        let (status, action) = self.of_record(position)?;
        let ends = matches!(action, Action::Retry | Action::Stop);
        (is_hostile || !ends).then_some(status)
    }
}
