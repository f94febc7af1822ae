//! Owns moving parked records from the stream of a shard that is no more to that of the one that has their key now.

use forebay_store::{AppendError, ReadError};

use super::index::{Line, Parked};
use super::lot::{ParkError, ParkingLot};
use super::stored::{Happened, RefusedBody, ReplayBody};
use crate::pipeline::key::Key;

/// Why parked records were not moved.
#[derive(Debug, thiserror::Error)]
pub(in crate::pipeline) enum MoveError {
    /// Somebody else writes to the stream.
    #[error("another owner writes to the parked stream")]
    Fenced,
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store did not take it.
    #[error(transparent)]
    Append(AppendError),
}

impl From<ParkError> for MoveError {
    fn from(error: ParkError) -> Self {
        match error {
            ParkError::Append(error) => Self::Append(error),
            // Nothing that is moved is measured by the bounds.
            ParkError::Fenced | ParkError::FullOfKeys { .. } | ParkError::FullOfBytes { .. } => Self::Fenced,
        }
    }
}

impl ParkingLot {
    /// The keys that are parked.
    pub(in crate::pipeline) async fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<_> = self.index().await.lines().keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Takes all that another lot has parked of a key, in its order, whatever the bounds; what was taken before is not
    /// taken again.
    pub(in crate::pipeline) async fn take_from(&self, other: &Self, key: Key) -> Result<(), MoveError> {
        let Some(line) = other.index().await.line(key).cloned() else { return Ok(()) };
        for parked in line.records.values() {
            self.take_record(other, key, parked).await?;
        }
        self.take_replay(key, &line).await
    }

    async fn take_record(&self, other: &Self, key: Key, parked: &Parked) -> Result<(), MoveError> {
        let mut index = self.index().await;
        if !index.holds(parked.position, key) {
            let mut body = other.stream().parked(parked.place).await?;
            body.known_as = Some(other.number_for_targets(parked));
            let happened = Happened::Parked(Box::new(body));
            self.stream().append_moved(&mut index, &happened, parked.parked_at.clone()).await?;
        }
        let Some(mine) = index.line(key).and_then(|line| line.records.get(&parked.position)).cloned() else {
            return Ok(());
        };
        let text = index.line(key).map(|line| line.text.clone()).unwrap_or_default();
        let number = mine.number.get();
        if let (Some((place, _)), None) = (parked.edited, mine.edited) {
            let mut edit = other.stream().edit(place).await?;
            (edit.key, edit.number) = (text.clone(), number);
            self.stream().append(&mut index, &Happened::Edited(edit)).await?;
        }
        if let Some(error) = parked.error.clone().filter(|_| parked.attempts != mine.attempts) {
            let body = RefusedBody { key: text, number, attempts: parked.attempts, error };
            self.stream().append(&mut index, &Happened::Refused(body)).await?;
        }
        Ok(())
    }

    /// A key that was being replayed goes on being replayed.
    async fn take_replay(&self, key: Key, line: &Line) -> Result<(), MoveError> {
        let mut index = self.index().await;
        let Some(replay) = line.replay else { return Ok(()) };
        if index.line(key).is_none_or(|line| line.replay.is_some()) {
            return Ok(());
        }
        let records_per_s = replay.records_per_s;
        let up_to = index.newest_of(key).filter(|_| records_per_s.is_some());
        let text = index.line(key).map(|line| line.text.clone()).unwrap_or_default();
        let began = ReplayBody { key: text, keying: index.keying().layout(), records_per_s, up_to };
        self.stream().append(&mut index, &Happened::ReplayBegan(began)).await?;
        Ok(())
    }
}
