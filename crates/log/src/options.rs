//! Owns what a caller chooses when it opens a log, and the bounds of everything the log holds in memory.

use std::path::PathBuf;
use std::sync::Arc;

use forebay_event::Clock;

/// Events of one append together, by default, in bytes.
pub(crate) const APPEND_SIZE_MAX: usize = 1 << 20;
/// One event, by default, in bytes.
pub(crate) const EVENT_SIZE_MAX: usize = 16 << 20;
/// A stream's name, in bytes of UTF-8; the engine's keys end at 64 KiB.
pub(crate) const STREAM_NAME_LEN_MAX: usize = 32 << 10;
/// Appends waiting for the writer, in units of [`QUEUE_UNIT`] bytes.
pub(crate) const QUEUE_UNITS_MAX: usize = 64 << 10;
/// The unit by which waiting appends are counted, in bytes; each append counts at least [`QUEUE_UNITS_MIN`] of them.
pub(crate) const QUEUE_UNIT: usize = 1 << 10;
/// The least that a waiting append counts, in units.
pub(crate) const QUEUE_UNITS_MIN: usize = 8;
/// One group commit ends at the first append that reaches so many bytes.
pub(crate) const COMMIT_SIZE_MAX: usize = 8 << 20;
/// One group commit takes at most so many appends.
pub(crate) const COMMIT_APPENDS_MAX: usize = 4096;
/// A block is closed before it would exceed this, in bytes before compression; one larger event makes a larger block.
pub(crate) const BLOCK_RAW_TARGET: usize = 16 << 10;
/// Recent blocks kept for live subscribers, in bytes before compression.
pub(crate) const RING_SIZE_MAX: usize = 4 << 20;
/// Recent blocks kept for live subscribers, in blocks.
pub(crate) const RING_BLOCKS_MAX: usize = 4096;
/// Decompressed blocks kept for stream reads, in bytes.
pub(crate) const CACHE_SIZE_MAX: usize = 8 << 20;
/// Rooms of [`BLOCK_RAW_TARGET`] bytes kept free for the next blocks to be unpacked: those of two pages of a scan.
pub(crate) const ROOMS_MAX: usize = 256;
/// Streams whose end and metadata are kept in memory.
pub(crate) const STATES_MAX: usize = 32 << 10;
/// Events whose ids are remembered for appends without an exact expected revision.
pub(crate) const IDS_MAX: usize = 64 << 10;
/// A page holds at most so many events.
pub(crate) const PAGE_EVENTS_MAX: usize = 10_000;
/// A page ends at the first event that reaches so many bytes, whatever was asked.
pub(crate) const PAGE_SIZE_MAX: usize = 64 << 20;
/// A page examines at most so many events.
pub(crate) const PAGE_EXAMINED_MAX: usize = 10_000;
/// The engine's own cache, in bytes; it is there for the index.
pub(crate) const ENGINE_CACHE_SIZE: u64 = 4 << 20;
/// The engine's journal, in bytes: what a reopen after a crash replays at most, and the least the engine allows.
pub(crate) const ENGINE_JOURNAL_SIZE_MAX: u64 = 64 << 20;
/// The engine's write buffer for each keyspace, in bytes; small in tests, so that they meet tables and compaction.
pub(crate) const ENGINE_MEMTABLE_SIZE_MAX: u64 = if cfg!(test) { 16 << 10 } else { 8 << 20 };

/// How an append is made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// `fdatasync`: the data and what is needed to read it.
    #[default]
    Data,
    /// `fsync`: the data and everything the file system knows of the file.
    All,
}

/// Bounds on what a writer may append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Events of one append together, in bytes (as [`forebay_event::ProposedEvent::size`] counts them).
    pub append_size_max: usize,
    /// One event, in bytes.
    pub event_size_max: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { append_size_max: APPEND_SIZE_MAX, event_size_max: EVENT_SIZE_MAX }
    }
}

/// What [`crate::EmbeddedLog::open`] is told.
#[derive(Clone)]
pub struct LogOptions {
    /// Where the log lies; made when it is not there.
    pub directory: PathBuf,
    /// Bounds on appends.
    pub limits: LogLimits,
    /// How appends are made durable.
    pub sync: SyncMode,
    /// Whether small blocks are packed together while the log is idle.
    pub repack: bool,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl LogOptions {
    /// A log in this directory, with default limits.
    pub fn new(directory: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            directory: directory.into(),
            limits: LogLimits::default(),
            sync: SyncMode::default(),
            repack: true,
            clock,
        }
    }
}
