//! Owns where the quickstart keeps its files.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::failure::Failure;
use crate::output::Output;

/// A directory with the server's data and the receiver's receipts.
pub(super) struct Place {
    directory: PathBuf,
    temporary: bool,
}

impl Place {
    /// The directory to keep, or a temporary one.
    pub(super) fn open(keep: Option<&Path>) -> Result<Self, Failure> {
        let temporary = keep.is_none();
        let directory = keep.map_or_else(
            || std::env::temp_dir().join(format!("forebay-quickstart-{}", Uuid::new_v4().simple())),
            Path::to_owned,
        );
        std::fs::create_dir_all(&directory).map_err(|error| Failure::File { path: directory.clone(), error })?;
        Ok(Self { directory, temporary })
    }

    /// The server's data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The receiver's file of what has arrived.
    pub(super) fn receipts(&self) -> PathBuf {
        self.directory.join("received.ndjson")
    }

    /// Removes what is temporary.
    pub(super) fn close(&self, output: &mut Output) {
        if !self.temporary {
            output.note(&format!("kept in {}", self.directory.display()));
        } else if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            output.note(&format!("{} is not removed: {error}", self.directory.display()));
        }
    }
}
