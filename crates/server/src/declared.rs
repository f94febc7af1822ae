//! Owns connector files given at start: finding, reading and applying them.

use std::path::{Path, PathBuf};

use forebay_api::{FileFormat, parse_connector_file};
use forebay_runtime::Connectors;
use forebay_runtime::management::ApplyError;
use serde_json::Value;

/// A connector file larger than this is refused, in bytes.
const FILE_SIZE_MAX: u64 = 4 << 20;

/// Why a connector file was not applied.
#[derive(Debug, thiserror::Error)]
pub enum DeclaredError {
    /// The file or directory cannot be read.
    #[error("{} cannot be read: {reason}", .path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is not a language that we know.
    #[error("{} is not a connector file: expected .yaml, .yml, .toml or .json", .path.display())]
    UnknownLanguage {
        /// Which file.
        path: PathBuf,
    },
    /// It cannot be parsed.
    #[error("{}: {}", .path.display(), .reason.replace('\n', " "))]
    NotParsed {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// It was not applied.
    #[error("{}: {error}", .path.display())]
    NotApplied {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: ApplyError,
    },
}

/// A connector file, read.
pub(crate) struct Declared {
    path: PathBuf,
    content: Value,
}

/// Reads the files, and those of the directories in the order of their names.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<Declared>, DeclaredError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() { files.extend(files_in(path)?) } else { files.push(path.clone()) }
    }
    files.iter().map(|path| read(path)).collect()
}

/// Applies what was read, in order, and logs what changed.
pub(crate) async fn apply_all(connectors: &Connectors, declared: &[Declared]) -> Result<(), DeclaredError> {
    for Declared { path, content } in declared {
        let changes = connectors
            .apply(content, false)
            .await
            .map_err(|error| DeclaredError::NotApplied { path: path.clone(), error })?;
        for change in changes {
            let actions = if change.actions.is_empty() { "left alone".to_owned() } else { change.actions.join(", ") };
            tracing::info!(file = %path.display(), connector = change.id, "{actions}");
            for line in &change.diff {
                tracing::info!(connector = change.id, "  {line}");
            }
        }
    }
    Ok(())
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>, DeclaredError> {
    let unreadable = |error: std::io::Error| failed(directory, &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() && FileFormat::of_path(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Declared, DeclaredError> {
    let format = FileFormat::of_path(path).ok_or_else(|| DeclaredError::UnknownLanguage { path: path.to_owned() })?;
    let size = std::fs::metadata(path).map_err(|error| failed(path, &error))?.len();
    if size > FILE_SIZE_MAX {
        let reason = format!("it holds {size} bytes, more than the limit of {FILE_SIZE_MAX}");
        return Err(DeclaredError::Unreadable { path: path.to_owned(), reason });
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(path, &error))?;
    let content = parse_connector_file(&text, format)
        .map_err(|error| DeclaredError::NotParsed { path: path.to_owned(), reason: error.to_string() })?;
    Ok(Declared { path: path.to_owned(), content })
}

fn failed(path: &Path, error: &std::io::Error) -> DeclaredError {
    DeclaredError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_in_order_and_other_files_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("b.yaml", "connectors: []"), ("a.toml", "connectors = []"), ("README", "x")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let read = read_all(&[directory.path().to_owned()]).unwrap();
        let names: Vec<_> = read.iter().map(|one| one.path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.toml", "b.yaml"]);
        let readme = directory.path().join("README");
        assert!(matches!(read_all(&[readme]), Err(DeclaredError::UnknownLanguage { .. })));
        let missing = directory.path().join("none.yaml");
        assert!(matches!(read_all(&[missing]), Err(DeclaredError::Unreadable { .. })));
    }
}
