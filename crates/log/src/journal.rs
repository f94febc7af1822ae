//! Owns the look at the engine's journal before the engine opens it: what a crash tore off, and what is damage.
//!
//! The log commits one batch after the other and syncs each before the next. So a crash can leave at most one torn batch,
//! at the very end. The engine by itself treats whatever it cannot read as such a tail and drops everything behind it;
//! here the end is cut only if no whole batch follows it, and refused otherwise.
//!
//! The journal's format is the engine's (version 3): a batch is a start mark with the number of its items, the items, and
//! an end mark with an XXH3 checksum over the items and a trailer. The start mark also carries a sequence number, which
//! the checksum does not cover; it must rise from batch to batch, and not by much.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const TRAILER: [u8; 4] = [b'F', b'J', b'L', 3];
const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;
const ITEM_HEADER: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
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

/// Looks through the journal files of an engine's directory and cuts off the torn end of the last one.
pub(crate) fn survey(directory: &Path) -> Result<JournalSurvey, JournalFault> {
    let files = journal_files(directory).map_err(|error| JournalFault::Io(directory.to_owned(), error))?;
    let mut survey = JournalSurvey::default();
    let last = files.len().saturating_sub(1);
    let mut sequence = None;
    for (number, file) in files.iter().enumerate() {
        let content = fs::read(file).map_err(|error| JournalFault::Io(file.clone(), error))?;
        let end = whole_batches_end(&content, &mut sequence);
        let tail = content.get(end..).unwrap_or_default();
        survey.replayed_bytes += end as u64;
        let torn = tail.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        if torn == 0 {
            continue;
        }
        if number != last || holds_whole_batch(tail) {
            return Err(JournalFault::Damaged { file: file.clone(), offset: end as u64 });
        }
        survey.torn_bytes = torn as u64;
        cut(file, end as u64).map_err(|error| JournalFault::Io(file.clone(), error))?;
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
fn whole_batches_end(content: &[u8], sequence: &mut Option<u64>) -> usize {
    let mut end = 0;
    while let Some(batch) = content.get(end..).and_then(read_batch) {
        let follows =
            sequence.is_none_or(|before| batch.sequence > before && batch.sequence - before < SEQUENCE_GAP_MAX);
        if !follows {
            break;
        }
        *sequence = Some(batch.sequence);
        end += batch.len;
    }
    end
}

/// Whether a whole batch begins behind any trailer, which a torn end cannot hold.
fn holds_whole_batch(tail: &[u8]) -> bool {
    tail.windows(TRAILER.len())
        .enumerate()
        .filter(|(_, window)| *window == TRAILER)
        .any(|(at, _)| tail.get(at + TRAILER.len()..).and_then(read_batch).is_some())
}

struct Batch {
    sequence: u64,
    len: usize,
}

/// The whole and valid batch at the beginning of these bytes, if there is one.
fn read_batch(bytes: &[u8]) -> Option<Batch> {
    let mut input = Input { bytes, at: 0 };
    if input.take::<1>()? != [TAG_START] {
        return None;
    }
    let items = u32::from_le_bytes(input.take()?);
    let sequence = u64::from_le_bytes(input.take()?);
    let mut checksum = Xxh3::default();
    for _ in 0..items {
        let item = input.item()?;
        checksum.update(item);
    }
    let end = input.take::<1>()?;
    let expected = u64::from_le_bytes(input.take()?);
    let whole = end == [TAG_END] && expected == checksum.digest() && input.take()? == TRAILER;
    whole.then_some(Batch { sequence, len: input.at })
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..)?.first_chunk().copied()?;
        self.at += N;
        Some(taken)
    }

    /// The bytes of one item, which is what the checksum covers.
    fn item(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let len = match *rest.first()? {
            TAG_CLEAR => 1 + 8,
            TAG_ITEM => {
                let header: &[u8; ITEM_HEADER] = rest.first_chunk()?;
                let key = usize::from(u16::from_le_bytes([header[11], header[12]]));
                let value = u32::from_le_bytes([header[17], header[18], header[19], header[20]]) as usize;
                if header[2] != COMPRESSION_NONE {
                    return None;
                }
                ITEM_HEADER + key + value
            }
            _ => return None,
        };
        let item = rest.get(..len)?;
        self.at += len;
        Some(item)
    }
}
