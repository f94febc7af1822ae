//! Owns what commands and queries refuse.

use forebay_connector::settings::SettingsErrors;
use forebay_event::Position;
use forebay_store::{AppendError, ReadError};

use super::ConnectorState;
use crate::pipeline::ParkedRefusal;

/// One thing wrong with the identity given in a command: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Violation {
    /// `ConnectorId`, `Name`, `Reason` or `RecordsPerSecond`.
    pub field: &'static str,
    /// What is wrong, such as `must be between 5 and 50 characters long`.
    pub problem: String,
}

/// Why a command was refused.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Id or name break their rules.
    #[error("the request is not valid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// Settings are wrong.
    #[error("the settings are not valid: {0}")]
    Settings(#[from] SettingsErrors),
    /// There is no connector of this id.
    #[error("connector {id} is not found")]
    NotFound {
        /// The id.
        id: String,
    },
    /// It was deleted.
    #[error("connector {id} is deleted")]
    Deleted {
        /// The id.
        id: String,
    },
    /// A connector of this id exists.
    #[error("connector {id} exists already")]
    Exists {
        /// The id.
        id: String,
    },
    /// The command does not fit the state.
    #[error("connector {id} cannot {command} while it is {state:?}")]
    IllegalTransition {
        /// The id.
        id: String,
        /// What was asked.
        command: &'static str,
        /// What it is.
        state: ConnectorState,
    },
    /// The position to start from is not in the log.
    #[error("position {position} is not in the log, which ends at {end}")]
    NoSuchPosition {
        /// What was asked.
        position: Position,
        /// Where the log ends.
        end: Position,
    },
    /// Somebody else changed it at the same time.
    #[error("connector {id} was changed by somebody else at the same time")]
    Conflict {
        /// The id.
        id: String,
    },
    /// A command about parked records was not carried out.
    #[error("connector {id}: {refusal}")]
    Parked {
        /// The id.
        id: String,
        /// Why.
        refusal: Box<ParkedRefusal>,
    },
    /// Records of too many earlier ways to spread it over shards are still to be delivered.
    #[error(
        "connector {id} was spread anew {limit} times and records of before the first time are still not settled: start \
         it with its last order and {shards} shards until it has caught up"
    )]
    TooManyGenerations {
        /// The id.
        id: String,
        /// The bound.
        limit: usize,
        /// How many shards it has.
        shards: u32,
    },
    /// The bound on the number of connectors is reached.
    #[error("there are {limit} connectors already, the most this server runs")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// The store did not take the event.
    #[error(transparent)]
    Append(AppendError),
    /// The store did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no connector of this id.
    #[error("connector {id} is not found")]
    NotFound {
        /// The id.
        id: String,
    },
    /// Nothing is parked under this key.
    #[error("connector {id}: no records of key {key} are parked")]
    NotParked {
        /// The id.
        id: String,
        /// The key.
        key: String,
    },
    /// The settings to preview are wrong.
    #[error("the settings are not valid: {0}")]
    Settings(#[from] SettingsErrors),
    /// The store did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why the runtime could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A connector's stream holds something that cannot be read as management events.
    #[error("stream {stream} revision {revision} is not a management event: {reason}")]
    Unreadable {
        /// The stream.
        stream: String,
        /// Where in it.
        revision: u64,
        /// Why.
        reason: String,
    },
    /// The store did not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a file of connectors was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file's form is wrong.
    #[error("{place}: {problem}")]
    Form {
        /// Where: connector and key.
        place: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// One connector's command was refused.
    #[error("connector {id}: {error}")]
    Command {
        /// Which connector.
        id: String,
        /// Why.
        error: CommandError,
    },
}
