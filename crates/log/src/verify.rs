//! Owns the check of a whole log that no process has open.

use std::path::Path;

use forebay_event::{RecordedEvent, Revision};
use forebay_store::ReadError;

use crate::engine::{Engine, Placed};
use crate::format::Block;
use crate::info::{PROGRESS_EVERY, existing};
use crate::manifest::{self, ManifestFault};
use crate::open::{OpenError, Recovered, recover};
use crate::options::SyncMode;
use crate::rooms::Rooms;

/// A report names at most so many damages.
const DAMAGES_MAX: usize = 100;

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

    fn add_error(&mut self, error: ReadError) {
        match error {
            ReadError::Damaged { place, reason } => self.add(place, reason),
            other => self.add("engine".to_owned(), other.to_string()),
        }
    }
}

/// Checks a log that no process has open: every block, every event's index entry, every index entry's event, the ends of
/// all streams, the high-water position, and every file of the engine with its checksum. A torn end that a crash left is cut, as opening does.
pub fn verify(directory: &Path, progress: impl FnMut(VerifyProgress)) -> Result<VerifyReport, OpenError> {
    let claimed = existing(directory)?;
    // Before the engine opens them: then it may be replacing them.
    let damaged_files = manifest::damaged_files(&claimed.engine());
    let Recovered { store, high_water, head, journal } = recover(claimed, SyncMode::default(), None)?;
    let mut report = VerifyReport {
        last_position: head,
        high_water: high_water.position(),
        cut_bytes: journal.torn_bytes,
        ..VerifyReport::default()
    };
    // What no list names any more is still there after a crash, and may look like a listed file: opening removes it.
    for fault in damaged_files.into_iter().filter(ManifestFault::is_still_there) {
        report.add(fault.file.display().to_string(), fault.reason);
    }
    check_blocks(&store.engine, &mut report, progress);
    check_index(&store.engine, &mut report);
    if report.index_entries != report.events {
        let reason = format!("it holds {} entries for {} events", report.index_entries, report.events);
        report.add("index".to_owned(), reason);
    }
    Ok(report)
}

/// Every block, and the index entry of each of its events.
fn check_blocks(engine: &Engine, report: &mut VerifyReport, mut progress: impl FnMut(VerifyProgress)) {
    let mut blocks = match engine.blocks_from(0) {
        Ok(blocks) => blocks,
        Err(error) => return report.add_error(error),
    };
    let rooms = Rooms::default();
    let mut next = 1;
    loop {
        let (first, stored) = match blocks.next_stored() {
            Ok(Some(stored)) => stored,
            Ok(None) => break,
            Err(error) => {
                report.add_error(error);
                break;
            }
        };
        report.blocks += 1;
        if first != next {
            report.add(format!("blocks/{first}"), format!("the block before ends at {}", next - 1));
        }
        match Block::decode(first, &stored, &rooms) {
            Ok(block) => {
                next = block.last() + 1;
                check_events(engine, &block, report);
            }
            Err(error) => {
                report.add_error(error);
                next = first + 1;
            }
        }
        if report.blocks.is_multiple_of(PROGRESS_EVERY) {
            progress(VerifyProgress { events: report.events, events_expected: report.last_position });
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
            Err(error) => report.add_error(error),
        }
    }
}

fn indexed(engine: &Engine, event: &RecordedEvent) -> Result<Option<Placed>, ReadError> {
    let revision = event.revision().get();
    engine.stream_entries(event.stream(), revision, revision).next().transpose()
}

/// Every entry: revisions of a stream are dense from 0, a tombstone excepted, and positions rise with them.
fn check_index(engine: &Engine, report: &mut VerifyReport) {
    let mut last: Option<(String, Placed)> = None;
    for entry in engine.index_entries() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                report.add_error(error);
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
        if before.is_some_and(|before| before.position >= position) || position > report.last_position {
            report.add(place(), format!("position {position} is out of order"));
        }
        last = Some((entry.stream, entry.placed));
    }
}
