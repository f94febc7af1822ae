//! Owns the check of a whole log that no process has open.

use std::path::Path;

use forebay_event::{RecordedEvent, Revision};
use forebay_store::ReadError;

use crate::engine::{Engine, Placed};
use crate::format::Block;
use crate::info::{PROGRESS_EVERY, existing};
use crate::manifest::{self, ManifestFault};
use crate::open::{OpenError, Opened, open_parts};
use crate::options::SyncMode;
use crate::rooms::Rooms;

/// A report names at most so many damages.
const DAMAGES_MAX: usize = 100;
/// What damage means that opening finds as well.
const REFUSED: &str = "a server refuses to open the log";

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Events looked at.
    pub events: u64,
    /// Events that the log should hold.
    pub events_expected: u64,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// File or key, and where in it.
    pub place: String,
    /// What was found.
    pub reason: String,
}

/// What a check of a whole log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blocks whose checksum was compared.
    pub blocks: u64,
    /// Events whose index entry was compared.
    pub events: u64,
    /// Entries of the index.
    pub index_entries: u64,
    /// Streams, metadata streams included.
    pub streams: u64,
    /// Position of the last event; 0 when the log is empty.
    pub last_position: u64,
    /// The position that had to be there.
    pub high_water: u64,
    /// What a crash had torn off the journal's end, in bytes.
    pub cut_bytes: u64,
    /// What does not hold, the first hundred.
    pub damages: Vec<Damage>,
    /// How many there were in all.
    pub damage_count: u64,
}

impl VerifyReport {
    /// Whether everything holds.
    pub fn is_sound(&self) -> bool {
        self.damage_count == 0
    }

    fn add(&mut self, place: String, reason: String) {
        self.damage_count += 1;
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(Damage { place, reason });
        }
    }

    fn add_error(&mut self, error: ReadError, meaning: &str) {
        match error {
            ReadError::Damaged { place, reason } => self.add(place, format!("{reason}; {meaning}")),
            other => self.add("engine".to_owned(), format!("{other}; {meaning}")),
        }
    }

    /// Ends the check at what keeps the log from being opened, unless that is no damage.
    fn refused(mut self, error: OpenError) -> Result<Self, OpenError> {
        let (place, reason) = match error {
            OpenError::Damaged { place, reason } => (place, reason),
            OpenError::BehindHighWater { directory, end, high_water } => {
                (directory.display().to_string(), lost_end(end, high_water))
            }
            other => return Err(other),
        };
        // The file may have been found by its checksum already; this line says what follows from it.
        self.add(place, format!("{reason}; {REFUSED}, and no block was checked"));
        Ok(self)
    }
}

/// Checks a log that no process has open: every block, every event's index entry, every index entry's event, the ends of
/// all streams, the high-water position, and every file of the engine with its checksum. A torn end that a crash left is
/// cut, as opening does.
///
/// Damage is always told in the report, also where it keeps the log from being opened. An error says that nothing could
/// be checked: another process has the log, there is none, or the directory cannot be used.
pub fn verify(directory: &Path, progress: impl FnMut(VerifyProgress)) -> Result<VerifyReport, OpenError> {
    let mut report = VerifyReport::default();
    let claimed = match existing(directory) {
        Ok(claimed) => claimed,
        Err(error) => return report.refused(error),
    };
    // Before the engine opens them: then it may be replacing them.
    let damaged_files = manifest::damaged_files(&claimed.engine());
    let opened = open_parts(&claimed, SyncMode::default(), None);
    // What no list names any more is still there after a crash, and may look like a listed file: opening removes it.
    for fault in damaged_files.into_iter().filter(ManifestFault::is_still_there) {
        report.add(fault.file.display().to_string(), fault.reason);
    }
    let Opened { engine, must_hold, journal, .. } = match opened {
        Ok(opened) => opened,
        Err(error) => return report.refused(error),
    };
    (report.high_water, report.cut_bytes) = (must_hold, journal.torn_bytes);
    let unread = check_blocks(&engine, &mut report, progress);
    check_index(&engine, &mut report, unread);
    // Without the events that cannot be read neither says more.
    if unread.is_none() && report.index_entries != report.events {
        let reason = format!("it holds {} entries for {} events", report.index_entries, report.events);
        report.add("index".to_owned(), reason);
    }
    if unread.is_none() && report.last_position < must_hold {
        let place = directory.display().to_string();
        report.add(place, lost_end(report.last_position, must_hold));
    }
    Ok(report)
}

fn lost_end(end: u64, high_water: u64) -> String {
    format!("the log ends at position {end}, but position {high_water} was acknowledged: what lay behind {end} is lost")
}

/// The stretch of the log that a damaged block hides.
struct Hidden {
    first: u64,
    error: ReadError,
}

impl Hidden {
    /// Tells the damage and what it means, now that the beginning of the next block is known; none behind the last.
    fn tell(self, next: Option<u64>, report: &mut VerifyReport) {
        let first = self.first;
        let meaning = match next {
            Some(next) => format!("the events from position {first} to {} cannot be read", next.saturating_sub(1)),
            None => format!("it is the last block: no event from position {first} on can be read, and {REFUSED}"),
        };
        report.add_error(self.error, &meaning);
    }
}

/// Every block, and the index entry of each of its events. Answers the first position that could not be read.
fn check_blocks(engine: &Engine, report: &mut VerifyReport, mut progress: impl FnMut(VerifyProgress)) -> Option<u64> {
    let events_expected = engine.last_block().ok().flatten().map_or(report.high_water, |block| block.last());
    let rooms = Rooms::default();
    // Where the next block is to begin; unknown behind a damaged one.
    let mut next = Some(1);
    let (mut hidden, mut unread): (Option<Hidden>, Option<u64>) = (None, None);
    let mut blocks = match engine.blocks_from(0) {
        Ok(blocks) => blocks,
        Err(error) => {
            report.add_error(error, "no block was checked");
            return Some(1);
        }
    };
    loop {
        let stored = blocks.next_stored();
        if let Some(hidden) = hidden.take() {
            hidden.tell(stored.as_ref().ok().and_then(|stored| Some(stored.as_ref()?.0)), report);
        }
        let (first, stored) = match stored {
            Ok(Some(stored)) => stored,
            Ok(None) => return unread,
            Err(error) => {
                let meaning = format!("no block behind position {} was checked", report.last_position);
                report.add_error(error, &meaning);
                return unread.or(Some(report.last_position + 1));
            }
        };
        report.blocks += 1;
        if let Some(next) = next.filter(|next| *next != first) {
            report.add(format!("blocks/{first}"), format!("the block before ends at {}", next - 1));
        }
        match Block::decode(first, &stored, &rooms) {
            Ok(block) => {
                report.last_position = block.last();
                next = Some(block.last() + 1);
                check_events(engine, &block, report);
            }
            Err(error) => {
                next = None;
                unread = unread.or(Some(first));
                hidden = Some(Hidden { first, error });
            }
        }
        if report.blocks.is_multiple_of(PROGRESS_EVERY) {
            progress(VerifyProgress { events: report.events, events_expected });
        }
    }
}

fn check_events(engine: &Engine, block: &Block, report: &mut VerifyReport) {
    for event in block.events_from(block.first()) {
        let indexed = event.and_then(|event| Ok((indexed(engine, &event)?, event)));
        match indexed {
            Ok((found, event)) => {
                report.events += 1;
                let position = event.position().commit();
                if found.map(|placed| placed.position) != Some(position) {
                    let found = found.map_or("nothing".to_owned(), |placed| format!("position {}", placed.position));
                    report.add(
                        format!("index/{}/{}", event.stream(), event.revision()),
                        format!("it names {found}, the event lies at {position}"),
                    );
                }
            }
            Err(error) => report.add_error(error, "this event cannot be read"),
        }
    }
}

fn indexed(engine: &Engine, event: &RecordedEvent) -> Result<Option<Placed>, ReadError> {
    let revision = event.revision().get();
    engine.stream_entries(event.stream(), revision, revision).next().transpose()
}

/// Every entry: revisions of a stream are dense from 0, a tombstone excepted, and positions rise with them. Entries of
/// events that could not be read are taken as they are.
fn check_index(engine: &Engine, report: &mut VerifyReport, unread: Option<u64>) {
    let mut last: Option<(String, Placed)> = None;
    for entry in engine.index_entries() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                report.add_error(error, "the index has an entry that cannot be read");
                continue;
            }
        };
        report.index_entries += 1;
        let before = last.take().filter(|(stream, _)| *stream == entry.stream).map(|(_, placed)| placed);
        let Placed { revision, position } = entry.placed;
        let place = || format!("index/{}/{revision}", entry.stream);
        if before.is_none() {
            report.streams += 1;
        }
        let expected = before.map_or(0, |before| before.revision + 1);
        if revision != expected && revision != Revision::MAX.get() {
            report.add(place(), format!("revision {expected} is missing before it"));
        }
        let is_behind_end = position > report.last_position && unread.is_none_or(|unread| position < unread);
        if before.is_some_and(|before| before.position >= position) || is_behind_end {
            report.add(place(), format!("position {position} is out of order"));
        }
        last = Some((entry.stream, entry.placed));
    }
}
