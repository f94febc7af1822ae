//! Owns every bound on users' expressions and scripts, in one place.

use std::time::Duration;

/// The longest JSONPath expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 4096;

/// How deep filters, parentheses and function calls of a JSONPath expression may nest.
pub const NESTING_MAX: usize = 32;

/// How many segments a JSONPath expression may have in all, filters included.
pub const SEGMENTS_MAX: usize = 256;

/// The steps one evaluation may take: one per node visited, filter tested or 64 bytes of text looked at.
pub const VISITED_NODES_MAX: u64 = 1_000_000;

/// The longest regular expression, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// The size one regular expression may have when compiled, in bytes.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 512 * 1024;

/// How many regular expressions that come from the data itself are kept compiled, per call in an expression.
pub const PATTERN_CACHE_MAX: usize = 32;

/// The longest script, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1024 * 1024;

/// The time a script may take for one record, unless a setting says otherwise.
pub const RECORD_TIME_DEFAULT: Duration = Duration::from_millis(100);

/// The time a script may take to load: to be compiled and to run its top level.
pub const LOAD_TIME_MAX: Duration = Duration::from_secs(1);

/// The memory one script may hold, in bytes, unless a setting says otherwise.
pub const MEMORY_BYTES_DEFAULT: usize = 32 * 1024 * 1024;

/// The least memory limit that can be set, in bytes: the engine itself needs about 100 KiB.
pub const MEMORY_BYTES_MIN: usize = 512 * 1024;

/// The stack one script may use, in bytes, unless a setting says otherwise.
pub const STACK_BYTES_DEFAULT: usize = 512 * 1024;

/// The least stack limit that can be set, in bytes.
pub const STACK_BYTES_MIN: usize = 64 * 1024;

/// The largest stack limit that can be set, in bytes.
pub const STACK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the thread of a script has above the script's own stack limit, in bytes: built-ins do not check theirs.
pub const STACK_MARGIN_BYTES: usize = 1024 * 1024;

/// The largest payload a transform may produce, in bytes, unless a setting says otherwise.
pub const OUTPUT_BYTES_DEFAULT: usize = 16 * 1024 * 1024;

/// How many headers a transform may produce.
pub const HEADERS_MAX: usize = 256;

/// How many bytes the names and values of the headers of one record may have together.
pub const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// The longest schema subject a transform may set, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 1024;

/// The longest message kept of what a script threw, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// How many batches may wait for the script's thread besides the one it works on.
pub const QUEUED_BATCHES_MAX: usize = 1;

/// A script that shows no progress for this many times its budget is inside a built-in that cannot be interrupted.
pub const STUCK_FACTOR: u32 = 5;

/// How many stuck threads one transform may leave behind before it gives up.
pub const ABANDONED_THREADS_MAX: usize = 3;

/// How many scripts may be loading at once in this process, those that are stuck while loading included.
pub const LOADING_THREADS_MAX: usize = 64;

/// What one script may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The time for one record by the clock on the wall, from its bytes to the result's; at least one millisecond.
    pub time: Duration,
    /// The time to compile the script and run its top level; at least one millisecond.
    pub load_time: Duration,
    /// The memory, in bytes; at least [`MEMORY_BYTES_MIN`].
    pub memory_bytes: usize,
    /// The stack, in bytes; between [`STACK_BYTES_MIN`] and [`STACK_BYTES_MAX`].
    pub stack_bytes: usize,
    /// The largest payload it may produce, in bytes.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: RECORD_TIME_DEFAULT,
            load_time: LOAD_TIME_MAX,
            memory_bytes: MEMORY_BYTES_DEFAULT,
            stack_bytes: STACK_BYTES_DEFAULT,
            output_bytes: OUTPUT_BYTES_DEFAULT,
        }
    }
}
