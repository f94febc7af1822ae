//! Owns the figures of a log that no process has open.

use std::path::{Path, PathBuf};

use crate::directory::{Directory, FORMAT_VERSION};
use crate::format::Header;
use crate::open::{OpenError, recover};
use crate::options::SyncMode;
use crate::verify::VerifyProgress;

/// Blocks between two calls of a progress callback.
pub(crate) const PROGRESS_EVERY: u64 = 1024;

/// The figures of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogInfo {
    /// Where it lies.
    pub directory: PathBuf,
    /// Version of the directory's layout.
    pub format_version: u32,
    /// How many events it holds.
    pub events: u64,
    /// How many streams it holds, metadata streams included.
    pub streams: u64,
    /// How many blocks it holds.
    pub blocks: u64,
    /// The blocks before compression, in bytes.
    pub raw_bytes: u64,
    /// The blocks as they are stored, in bytes.
    pub stored_bytes: u64,
    /// What the log takes on disk, index and journal included, in bytes.
    pub disk_bytes: u64,
    /// Position of the first event; none when the log is empty.
    pub first_position: Option<u64>,
    /// Position of the last event; none when the log is empty.
    pub last_position: Option<u64>,
    /// The position that must be there.
    pub high_water: u64,
}

/// Reads the figures of a log that no process has open. A torn end that a crash left is cut, as opening does.
pub fn info(directory: &Path, mut progress: impl FnMut(VerifyProgress)) -> Result<LogInfo, OpenError> {
    let failed = |error| OpenError::read(directory, error);
    let recovered = recover(existing(directory)?, SyncMode::default(), None)?;
    let engine = &recovered.store.engine;
    let mut info = LogInfo {
        directory: directory.to_owned(),
        format_version: FORMAT_VERSION,
        events: 0,
        streams: 0,
        blocks: 0,
        raw_bytes: 0,
        stored_bytes: 0,
        disk_bytes: engine.disk_size(),
        first_position: None,
        last_position: None,
        high_water: recovered.high_water.position(),
    };
    let mut blocks = engine.blocks_from(0).map_err(failed)?;
    while let Some((first, stored)) = blocks.next_stored().map_err(failed)? {
        let header = Header::read(first, &stored).map_err(failed)?;
        info.blocks += 1;
        info.events += u64::from(header.count);
        info.raw_bytes += header.raw_len() as u64;
        info.stored_bytes += stored.len() as u64;
        info.first_position.get_or_insert(first);
        info.last_position = Some(first + u64::from(header.count) - 1);
        if info.blocks.is_multiple_of(PROGRESS_EVERY) {
            progress(VerifyProgress { events: info.events, events_expected: recovered.head });
        }
    }
    let mut last_stream = None;
    for entry in engine.index_entries() {
        let stream = Some(entry.map_err(failed)?.stream);
        if stream != last_stream {
            info.streams += 1;
            last_stream = stream;
        }
    }
    Ok(info)
}

/// Claims a directory that holds a log.
pub(crate) fn existing(directory: &Path) -> Result<Directory, OpenError> {
    let missing = || OpenError::NotALog { directory: directory.to_owned() };
    if !directory.join("FORMAT").exists() {
        return Err(missing());
    }
    Directory::claim(directory)
}
