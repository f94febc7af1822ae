//! Owns the key-value engine: its keyspaces, its keys, and the one way to commit to it.
//!
//! | keyspace | key | value |
//! | --- | --- | --- |
//! | `blocks` | position of the first event, 8 bytes big-endian | a block, see `format` |
//! | `index` | length of the stream's name (2 bytes), name, revision (8 bytes), all big-endian | position, 8 bytes big-endian |
//! | `meta` | `repacked` | position up to which small blocks were packed, 8 bytes big-endian |
//!
//! An index entry names a position and not a block, so packing blocks together leaves the index alone.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch,
    PersistMode, Readable, Slice,
};
use forebay_store::ReadError;

use crate::format::{Block, damaged};
use crate::options::{ENGINE_CACHE_SIZE, ENGINE_JOURNAL_SIZE_MAX, ENGINE_MEMTABLE_SIZE_MAX, SyncMode};
use crate::rooms::Rooms;

const REPACKED: &[u8] = b"repacked";
/// Blocks above this are kept apart from their keys, so that compaction does not copy them.
const SEPARATE_MIN: u32 = 4 << 10;
const WORKERS: usize = 2;

/// Where a test may make a commit fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultPoint {
    /// Before anything is written.
    Write,
    /// After everything was written, instead of the sync.
    Sync,
    /// After the sync, instead of writing the high-water position.
    HighWater,
}

/// A test's way to make commits fail; the product has none.
pub(crate) type Faults = Arc<dyn Fn(FaultPoint) -> io::Result<()> + Send + Sync>;

/// Where in the log an event of a stream lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its number in the stream.
    pub(crate) revision: u64,
    /// Its place in the log.
    pub(crate) position: u64,
}

/// What one commit changes.
#[derive(Default)]
pub(crate) struct Change {
    /// New blocks: key and stored bytes.
    pub(crate) blocks: Vec<(u64, Vec<u8>)>,
    /// Blocks that are no more.
    pub(crate) removed_blocks: Vec<u64>,
    /// New index entries.
    pub(crate) index: NewEntries,
    /// How far small blocks were packed.
    pub(crate) repacked: Option<u64>,
}

/// Index entries to be written; their keys lie in one buffer.
#[derive(Default)]
pub(crate) struct NewEntries {
    keys: Vec<u8>,
    /// Where each key ends, and the position it is to name.
    ends: Vec<(usize, u64)>,
}

impl NewEntries {
    /// Adds the entry of one event.
    pub(crate) fn add(&mut self, stream: &str, placed: Placed) {
        push_index_key(&mut self.keys, stream, placed.revision);
        self.ends.push((self.keys.len(), placed.position));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut start = 0;
        self.ends.iter().map(move |(end, position)| {
            let key = self.keys.get(start..*end).unwrap_or_default();
            start = *end;
            (key, *position)
        })
    }
}

/// A commit failed; what of it reached the disk is unknown.
#[derive(Debug)]
pub(crate) struct CommitError(String);

impl From<io::Error> for CommitError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The open engine.
pub(crate) struct Engine {
    database: Database,
    blocks: Keyspace,
    index: Keyspace,
    meta: Keyspace,
    sync: PersistMode,
    faults: Option<Faults>,
    rooms: Rooms,
}

impl Engine {
    /// Opens the engine in its directory, making it when it is not there.
    pub(crate) fn open(directory: &Path, sync: SyncMode, faults: Option<Faults>) -> Result<Self, fjall::Error> {
        let database = Database::builder(directory)
            .cache_size(ENGINE_CACHE_SIZE)
            .max_journaling_size(ENGINE_JOURNAL_SIZE_MAX)
            .journal_compression(CompressionType::None)
            .worker_threads(WORKERS)
            .open()?;
        let blocks = database.keyspace("blocks", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(ENGINE_MEMTABLE_SIZE_MAX)
                .data_block_compression_policy(CompressionPolicy::disabled())
                .with_kv_separation(Some(
                    KvSeparationOptions::default()
                        .separation_threshold(SEPARATE_MIN)
                        .compression(CompressionType::None),
                ))
        })?;
        let index = database
            .keyspace("index", || KeyspaceCreateOptions::default().max_memtable_size(ENGINE_MEMTABLE_SIZE_MAX))?;
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default)?;
        let sync = match sync {
            SyncMode::Data => PersistMode::SyncData,
            SyncMode::All => PersistMode::SyncAll,
        };
        Ok(Self { database, blocks, index, meta, sync, faults, rooms: Rooms::default() })
    }

    /// Makes a change, all or nothing, and returns when it is durable.
    pub(crate) fn commit(&self, change: Change) -> Result<(), CommitError> {
        self.fault(FaultPoint::Write)?;
        let sync = if self.fault(FaultPoint::Sync).is_ok() { self.sync } else { PersistMode::Buffer };
        let size = change.blocks.len() + change.removed_blocks.len() + change.index.ends.len() + 1;
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), size).durability(Some(sync));
        for (first, stored) in change.blocks {
            batch.insert(&self.blocks, first.to_be_bytes(), stored);
        }
        for first in change.removed_blocks {
            batch.remove(&self.blocks, first.to_be_bytes());
        }
        for (key, position) in change.index.iter() {
            batch.insert(&self.index, key, position.to_be_bytes());
        }
        if let Some(position) = change.repacked {
            batch.insert(&self.meta, REPACKED, position.to_be_bytes());
        }
        batch.commit().map_err(|error| CommitError(error.to_string()))?;
        if sync == self.sync { Ok(()) } else { Ok(self.fault(FaultPoint::Sync)?) }
    }

    /// Fails where a test says so.
    pub(crate) fn fault(&self, point: FaultPoint) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults(point))
    }

    /// The block with the highest positions; none when the log is empty.
    pub(crate) fn last_block(&self) -> Result<Option<Block>, ReadError> {
        self.decode_block(|| self.blocks.iter().next_back())
    }

    /// The block that holds this position; none when it begins behind the last one.
    pub(crate) fn block_holding(&self, position: u64) -> Result<Option<Block>, ReadError> {
        let block = self.decode_block(|| self.blocks.range(..=position.to_be_bytes()).next_back())?;
        Ok(block.filter(|block| block.holds(position)))
    }

    fn decode_block(&self, found: impl FnOnce() -> Option<Guard>) -> Result<Option<Block>, ReadError> {
        let Some((key, value)) = pair(found)? else { return Ok(None) };
        Block::decode(block_key(&key)?, &value, &self.rooms).map(Some)
    }

    /// The stored blocks from the one that holds this position on; nothing is unpacked yet.
    pub(crate) fn blocks_from(&self, position: u64) -> Result<StoredBlocks, ReadError> {
        // One snapshot for both looks: packing may otherwise move the beginning in between.
        let snapshot = self.database.snapshot();
        let before = || snapshot.range(&self.blocks, ..=position.to_be_bytes()).next_back();
        let first = match caught(|| before().map(Guard::key).transpose())? {
            Some(key) => block_key(&key)?,
            None => position,
        };
        let blocks = snapshot.range(&self.blocks, first.to_be_bytes()..);
        Ok(StoredBlocks { blocks, rooms: self.rooms.clone() })
    }

    /// The last event of a stream at or below this position of the log.
    pub(crate) fn stream_last(&self, stream: &str, head: u64) -> Result<Option<Placed>, ReadError> {
        let mut entries = self.index.prefix(stream_prefix(stream));
        while let Some(placed) = decode_index(|| entries.next_back()).transpose()? {
            if placed.position <= head {
                return Ok(Some(placed));
            }
        }
        Ok(None)
    }

    /// The events of a stream between two revisions, both included.
    pub(crate) fn stream_entries(&self, stream: &str, from: u64, to: u64) -> IndexEntries {
        IndexEntries { entries: self.index.range(index_key(stream, from)..=index_key(stream, to)) }
    }

    /// Every entry of the index, in order of its keys.
    pub(crate) fn index_entries(&self) -> impl Iterator<Item = Result<IndexEntry, ReadError>> {
        let mut entries = self.index.iter();
        std::iter::from_fn(move || {
            let pair = pair(|| entries.next()).transpose()?;
            Some(pair.and_then(|(key, value)| IndexEntry::read(&key, &value)))
        })
    }

    /// How far small blocks were packed.
    pub(crate) fn repacked(&self) -> Result<u64, ReadError> {
        let stored = caught(|| self.meta.get(REPACKED))?;
        Ok(stored.and_then(|value| number(&value)).unwrap_or(0))
    }

    /// What the engine takes on disk, in bytes.
    pub(crate) fn disk_size(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    #[cfg(test)]
    pub(crate) fn overwrite_block(&self, first: u64, stored: &[u8]) {
        self.blocks.insert(first.to_be_bytes(), stored).unwrap();
    }

    #[cfg(test)]
    pub(crate) fn stored_block(&self, first: u64) -> Vec<u8> {
        self.blocks.get(first.to_be_bytes()).unwrap().unwrap().to_vec()
    }

    #[cfg(test)]
    pub(crate) fn remove_index(&self, stream: &str, revision: u64) {
        self.index.remove(index_key(stream, revision)).unwrap();
    }
}

/// Stored blocks in order of position, seen as they were at one moment.
pub(crate) struct StoredBlocks {
    blocks: fjall::Iter,
    rooms: Rooms,
}

impl StoredBlocks {
    /// The next block as it is stored, with its key.
    pub(crate) fn next_stored(&mut self) -> Result<Option<(u64, Slice)>, ReadError> {
        let Some((key, value)) = pair(|| self.blocks.next())? else { return Ok(None) };
        Ok(Some((block_key(&key)?, value)))
    }

    /// The next block, checked and unpacked.
    pub(crate) fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        self.next_stored()?.map(|(first, stored)| Block::decode(first, &stored, &self.rooms)).transpose()
    }
}

/// Index entries of one stream, from either end.
pub(crate) struct IndexEntries {
    entries: fjall::Iter,
}

impl Iterator for IndexEntries {
    type Item = Result<Placed, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        decode_index(|| self.entries.next())
    }
}

impl DoubleEndedIterator for IndexEntries {
    fn next_back(&mut self) -> Option<Self::Item> {
        decode_index(|| self.entries.next_back())
    }
}

/// One entry of the index, with the name of its stream.
pub(crate) struct IndexEntry {
    /// The stream.
    pub(crate) stream: String,
    /// Where its event lies.
    pub(crate) placed: Placed,
}

impl IndexEntry {
    fn read(key: &[u8], value: &[u8]) -> Result<Self, ReadError> {
        let placed = read_index(key, value)?;
        let name = key.get(2..key.len().saturating_sub(8)).unwrap_or_default();
        let stream = std::str::from_utf8(name).map_err(|_| bad_index(key, "its name is not UTF-8"))?.to_owned();
        Ok(Self { stream, placed })
    }
}

/// The index key of an event.
pub(crate) fn index_key(stream: &str, revision: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(stream.len() + 10);
    push_index_key(&mut key, stream, revision);
    key
}

fn push_index_key(key: &mut Vec<u8>, stream: &str, revision: u64) {
    push_stream_prefix(key, stream);
    key.extend_from_slice(&revision.to_be_bytes());
}

fn stream_prefix(stream: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(stream.len() + 2);
    push_stream_prefix(&mut key, stream);
    key
}

/// The length goes first, so that no stream's name is the beginning of another's key.
fn push_stream_prefix(key: &mut Vec<u8>, stream: &str) {
    key.extend_from_slice(&u16::try_from(stream.len()).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(stream.as_bytes());
}

fn decode_index(found: impl FnOnce() -> Option<Guard>) -> Option<Result<Placed, ReadError>> {
    let pair = pair(found).transpose()?;
    Some(pair.and_then(|(key, value)| read_index(&key, &value)))
}

/// The key and the value that were found.
fn pair(found: impl FnOnce() -> Option<Guard>) -> Result<Option<(Slice, Slice)>, ReadError> {
    caught(|| found().map(Guard::into_inner).transpose())
}

/// Takes a step of the engine. It stops at some kinds of damage with a panic, which becomes a refusal here.
pub(crate) fn caught<T>(step: impl FnOnce() -> fjall::Result<T>) -> Result<T, ReadError> {
    catch_unwind(AssertUnwindSafe(step)).map_or_else(
        |panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let reason = format!("the engine cannot read it: {}", said.unwrap_or("it gives no reason"));
            Err(ReadError::Damaged { place: "engine".to_owned(), reason })
        },
        |taken| taken.map_err(engine_error),
    )
}

fn read_index(key: &[u8], value: &[u8]) -> Result<Placed, ReadError> {
    let revision = key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    match (revision, number(value)) {
        (Some(revision), Some(position)) if key.len() > 10 => Ok(Placed { revision, position }),
        _ => Err(bad_index(key, "it does not have the form of an entry")),
    }
}

fn bad_index(key: &[u8], reason: &str) -> ReadError {
    ReadError::Damaged { place: format!("index/{}", key.escape_ascii()), reason: reason.to_owned() }
}

fn block_key(key: &[u8]) -> Result<u64, ReadError> {
    number(key).ok_or_else(|| damaged(0, format!("a key holds {} bytes, not 8", key.len())))
}

fn number(bytes: &[u8]) -> Option<u64> {
    <[u8; 8]>::try_from(bytes).ok().map(u64::from_be_bytes)
}

/// Checksums that do not hold are damage; the rest may pass when the disk is well again.
fn engine_error(error: fjall::Error) -> ReadError {
    use fjall::LsmError;
    let reason = error.to_string();
    let is_short = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound)
    };
    match error {
        // Files of the engine end where they were closed, so one that is shorter was changed.
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) if is_short(&error) => {
            ReadError::Damaged { place: "engine".to_owned(), reason }
        }
        fjall::Error::Storage(
            LsmError::ChecksumMismatch { .. }
            | LsmError::InvalidTag(_)
            | LsmError::InvalidTrailer
            | LsmError::InvalidHeader(_)
            | LsmError::Unrecoverable
            | LsmError::Decompress(_),
        )
        | fjall::Error::InvalidVersion(_)
        | fjall::Error::JournalRecovery(_) => ReadError::Damaged { place: "engine".to_owned(), reason },
        _ => ReadError::Unavailable { reason },
    }
}
