//! Owns what a data directory is known by: the node's id, and the key that secrets are sealed with.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::config::SecretKey;

/// The file of the key, in the data directory.
const KEY_FILE: &str = "secret.key";
/// The file of the node's id, in the data directory.
const NODE_FILE: &str = "node.id";
/// The file that says who uses the data directory; the embedded log's own.
const LOCK_FILE: &str = "LOCK";
const KEY_LEN: usize = 32;

/// Why a file of the server's own could not be read or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The file cannot be read or written.
    #[error("the file {} cannot be used: {reason}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why, in the system's words.
        reason: String,
    },
    /// The file holds something else.
    #[error("the file {} does not hold {expected}", .path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is expected in it.
        expected: &'static str,
    },
    /// Another process has the directory.
    #[error("the data directory {} is in use by another process: expected one of this node's own", .path.display())]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// The machine gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Makes a data directory if need be, and takes it for this process alone, as the embedded log would.
pub(crate) fn claim(data: &Path) -> Result<File, IdentityError> {
    fs::create_dir_all(data).map_err(|error| failed(data, &error))?;
    let path = data.join(LOCK_FILE);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(|error| failed(&path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(IdentityError::InUse { path: data.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(&path, &error)),
    }
}

/// The key to seal secrets with; the one in the data directory is made when it is not there.
pub(crate) fn secret_key(choice: &SecretKey, data: &Path) -> Result<[u8; KEY_LEN], IdentityError> {
    match choice {
        SecretKey::Key(key) => Ok(*key),
        SecretKey::File(path) => read_key(path),
        SecretKey::InDataDirectory => {
            let path = data.join(KEY_FILE);
            if !exists(&path)? {
                let mut key = [0; KEY_LEN];
                aws_lc_rs::rand::fill(&mut key).map_err(|_| IdentityError::Random)?;
                create_private(&path, &hex(&key))?;
            }
            read_key(&path)
        }
    }
}

/// The node's id: made at the first start, so that a restarted node knows its own leases.
pub(crate) fn node_id(data: &Path) -> Result<Uuid, IdentityError> {
    let path = data.join(NODE_FILE);
    if !exists(&path)? {
        create_private(&path, &Uuid::new_v4().to_string())?;
    }
    let text = read(&path)?;
    Uuid::parse_str(text.trim()).map_err(|_| IdentityError::Content { path, expected: "a UUID" })
}

/// Reads a key from hex digits.
pub(crate) fn key_from_hex(text: &str) -> Option<[u8; KEY_LEN]> {
    let mut key = [0; KEY_LEN];
    if text.len() != 2 * KEY_LEN {
        return None;
    }
    for (index, byte) in key.iter_mut().enumerate() {
        let digits =
            text.get(2 * index..2 * index + 2).filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(key)
}

fn read_key(path: &Path) -> Result<[u8; KEY_LEN], IdentityError> {
    let expected = "a key of 64 hex digits";
    key_from_hex(read(path)?.trim()).ok_or_else(|| IdentityError::Content { path: path.to_owned(), expected })
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

fn exists(path: &Path) -> Result<bool, IdentityError> {
    path.try_exists().map_err(|error| failed(path, &error))
}

/// Writes a file that only its owner may read. It appears whole or not at all.
fn create_private(path: &Path, text: &str) -> Result<(), IdentityError> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        path.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
    };
    write().map_err(|error: io::Error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> IdentityError {
    IdentityError::File { path: path.to_owned(), reason: error.to_string() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("new");
        let claim = claim(&data).unwrap();
        assert!(matches!(super::claim(&data), Err(IdentityError::InUse { .. })));
        drop(claim);
        assert!(super::claim(&data).is_ok());
    }

    #[test]
    fn a_key_and_an_id_are_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let key = secret_key(&SecretKey::InDataDirectory, directory.path()).unwrap();
        assert_ne!(key, [0; 32]);
        assert_eq!(secret_key(&SecretKey::InDataDirectory, directory.path()).unwrap(), key);
        let id = node_id(directory.path()).unwrap();
        assert_eq!(node_id(directory.path()).unwrap(), id);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(directory.path().join(KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(directory.path().join(KEY_FILE), "short").unwrap();
        let error = secret_key(&SecretKey::InDataDirectory, directory.path()).unwrap_err();
        assert!(error.to_string().ends_with("does not hold a key of 64 hex digits"), "{error}");
    }
}
