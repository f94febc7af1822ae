//! Owns the way from whoever asks about parked records to the lane that their key belongs to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_store::{AppendError, ReadError};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::lot::{ParkError, ParkingLot};
use crate::pipeline::key::Key;

/// How many commands may wait for one lane.
pub(in crate::pipeline) const LANE_ORDERS_MAX: usize = 16;
/// A command that the lane has not begun to answer by then is answered with "busy"; it may still be carried out.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// What is asked about a parked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParkedCommand {
    /// Tries its first record once.
    Retry,
    /// Tries its first record once, then delivers the rest in order.
    Replay {
        /// At most so many records in a second; from 1.
        records_per_s: Option<u32>,
    },
    /// Gives a record another payload.
    Edit {
        /// The record's number.
        number: u64,
        /// The payload to deliver.
        data: Bytes,
        /// Why.
        reason: String,
    },
    /// Gives up one record, or all that are parked now.
    Drop {
        /// The record's number; all when absent.
        number: Option<u64>,
        /// Why.
        reason: String,
    },
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParkedOutcome {
    /// The first record was delivered; so many of its key are left. After a replay these follow by themselves.
    Delivered {
        /// Records still parked.
        left: u64,
    },
    /// The first record was not taken yet; it is tried again and the rest follows, without anybody asking.
    Waiting {
        /// The kind of failure.
        class: &'static str,
        /// What the target said.
        message: String,
        /// Records still parked.
        left: u64,
    },
    /// The first record was refused again; its key stays parked.
    Refused {
        /// The kind of failure.
        class: &'static str,
        /// What the target said.
        message: String,
        /// Records still parked.
        left: u64,
    },
    /// The record has another payload.
    Edited,
    /// Records were given up.
    Dropped {
        /// How many.
        records: u64,
    },
}

/// Why a command about a parked key was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ParkedRefusal {
    /// No records of this key are parked.
    #[error("no records of key {key} are parked")]
    NoKey {
        /// The key.
        key: String,
    },
    /// No record of this number is parked under the key.
    #[error("record {number} of key {key} is not parked")]
    NoRecord {
        /// The key.
        key: String,
        /// The number.
        number: u64,
    },
    /// The key is being replayed.
    #[error("key {key} is being replayed")]
    Replaying {
        /// The key.
        key: String,
    },
    /// The pipeline does not run, so nothing can be delivered.
    #[error("the connector does not run here")]
    NotRunning,
    /// Another node runs the shard of this key.
    #[error("the shard of key {key} runs on node {node}: ask there")]
    Elsewhere {
        /// The key.
        key: String,
        /// Which node, by name and address.
        node: String,
    },
    /// The lane has other things to do.
    #[error("the lane of key {key} is busy")]
    Busy {
        /// The key.
        key: String,
    },
    /// The new payload would go beyond what may be parked.
    #[error("{bytes} bytes are parked, and with this payload more than parking:bytesMax allows, {limit}")]
    Full {
        /// What is parked.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The connector was changed at the same time.
    #[error("the parked records were changed by somebody else at the same time")]
    Conflict,
    /// The store did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<ParkError> for ParkedRefusal {
    fn from(error: ParkError) -> Self {
        match error {
            ParkError::Append(error) => Self::Append(error),
            ParkError::FullOfBytes { bytes, limit } => Self::Full { bytes, limit },
            ParkError::Fenced | ParkError::FullOfKeys { .. } => Self::Conflict,
        }
    }
}

/// A command on its way to a lane.
pub(in crate::pipeline) struct LaneOrder {
    pub(in crate::pipeline) key: Key,
    pub(in crate::pipeline) text: String,
    pub(in crate::pipeline) command: ParkedCommand,
    pub(in crate::pipeline) reply: oneshot::Sender<Result<ParkedOutcome, ParkedRefusal>>,
}

/// How to reach a running pipeline.
#[derive(Clone)]
pub(in crate::pipeline) struct Reach {
    pub(in crate::pipeline) lot: Arc<ParkingLot>,
    pub(in crate::pipeline) lanes: Vec<mpsc::Sender<LaneOrder>>,
}

/// Where commands about parked records of one connector are handed in; closed while its pipeline does not run. Cheap to
/// clone.
#[derive(Clone, Default)]
pub struct ParkedDesk(Arc<Mutex<Option<Reach>>>);

impl std::fmt::Debug for ParkedDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParkedDesk").field("is_open", &self.is_open()).finish()
    }
}

/// Closes the desk when the pipeline ends, however it ends.
pub(in crate::pipeline) struct OpenDesk(ParkedDesk);

impl Drop for OpenDesk {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

impl ParkedDesk {
    /// Opens it until what is answered is dropped.
    pub(in crate::pipeline) fn open(&self, reach: Reach) -> OpenDesk {
        *self.0.lock() = Some(reach);
        OpenDesk(self.clone())
    }

    /// Whether a pipeline takes commands.
    pub fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    pub(super) fn reach(&self) -> Option<Reach> {
        self.0.lock().clone()
    }

    /// Has a command carried out by the lane of its key, in turn with what the lane delivers.
    pub async fn ask(&self, key: &str, command: ParkedCommand) -> Result<ParkedOutcome, ParkedRefusal> {
        let reach = self.reach().ok_or(ParkedRefusal::NotRunning)?;
        let found = reach.lot.index().await.key_of(key);
        let found = found.ok_or_else(|| ParkedRefusal::NoKey { key: key.to_owned() })?;
        let lane = reach.lanes.get(found.lane(reach.lanes.len())).ok_or(ParkedRefusal::NotRunning)?;
        let (reply, answer) = oneshot::channel();
        let busy = || ParkedRefusal::Busy { key: key.to_owned() };
        lane.try_send(LaneOrder { key: found, text: key.to_owned(), command, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy(),
            mpsc::error::TrySendError::Closed(_) => ParkedRefusal::NotRunning,
        })?;
        match tokio::time::timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ParkedRefusal::NotRunning),
            Err(_) => Err(busy()),
        }
    }
}

impl ParkingLot {
    /// Carries out what needs no sink.
    pub(in crate::pipeline) async fn change(
        &self,
        key: Key,
        text: &str,
        command: &ParkedCommand,
    ) -> Result<ParkedOutcome, ParkedRefusal> {
        let no_record = |number| ParkedRefusal::NoRecord { key: text.to_owned(), number };
        match command {
            ParkedCommand::Edit { number, data, reason } => {
                if self.edited(key, *number, (data, reason)).await? {
                    Ok(ParkedOutcome::Edited)
                } else {
                    Err(no_record(*number))
                }
            }
            ParkedCommand::Drop { number, reason } => match (self.dropped(key, *number, reason).await?, number) {
                (0, Some(number)) => Err(no_record(*number)),
                (0, None) => Err(ParkedRefusal::NoKey { key: text.to_owned() }),
                (records, _) => Ok(ParkedOutcome::Dropped { records }),
            },
            ParkedCommand::Retry | ParkedCommand::Replay { .. } => Err(ParkedRefusal::NotRunning),
        }
    }
}
