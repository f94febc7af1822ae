//! Owns the look at the engine's lists of files before the engine opens them.
//!
//! The engine deletes what its lists do not name: a keyspace without a list, tables and value files that the list leaves
//! out. It does not compare a list with the checksum that it keeps of it. So a damaged or missing list must be refused
//! before the engine sees it, or it would remove what is still whole.
//!
//! ```text
//!  engine/version               marks a directory that was made whole
//!  engine/keyspaces/N/current   number of the list in use (8 bytes), its XXH3 checksum (16), 0; little-endian
//!  engine/keyspaces/N/vM        list M: tables and value files, with number, 0 and checksum of each
//!  engine/keyspaces/N/tables/T  sorted keys
//!  engine/keyspaces/N/blobs/B   large values
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use xxhash_rust::xxh3::Xxh3;

const CURRENT_LEN: usize = 25;
/// Keyspaces of a whole engine: its own, and those of `engine`.
const KEYSPACES: [&str; 4] = ["0", "1", "2", "3"];
const PARTS: [&str; 2] = ["tables", "blobs"];
const READ_SIZE: usize = 256 << 10;

/// A file of the engine that is not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ManifestFault {
    /// Which file.
    pub(crate) file: PathBuf,
    /// What is wrong with it.
    pub(crate) reason: String,
    /// When the file was written, if it could be told.
    written: Option<SystemTime>,
}

impl ManifestFault {
    fn new(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), reason: reason.into(), written: written(file) }
    }

    /// Whether the file is there as it was: a missing one is still missing, another was neither removed nor replaced.
    pub(crate) fn is_still_there(&self) -> bool {
        written(&self.file) == self.written
    }

    fn io(file: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(file, "it is missing"),
            _ => Self::new(file, format!("it cannot be read: {error}")),
        }
    }
}

fn written(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// Checks the lists of an engine that was once opened whole.
pub(crate) fn check(engine: &Path) -> Result<(), ManifestFault> {
    let marker = engine.join("version");
    if !marker.exists() {
        return Err(ManifestFault::new(&marker, "it is missing"));
    }
    let keyspaces = engine.join("keyspaces");
    for keyspace in KEYSPACES {
        list(&keyspaces.join(keyspace))?;
    }
    check_names(&keyspaces)
}

/// Whether the making of this engine was interrupted before anything was written to it.
pub(crate) fn is_unfinished(engine: &Path) -> io::Result<bool> {
    if engine.join("version").exists() {
        return Ok(false);
    }
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        if is_journal && !is_zero(&path)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file begins with nothing but zeros, as a journal does that was never written to.
fn is_zero(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take(READ_SIZE as u64).read_to_end(&mut start)?;
    Ok(start.iter().all(|byte| *byte == 0))
}

/// The engine stops the process at a folder whose name is no number.
fn check_names(keyspaces: &Path) -> Result<(), ManifestFault> {
    let failed = |error: io::Error| ManifestFault::io(keyspaces, &error);
    for entry in fs::read_dir(keyspaces).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_number = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<u64>().is_ok());
        if path.is_dir() && !is_number {
            return Err(ManifestFault::new(&path, "it is no folder of the engine"));
        }
    }
    Ok(())
}

/// Reads and checks the list in use of a keyspace.
fn list(keyspace: &Path) -> Result<Vec<u8>, ManifestFault> {
    let current = keyspace.join("current");
    let stored = fs::read(&current).map_err(|error| ManifestFault::io(&current, &error))?;
    let stored = <[u8; CURRENT_LEN]>::try_from(stored.as_slice())
        .map_err(|_| ManifestFault::new(&current, format!("it holds {} bytes, not {CURRENT_LEN}", stored.len())))?;
    let [number @ .., _] = stored;
    let (number, expected) =
        number.split_first_chunk::<8>().ok_or_else(|| ManifestFault::new(&current, "it is cut"))?;
    let file = keyspace.join(format!("v{}", u64::from_le_bytes(*number)));
    let content = fs::read(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            ManifestFault::new(&current, format!("it names {}, which is missing", file.display()))
        }
        _ => ManifestFault::io(&file, &error),
    })?;
    let mut checksum = Xxh3::default();
    checksum.update(&content);
    if checksum.digest128().to_le_bytes() != *expected {
        let reason = format!("its checksum is not the one in {}", current.display());
        return Err(ManifestFault::new(&file, reason));
    }
    if stored.last() != Some(&0) {
        return Err(ManifestFault::new(&current, "it names a checksum that is not known"));
    }
    Ok(content)
}

/// Compares every file of the engine with the checksum in its list; answers those that differ. Reads all of them.
pub(crate) fn damaged_files(engine: &Path) -> Vec<ManifestFault> {
    let mut faults = Vec::new();
    for keyspace in KEYSPACES {
        let keyspace = engine.join("keyspaces").join(keyspace);
        match list(&keyspace) {
            Ok(list) => faults.extend(PARTS.iter().flat_map(|part| damaged_in(&keyspace.join(part), &list))),
            Err(fault) => faults.push(fault),
        }
    }
    faults
}

fn damaged_in(folder: &Path, list: &[u8]) -> Vec<ManifestFault> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let numbered = entries.flatten().map(|entry| entry.path()).filter_map(|path| {
        let number: u64 = path.file_name()?.to_str()?.parse().ok()?;
        Some((path, number))
    });
    numbered
        .filter_map(|(path, number)| {
            let mut entry = number.to_le_bytes().to_vec();
            entry.push(0);
            let is_listed = list.windows(entry.len()).any(|window| window == entry);
            let checksum = match checksum(&path) {
                Ok(checksum) => checksum,
                // The engine replaced it meanwhile; whether a listed file is there it checks itself.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                Err(error) => return Some(ManifestFault::io(&path, &error)),
            };
            entry.extend_from_slice(&checksum);
            let is_whole = list.windows(entry.len()).any(|window| window == entry);
            (is_listed && !is_whole).then(|| ManifestFault::new(&path, "its checksum is not the one in its list"))
        })
        .collect()
}

fn checksum(file: &Path) -> io::Result<[u8; 16]> {
    let mut file = File::open(file)?;
    let (mut chunk, mut checksum) = (vec![0; READ_SIZE], Xxh3::default());
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(checksum.digest128().to_le_bytes());
        }
        checksum.update(chunk.get(..read).unwrap_or_default());
    }
}
