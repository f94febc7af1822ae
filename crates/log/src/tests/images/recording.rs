//! Runs the workload and keeps what lies on disk at each stable moment of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use forebay_store::EventStore;

use super::workload::Workload;
use crate::tests::fixture::Fixture;

/// How often a directory is read until two readings are the same.
const READINGS_MAX: usize = 40;

const ZEROS: usize = 64 << 10;

/// A file: its content up to the last byte that is not zero, and its length.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) content: Arc<Vec<u8>>,
    pub(super) len: u64,
}

impl Stored {
    pub(super) fn new(content: Vec<u8>) -> Self {
        let len = content.len() as u64;
        Self { content: Arc::new(content), len }
    }

    /// Reads a file up to the first stretch of zeros that is longer than anything the workload writes.
    fn read(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        let (mut content, zeros) = (Vec::new(), vec![0; ZEROS]);
        loop {
            let from = content.len();
            let read = file.by_ref().take(ZEROS as u64).read_to_end(&mut content).ok()?;
            if read == 0 || content[from..] == zeros[..read] {
                break;
            }
        }
        content.truncate(content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        content.shrink_to_fit();
        Some(Self { content: Arc::new(content), len })
    }
}

/// The files of a directory, by path in it.
pub(super) type Files = BTreeMap<String, Stored>;

/// What lay on disk while nothing was being appended.
pub(super) struct Moment {
    pub(super) files: Files,
    /// Position of the last event, acknowledged and durable.
    pub(super) confirmed: u64,
}

/// Runs the workload; moments are in order of time.
pub(super) async fn record(workload: &Workload) -> Vec<Moment> {
    let fixture = Fixture::new();
    let mut moments = Vec::new();
    let mut log = fixture.open();
    capture(&fixture, 0, &mut moments);
    for (number, end) in workload.ends.iter().skip(1).enumerate() {
        log.append(workload.append(number)).await.unwrap();
        capture(&fixture, *end, &mut moments);
        if number % 16 == 15 {
            log.writer().repack().await;
            capture(&fixture, *end, &mut moments);
        }
        if number % 40 == 39 {
            log.close().await;
            capture(&fixture, *end, &mut moments);
            log = fixture.open();
            capture(&fixture, *end, &mut moments);
        }
    }
    log.close().await;
    capture(&fixture, *workload.ends.last().unwrap(), &mut moments);
    moments
}

/// Keeps every stable state that is seen until nothing changes any more: the engine writes tables in the background.
fn capture(fixture: &Fixture, confirmed: u64, moments: &mut Vec<Moment>) {
    let mut before = read_all(fixture.path());
    for _ in 0..READINGS_MAX {
        let files = read_all(fixture.path());
        let is_stable = files == before;
        if is_stable && moments.last().is_none_or(|last| last.files != files || last.confirmed != confirmed) {
            moments.push(Moment { files, confirmed });
            return;
        }
        before = files;
    }
}

fn read_all(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Some(stored) = Stored::read(&path) {
                files.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), stored);
            }
        }
    }
    files
}
