//! Owns the look at the engine's journal before the engine opens it: what a crash tore off, and what is damage.
//!
//! The log commits one batch after the other and syncs each before the next. So a crash can leave at most one torn batch,
//! at the very end. The engine by itself treats whatever it cannot read as such a tail and drops everything behind it;
//! here the end is cut only if no whole batch follows it, and refused otherwise.
//!
//! The journal's format is the engine's (version 3): a batch is a start mark with the number of its items, the items, and
//! an end mark with an XXH3 checksum over the items and a trailer. The start mark also carries a sequence number, which
//! the checksum does not cover; it must rise from batch to batch, and not by much.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const TRAILER: [u8; 4] = [b'F', b'J', b'L', 3];
const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;
/// Kind of value, compression, keyspace, lengths of key and value, length as stored; behind the tag.
const ITEM_HEADER: usize = 1 + 1 + 8 + 2 + 4 + 4;
const READ_SIZE: usize = 256 << 10;
const COMPRESSION_NONE: u8 = 0;
/// Sequence numbers of batches that follow each other are less than this apart.
const SEQUENCE_GAP_MAX: u64 = 1 << 24;

/// What the journal holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalSurvey {
    /// Whole batches: what the engine may replay, in bytes.
    pub(crate) replayed_bytes: u64,
    /// The torn end of the last batch, in bytes.
    pub(crate) torn_bytes: u64,
}

/// Why a journal is not opened.
#[derive(Debug)]
pub(crate) enum JournalFault {
    /// It cannot be read.
    Io(PathBuf, io::Error),
    /// Something between whole batches is not one.
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
    },
}

/// Looks through the journal files of an engine's directory and cuts off the torn end of the last one. What is cut goes
/// to the file `torn` first, in place of what an earlier crash left there.
pub(crate) fn survey(directory: &Path, torn: &Path) -> Result<JournalSurvey, JournalFault> {
    let files = journal_files(directory).map_err(|error| JournalFault::Io(directory.to_owned(), error))?;
    let mut survey = JournalSurvey::default();
    let last = files.len().saturating_sub(1);
    let mut sequence = None;
    for (number, path) in files.iter().enumerate() {
        let failed = |error| JournalFault::Io(path.clone(), error);
        let mut file = File::open(path).map_err(failed)?;
        let end = whole_batches_end(&file, &mut sequence).map_err(failed)?;
        survey.replayed_bytes += end;
        let tail = read_tail(&mut file, end).map_err(failed)?;
        if tail.is_empty() {
            continue;
        }
        if number != last || holds_whole_batch(&tail) {
            return Err(JournalFault::Damaged { file: path.clone(), offset: end });
        }
        survey.torn_bytes = tail.len() as u64;
        fs::write(torn, &tail).map_err(|error| JournalFault::Io(torn.to_owned(), error))?;
        cut(path, end).map_err(failed)?;
    }
    Ok(survey)
}

fn journal_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn cut(file: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    file.set_len(len)?;
    file.sync_all()
}

/// Where the whole batches from the beginning end; takes and leaves the last sequence number.
fn whole_batches_end(file: &File, sequence: &mut Option<u64>) -> io::Result<u64> {
    let mut input = Input { source: BufReader::with_capacity(READ_SIZE, file), at: 0, len: file.metadata()?.len() };
    let mut end = 0;
    while let Some(found) = whole(read_batch(&mut input))? {
        let follows = sequence.is_none_or(|before| found > before && found - before < SEQUENCE_GAP_MAX);
        if !follows {
            break;
        }
        *sequence = Some(found);
        end = input.at;
    }
    Ok(end)
}

/// What lies behind this place, without the zeros at its end.
fn read_tail(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; READ_SIZE];
    let zeros = vec![0; READ_SIZE];
    let mut at = file.seek(SeekFrom::Start(from))?;
    let mut end = from;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        let part = chunk.get(..read).unwrap_or_default();
        // Most of it is zeros that the engine allocated, and comparing is faster than looking at each.
        if !zeros.starts_with(part) {
            let last = part.iter().rposition(|byte| *byte != 0);
            end = last.map_or(end, |last| at + last as u64 + 1);
        }
        at += read as u64;
    }
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(end - from).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Whether a whole batch begins behind any trailer, which a torn end cannot hold.
fn holds_whole_batch(tail: &[u8]) -> bool {
    let trailers = tail.windows(TRAILER.len()).enumerate().filter(|(_, window)| *window == TRAILER);
    let mut behind = trailers.filter_map(|(at, _)| tail.get(at + TRAILER.len()..));
    behind.any(|rest| {
        let mut input = Input { source: rest, at: 0, len: rest.len() as u64 };
        matches!(read_batch(&mut input), Ok(Some(_)))
    })
}

/// The end of the file within a batch is no whole batch, and no failure to read.
fn whole(batch: io::Result<Option<u64>>) -> io::Result<Option<u64>> {
    match batch {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        batch => batch,
    }
}

/// Reads one batch and answers its sequence number; none when what lies there is not a whole and valid batch.
fn read_batch(input: &mut Input<impl Read>) -> io::Result<Option<u64>> {
    if input.take()? != [TAG_START] {
        return Ok(None);
    }
    let items = u32::from_le_bytes(input.take()?);
    let sequence = u64::from_le_bytes(input.take()?);
    let mut checksum = Xxh3::default();
    for _ in 0..items {
        if !input.item(&mut checksum)? {
            return Ok(None);
        }
    }
    let end = input.take()? == [TAG_END];
    let expected = u64::from_le_bytes(input.take()?);
    let is_whole = end && expected == checksum.digest() && input.take()? == TRAILER;
    Ok(is_whole.then_some(sequence))
}

struct Input<R> {
    source: R,
    at: u64,
    len: u64,
}

impl<R: Read> Input<R> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut taken = [0; N];
        self.source.read_exact(&mut taken)?;
        self.at += N as u64;
        Ok(taken)
    }

    /// Passes over one item, which is what the checksum covers; answers false when it is none.
    fn item(&mut self, checksum: &mut Xxh3) -> io::Result<bool> {
        let tag: [u8; 1] = self.take()?;
        checksum.update(&tag);
        match tag {
            [TAG_CLEAR] => self.pass(8, checksum).map(|()| true),
            [TAG_ITEM] => {
                let header: [u8; ITEM_HEADER] = self.take()?;
                checksum.update(&header);
                let key = u64::from(u16::from_le_bytes([header[10], header[11]]));
                let value = u64::from(u32::from_le_bytes([header[16], header[17], header[18], header[19]]));
                let is_read = header[1] == COMPRESSION_NONE && self.at + key + value <= self.len;
                if is_read {
                    self.pass(key + value, checksum)?;
                }
                Ok(is_read)
            }
            _ => Ok(false),
        }
    }

    fn pass(&mut self, mut left: u64, checksum: &mut Xxh3) -> io::Result<()> {
        let mut chunk = [0; 4096];
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let part = chunk.get_mut(..len).unwrap_or_default();
            self.source.read_exact(part)?;
            checksum.update(part);
            left -= len as u64;
            self.at += len as u64;
        }
        Ok(())
    }
}
