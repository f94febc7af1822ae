//! Owns what can go wrong with a script: when it is loaded, and record by record.

use forebay_event::Record;

/// A script that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The source is longer than the bound.
    #[error("the script has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The source has a character that no source may have.
    #[error("the script has a zero byte at {at}")]
    ZeroByte {
        /// Where.
        at: usize,
    },
    /// A limit outside its own bounds.
    #[error("the limit {limit} is {given}, it must be between {min} and {max}")]
    Limit {
        /// The limit.
        limit: &'static str,
        /// What was asked for.
        given: u128,
        /// The least that is possible.
        min: u128,
        /// The most that is possible.
        max: u128,
    },
    /// The source is not JavaScript.
    #[error("the script does not compile: line {line}, column {column}: {message}")]
    Syntax {
        /// The line, counted from 1; 0 when the engine does not say.
        line: u32,
        /// The column, counted from 1; 0 when the engine does not say.
        column: u32,
        /// What the engine says.
        message: String,
    },
    /// There is no `transform`.
    #[error("the script defines no function named `transform`")]
    Missing,
    /// `transform` is something else than a plain function.
    #[error("`transform` must be a plain function, it is {found}")]
    WrongKind {
        /// What it is.
        found: String,
    },
    /// The top level of the script threw.
    #[error("the script fails when it is loaded: {message}")]
    Threw {
        /// What it threw, and where.
        message: String,
    },
    /// The top level left promises behind that nobody will ever resolve.
    #[error("the script leaves asynchronous work behind when it is loaded")]
    Asynchronous,
    /// Loading took too long.
    #[error("the script takes longer than {limit_ms} ms to load")]
    TimedOut {
        /// The limit, in milliseconds.
        limit_ms: u128,
    },
    /// Loading took too much memory.
    #[error("the script takes more than {bytes_max} bytes of memory to load")]
    OutOfMemory {
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// The source nests too deep, or its top level does not stop calling itself.
    #[error("the script takes more than {bytes_max} bytes of stack to load")]
    StackOverflow {
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// The system gave no thread or the engine failed.
    #[error("the script's engine cannot be started: {reason}")]
    Engine {
        /// Why not.
        reason: String,
    },
}

/// A record that a script could not transform, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct TransformFailure {
    /// The record as it was.
    pub record: Record,
    /// The sort of failure.
    pub kind: FailureKind,
    /// What happened, in words; at most [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX) of the script's own.
    pub message: String,
}

/// The sorts of failure of a transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FailureKind {
    /// The script threw.
    #[error("transform threw")]
    Threw,
    /// The script took longer than its limit for one record.
    #[error("transform timed out")]
    TimedOut,
    /// The script took more memory than its limit.
    #[error("transform ran out of memory")]
    OutOfMemory,
    /// The script took more stack than its limit, or the data nests too deep.
    #[error("transform ran out of stack")]
    StackOverflow,
    /// What the script left or returned is not a record.
    #[error("transform left no valid record")]
    InvalidResult,
    /// The event says it is JSON and is not.
    #[error("event is not JSON")]
    InvalidJson,
    /// The engine itself failed or could not be started again.
    #[error("transform engine failed")]
    Crashed,
}

impl FailureKind {
    /// The name for settings, metrics and parked records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threw => "threw",
            Self::TimedOut => "timed-out",
            Self::OutOfMemory => "out-of-memory",
            Self::StackOverflow => "stack-overflow",
            Self::InvalidResult => "invalid-result",
            Self::InvalidJson => "invalid-json",
            Self::Crashed => "crashed",
        }
    }
}
