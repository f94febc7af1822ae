//! Owns the data directory: its lock, its format file, and the names of what lies in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::open::OpenError;

/// The version of the directory's layout that this code writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
const FORMAT_NAME: &str = "forebay-log";

/// A directory that this process, and no other, may use.
pub(crate) struct Directory {
    path: PathBuf,
    /// Holds the lock until it is dropped.
    _lock: File,
    /// Whether a log was there before.
    pub(crate) existed: bool,
}

impl Directory {
    /// Makes the directory if need be, locks it and reads its format.
    pub(crate) fn claim(path: &Path) -> Result<Self, OpenError> {
        let failed = |error: io::Error| OpenError::Directory { directory: path.to_owned(), reason: error.to_string() };
        fs::create_dir_all(path).map_err(failed)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join("LOCK")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { directory: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let existed = match fs::read(path.join("FORMAT")) {
            Ok(stored) => check_format(path, &String::from_utf8_lossy(&stored)).map(|()| true)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path: path.to_owned(), _lock: lock, existed })
    }

    /// Writes the format file: from now on a log is there.
    pub(crate) fn mark(&self) -> Result<(), OpenError> {
        let write = || {
            let mut file = File::create(self.path.join("FORMAT"))?;
            writeln!(file, "{FORMAT_NAME} {FORMAT_VERSION}")?;
            file.sync_all()?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error: io::Error| OpenError::Directory {
            directory: self.path.clone(),
            reason: error.to_string(),
        })
    }

    /// Where the engine's files lie.
    pub(crate) fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Where the high-water position lies.
    pub(crate) fn high_water(&self) -> PathBuf {
        self.path.join("HIGH-WATER")
    }

    /// Where the torn end of the journal goes that the last crash left.
    pub(crate) fn torn(&self) -> PathBuf {
        self.path.join("TORN")
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn check_format(path: &Path, text: &str) -> Result<(), OpenError> {
    let version = text.trim().strip_prefix(FORMAT_NAME).and_then(|rest| rest.trim().parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) => Err(OpenError::UnknownFormat { directory: path.to_owned(), found, supported: FORMAT_VERSION }),
        None => Err(OpenError::Damaged {
            place: path.join("FORMAT").display().to_string(),
            reason: "it does not name a format and its version".to_owned(),
        }),
    }
}
