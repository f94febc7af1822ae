//! Owns opening a log: lock, format, journal, engine, high water, memory of the tail; and closing it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_store::ReadError;

use crate::directory::Directory;
use crate::engine::{Engine, Faults, Placed, caught};
use crate::format::Block;
use crate::high_water::HighWater;
use crate::journal::{self, JournalFault, JournalSurvey};
use crate::manifest::{self, ManifestFault};
use crate::options::{IDS_MAX, LogOptions, SyncMode};
use crate::recent_ids::RecentIds;
use crate::shared::{OpenStore, Shared};
use crate::writer::{self, WriterParts, WriterQueue};

/// The embedded event log, open. Cheap to clone; the last clone that is dropped ends it, [`EmbeddedLog::close`] ends it
/// and waits for that.
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    writer: Arc<WriterQueue>,
}

/// What opening a log found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the log was made now.
    pub is_new: bool,
    /// Position of the last event; 0 when the log is empty.
    pub last_position: u64,
    /// The position that had to be there.
    pub high_water: u64,
    /// What the engine replayed of its journal, in bytes.
    pub replayed_bytes: u64,
    /// What was cut off the end of the journal because a crash had left it incomplete, in bytes. Nothing in it was
    /// acknowledged. It is kept in the file `TORN` until the next crash.
    pub cut_bytes: u64,
    /// Recent events whose ids are known again, so that repeated appends are recognised.
    pub remembered_events: usize,
    /// How long opening took.
    pub took: Duration,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "log opened in {} ms at position {}: {} bytes of journal replayed, {} torn bytes cut",
            self.took.as_millis(),
            self.last_position,
            self.replayed_bytes,
            self.cut_bytes
        )
    }
}

/// Why a log was not opened. Nothing in the directory was changed, but for a torn end that was moved to the file `TORN`.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data directory {} is in use by another process", .directory.display())]
    InUse {
        /// Which directory.
        directory: PathBuf,
    },
    /// It was written by a newer version.
    #[error("the data directory {} has format {found}, this version reads up to {supported}", .directory.display())]
    UnknownFormat {
        /// Which directory.
        directory: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that can be read.
        supported: u32,
    },
    /// There is no log in it.
    #[error("there is no log in the directory {}", .directory.display())]
    NotALog {
        /// Which directory.
        directory: PathBuf,
    },
    /// What it holds is damaged.
    #[error("the log is damaged at {place}: {reason}")]
    Damaged {
        /// File or key, and where in it.
        place: String,
        /// What was found.
        reason: String,
    },
    /// It ends before what was acknowledged: events are lost.
    #[error("the log in {} ends at position {end}, but position {high_water} was acknowledged", .directory.display())]
    BehindHighWater {
        /// Which directory.
        directory: PathBuf,
        /// Where it ends.
        end: u64,
        /// What had to be there.
        high_water: u64,
    },
    /// The directory or a file in it cannot be used.
    #[error("the data directory {} cannot be used: {reason}", .directory.display())]
    Directory {
        /// Which directory.
        directory: PathBuf,
        /// Why, in the system's words.
        reason: String,
    },
}

impl OpenError {
    fn io(directory: &Path, error: &io::Error) -> Self {
        Self::Directory { directory: directory.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn read(directory: &Path, error: ReadError) -> Self {
        match error {
            ReadError::Damaged { place, reason } => {
                Self::Damaged { place: format!("{}: {place}", directory.display()), reason }
            }
            other => Self::Directory { directory: directory.to_owned(), reason: other.to_string() },
        }
    }
}

/// A store that was recovered, before anything runs on it.
pub(crate) struct Recovered {
    /// The engine and its lock.
    pub(crate) store: OpenStore,
    /// The file of the high-water position.
    pub(crate) high_water: HighWater,
    /// Position of the last event.
    pub(crate) head: u64,
    /// What the journal held.
    pub(crate) journal: JournalSurvey,
}

impl EmbeddedLog {
    /// Opens a log, making it when there is none, and recovers what a crash left. Blocks for as long as that takes.
    pub fn open(options: LogOptions) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_with(options, None)
    }

    /// Opens a log whose commits a test can make fail.
    pub(crate) fn open_with(options: LogOptions, faults: Option<Faults>) -> Result<(Self, RecoveryReport), OpenError> {
        let started = options.clock.monotonic();
        let directory = Directory::claim(&options.directory)?;
        let is_new = !directory.existed;
        let recovered = recover(directory, options.sync, faults)?;
        let Recovered { store, high_water, head, journal } = recovered;
        let ids = remember(&store.engine, head).map_err(|error| unreadable(&store.directory, error))?;
        let repacked = store.engine.repacked().map_err(|error| unreadable(&store.directory, error))?;
        let report = RecoveryReport {
            is_new,
            last_position: head,
            high_water: high_water.position(),
            replayed_bytes: journal.replayed_bytes,
            cut_bytes: journal.torn_bytes,
            remembered_events: ids.len(),
            took: options.clock.monotonic().saturating_sub(started),
        };
        tracing::info!(
            directory = %options.directory.display(),
            position = head,
            replayed_bytes = report.replayed_bytes,
            cut_bytes = report.cut_bytes,
            "the log is open"
        );
        let shared = Arc::new(Shared::new(store, head, options.limits, options.clock));
        let parts = WriterParts { high_water, ids, repacked, repack: options.repack };
        let writer =
            writer::start(Arc::clone(&shared), parts).map_err(|error| OpenError::io(&options.directory, &error))?;
        Ok((Self { shared, writer: Arc::new(writer) }, report))
    }

    /// Answers what waits to be written, then ends the log: readers are refused, subscriptions end, and the directory is
    /// free for others when this returns.
    pub async fn close(&self) {
        self.writer.close().await;
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn writer(&self) -> &WriterQueue {
        &self.writer
    }
}

/// An engine that is open, before anything was read from it.
pub(crate) struct Opened {
    /// The engine.
    pub(crate) engine: Engine,
    /// The position that must be there; 0 when none was acknowledged.
    pub(crate) must_hold: u64,
    /// What the journal held.
    pub(crate) journal: JournalSurvey,
    /// None when the making of the log was interrupted.
    high_water: Option<HighWater>,
}

/// Opens the engine of a directory that is claimed, or makes it; cuts a torn end.
pub(crate) fn open_parts(directory: &Directory, sync: SyncMode, faults: Option<Faults>) -> Result<Opened, OpenError> {
    let high_water = open_high_water(directory)?;
    let must_hold = high_water.as_ref().map_or(0, HighWater::position);
    if must_hold > 0 && !directory.engine().exists() {
        return Err(behind(directory, 0, must_hold));
    }
    check_engine(directory, must_hold)?;
    let journal = journal::survey(&directory.engine(), &directory.torn()).map_err(|fault| match fault {
        JournalFault::Io(file, error) => OpenError::io(&file, &error),
        JournalFault::Damaged { file, offset } => OpenError::Damaged {
            place: format!("{} at byte {offset}", file.display()),
            reason: "what lies there is no whole batch, but whole ones follow".to_owned(),
        },
    })?;
    let engine = open_engine(directory, sync, faults)?;
    Ok(Opened { engine, must_hold, journal, high_water })
}

/// Recovers what lies in a directory that is claimed, or makes it.
pub(crate) fn recover(directory: Directory, sync: SyncMode, faults: Option<Faults>) -> Result<Recovered, OpenError> {
    let Opened { engine, must_hold, journal, high_water } = open_parts(&directory, sync, faults)?;
    let last = engine.last_block().map_err(|error| unreadable(&directory, error))?;
    let head = last.as_ref().map_or(0, |block| block.last());
    if head < must_hold {
        return Err(behind(&directory, head, must_hold));
    }
    if let Some(last) = &last {
        check_end_indexed(&engine, last).map_err(|error| unreadable(&directory, error))?;
    }
    let high_water = match high_water {
        Some(high_water) => high_water,
        None if head > 0 => {
            return Err(OpenError::Damaged {
                place: directory.high_water().display().to_string(),
                reason: format!("it is missing, but the log ends at {head}"),
            });
        }
        None => HighWater::create(&directory.high_water(), 0)
            .map_err(|error| OpenError::io(&directory.high_water(), &error))?,
    };
    if !directory.existed {
        directory.mark()?;
    }
    let store = OpenStore { engine, directory };
    Ok(Recovered { store, high_water, head, journal })
}

/// What can be said of the engine's files before it opens them. An engine whose making was interrupted holds nothing and
/// is made anew.
fn check_engine(directory: &Directory, must_hold: u64) -> Result<(), OpenError> {
    let engine = directory.engine();
    if directory.existed || must_hold > 0 {
        return manifest::check(&engine).map_err(damaged_file);
    }
    if engine.exists() && manifest::is_unfinished(&engine).map_err(|error| OpenError::io(&engine, &error))? {
        fs::remove_dir_all(&engine).map_err(|error| OpenError::io(&engine, &error))?;
    }
    Ok(())
}

fn open_engine(directory: &Directory, sync: SyncMode, faults: Option<Faults>) -> Result<Engine, OpenError> {
    caught(|| Engine::open(&directory.engine(), sync, faults)).map_err(|error| unreadable(directory, error))
}

/// The engine could not be read. It does not say which file is at fault, so all are compared with their checksums.
fn unreadable(directory: &Directory, error: ReadError) -> OpenError {
    match manifest::damaged_files(&directory.engine()).into_iter().next() {
        Some(fault) => damaged_file(fault),
        None => OpenError::read(directory.path(), error),
    }
}

/// The index has every event of the last block. The engine writes blocks and index to tables at different times, so a
/// journal that lost its end may lose the index of events whose blocks are whole.
fn check_end_indexed(engine: &Engine, last: &Block) -> Result<(), ReadError> {
    for event in last.events_from(last.first()) {
        let event = event?;
        let (stream, revision) = (event.stream(), event.revision().get());
        let indexed = engine.stream_entries(stream, revision, revision).next().transpose()?;
        if indexed.map(|placed| placed.position) != Some(event.position().commit()) {
            return Err(ReadError::Damaged {
                place: format!("index/{stream}/{revision}"),
                reason: format!("it does not name position {}, where the event lies", event.position().commit()),
            });
        }
    }
    Ok(())
}

fn damaged_file(fault: ManifestFault) -> OpenError {
    OpenError::Damaged { place: fault.file.display().to_string(), reason: fault.reason }
}

fn open_high_water(directory: &Directory) -> Result<Option<HighWater>, OpenError> {
    let path = directory.high_water();
    let damaged = |reason: &str| OpenError::Damaged { place: path.display().to_string(), reason: reason.to_owned() };
    match HighWater::open(&path) {
        Ok(Some(high_water)) => Ok(Some(high_water)),
        // Making a log was interrupted; there is nothing in it yet.
        Ok(None) if !directory.existed => Ok(None),
        Ok(None) => Err(damaged("no position can be read in it")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OpenError::io(&path, &error)),
        Err(_) if directory.existed => Err(damaged("it is missing")),
        Err(_) => Ok(None),
    }
}

fn behind(directory: &Directory, end: u64, high_water: u64) -> OpenError {
    OpenError::BehindHighWater { directory: directory.path().to_owned(), end, high_water }
}

/// Reads the last events for the memory of ids, which also checks the end of the log.
fn remember(engine: &Engine, head: u64) -> Result<RecentIds, ReadError> {
    let mut ids = RecentIds::default();
    let mut next = head.saturating_sub(IDS_MAX as u64).max(1);
    if head == 0 {
        return Ok(ids);
    }
    let mut blocks = engine.blocks_from(next)?;
    while next <= head {
        let block = blocks.next_block()?.filter(|block| block.holds(next));
        let block = block.ok_or_else(|| crate::format::damaged(next, "no block holds this position".to_owned()))?;
        for event in block.events_from(next) {
            let event = event?;
            let placed = Placed { revision: event.revision().get(), position: next };
            ids.remember(event.stream(), event.id(), placed);
            next += 1;
        }
    }
    Ok(ids)
}
