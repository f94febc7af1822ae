//! Owns the positions of a transactional target: one row for each lane, which moves in the transaction of the data.
//!
//! Who claims a row shuts out whoever claimed it before: a transaction counts only under the claim that stands there.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_event::Position;
use parking_lot::Mutex;

use crate::history::{Fact, History};

/// The rows.
#[derive(Debug)]
pub(crate) struct Ledger {
    connector: usize,
    history: Arc<History>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<u32, Row>,
    /// Counts claims, so that no two are the same.
    claims: u64,
    /// The rows of parked records that are written: number to position.
    parked: BTreeMap<u64, Position>,
}

/// What a transaction does to the rows of parked records.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParkedRows {
    /// The numbers of the records that it writes.
    pub(crate) written: Vec<u64>,
    /// Rows below this number, and these, are of no use any more.
    pub(crate) oldest: u64,
    pub(crate) heard: Vec<u64>,
}

/// A lane's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) epoch: u64,
    /// The claim that stands.
    pub(crate) claim: u64,
    /// The last transaction.
    pub(crate) token: u64,
    pub(crate) position: Option<Position>,
}

/// The right to write to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) lane: u32,
    pub(crate) epoch: u64,
    number: u64,
}

/// The row is a newer owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fenced;

impl Ledger {
    pub(crate) fn new(connector: usize, history: Arc<History>) -> Self {
        Self { connector, history, state: Mutex::default() }
    }

    /// Where a lane stands.
    pub(crate) fn row(&self, lane: u32) -> Option<Row> {
        self.state.lock().rows.get(&lane).copied()
    }

    /// Claims a lane's row: answers it as it was.
    pub(crate) fn claim(&self, lane: u32, epoch: u64) -> Result<(Claim, Row), Fenced> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let row = state.rows.entry(lane).or_default();
        if row.epoch > epoch {
            drop(guard);
            self.history.add_of(Some(self.connector), Fact::Refused { epoch });
            return Err(Fenced);
        }
        let before = *row;
        state.claims += 1;
        (row.epoch, row.claim) = (epoch, state.claims);
        let claim = Claim { lane, epoch, number: state.claims };
        drop(guard);
        self.history.add_of(Some(self.connector), Fact::Claimed { lane, epoch });
        Ok((claim, before))
    }

    /// Which of these parked records are written.
    pub(crate) fn written(&self, numbers: &[u64]) -> Vec<Position> {
        let state = self.state.lock();
        numbers.iter().filter_map(|number| state.parked.get(number).copied()).collect()
    }

    /// Takes records and moves the position, all at once, if the claim still stands. Parked ones do not move it; each
    /// writes a row of its own.
    pub(crate) fn commit(
        &self,
        claim: Claim,
        token: u64,
        records: &[Position],
        parked: Option<&ParkedRows>,
    ) -> Result<(), Fenced> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let row = state.rows.entry(claim.lane).or_default();
        if (row.epoch, row.claim) != (claim.epoch, claim.number) {
            drop(guard);
            self.history.add_of(Some(self.connector), Fact::Refused { epoch: claim.epoch });
            return Err(Fenced);
        }
        row.token = token;
        match parked {
            None => row.position = row.position.max(records.iter().max().copied()),
            Some(rows) => {
                state.parked.retain(|number, _| *number >= rows.oldest && !rows.heard.contains(number));
                state.parked.extend(rows.written.iter().copied().zip(records.iter().copied()));
            }
        }
        drop(guard);
        let Claim { lane, epoch, .. } = claim;
        self.history.add_of(Some(self.connector), Fact::Committed { lane, epoch, records: records.len() });
        for position in records {
            self.history.add_of(Some(self.connector), Fact::Applied { position: position.commit() });
        }
        Ok(())
    }
}
