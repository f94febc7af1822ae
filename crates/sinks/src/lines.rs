//! Owns a file of lines that only grows: torn ends are cut, failed writes undone, so that it always ends with a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The end of a file is searched in pieces of so many bytes.
const SEARCH_BYTES: u64 = 64 * 1024;

/// A file of lines, open for adding to it.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    file: File,
    /// Up to here the file holds whole lines that were acknowledged.
    good_length: u64,
    /// A write failed and may have left something behind.
    is_broken: bool,
}

impl LineFile {
    /// Opens a file, makes it and its folder when they are not there, and cuts a torn last line.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let folder = folder_of(path);
        std::fs::create_dir_all(folder)?;
        let is_new = !path.try_exists()?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        if is_new {
            sync_folder(folder)?;
        }
        let length = file.metadata()?.len();
        let good_length = after_last_line(&mut file, length)?;
        if good_length < length {
            tracing::warn!(path = %path.display(), bytes = length - good_length, "cut a torn line from the end of a file");
            file.set_len(good_length)?;
            file.sync_all()?;
        }
        Ok(Self { path: path.to_owned(), file, good_length, is_broken: false })
    }

    /// Adds whole lines, all or nothing: what a failed write leaves behind is cut before the next one.
    pub(crate) fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        self.append_with(lines.len(), |file| {
            file.write_all(lines)?;
            if sync { file.sync_data() } else { Ok(()) }
        })
    }

    fn append_with(&mut self, length: usize, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        self.repair()?;
        self.is_broken = true;
        if let Err(error) = write(&mut self.file) {
            // At once, so that a reader sees no half a line for long; else before the next write.
            let _ = self.repair();
            return Err(error);
        }
        self.is_broken = false;
        self.good_length += length as u64;
        Ok(())
    }

    /// After a failed fsync nobody knows what the disk holds, so the file is opened anew as well as cut.
    fn repair(&mut self) -> io::Result<()> {
        if self.is_broken {
            self.file = OpenOptions::new().read(true).append(true).open(&self.path)?;
            self.file.set_len(self.good_length)?;
            self.file.sync_all()?;
            self.is_broken = false;
        }
        Ok(())
    }

    /// How many bytes of whole lines there are.
    pub(crate) fn length(&self) -> u64 {
        self.good_length
    }

    /// The file's facts, such as its age.
    pub(crate) fn metadata(&self) -> io::Result<std::fs::Metadata> {
        self.file.metadata()
    }
}

/// The last lines of a file within so many bytes; only whole lines.
pub(crate) fn last_lines(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(bytes_max).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    tail.truncate(end);
    if start > 0 {
        let first = tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |at| at + 1);
        tail.drain(..first);
    }
    Ok(tail)
}

/// The folder a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes new and changed names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn after_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(SEARCH_BYTES);
        file.seek(SeekFrom::Start(start))?;
        piece.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_torn_last_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/lines");
        LineFile::open(&path).unwrap().append(b"one\ntwo\n", true).unwrap();
        let torn = [b"one\ntwo\n".as_slice(), &vec![b'x'; 200_000]].concat();
        std::fs::write(&path, torn).unwrap();
        let mut file = LineFile::open(&path).unwrap();
        assert_eq!(file.length(), 8);
        file.append(b"three\n", false).unwrap();
        assert_eq!(content(&path), "one\ntwo\nthree\n");
        std::fs::write(&path, "no line at all").unwrap();
        assert_eq!(LineFile::open(&path).unwrap().length(), 0);
        assert_eq!(content(&path), "");
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut file = LineFile::open(&path).unwrap();
        file.append(b"one\n", true).unwrap();
        let error = file.append_with(4, |file| {
            file.write_all(b"tw")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(content(&path), "one\n");
        file.append(b"two\n", true).unwrap();
        assert_eq!(content(&path), "one\ntwo\n");
    }

    #[test]
    fn only_whole_lines_are_read_from_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, "one\ntwo\nthree\nfo").unwrap();
        assert_eq!(last_lines(&path, 100).unwrap(), b"one\ntwo\nthree\n");
        assert_eq!(last_lines(&path, 10).unwrap(), b"three\n");
        assert_eq!(last_lines(&path, 3).unwrap(), b"");
    }
}
