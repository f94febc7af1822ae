//! A log in a directory of its own, under a clock that the test owns.

use std::path::Path;
use std::sync::Arc;

use forebay_event::{ExpectedRevision, ManualClock, ProposedEvent, StreamName, Timestamp};
use forebay_store::{AppendError, AppendRequest, Appended, EventFilter, EventStore, LogPoint, PageLimit, ReadAll};
use tempfile::TempDir;
use uuid::Uuid;

use crate::engine::Faults;
use crate::{EmbeddedLog, LogOptions, OpenError, RecoveryReport};

pub(super) struct Fixture {
    pub(super) directory: TempDir,
    pub(super) clock: Arc<ManualClock>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let clock = ManualClock::at(Timestamp::from_ticks(17_000_000_000_000_000));
        Self { directory: tempfile::tempdir().unwrap(), clock: Arc::new(clock) }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn options(&self) -> LogOptions {
        LogOptions { repack: false, ..LogOptions::new(self.path(), self.clock.clone()) }
    }

    pub(super) fn try_open(&self) -> Result<(EmbeddedLog, RecoveryReport), OpenError> {
        EmbeddedLog::open(self.options())
    }

    pub(super) fn open(&self) -> EmbeddedLog {
        self.try_open().unwrap().0
    }

    pub(super) fn open_with(&self, faults: Faults) -> EmbeddedLog {
        EmbeddedLog::open_with(self.options(), Some(faults)).unwrap().0
    }
}

pub(super) fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

pub(super) fn event(number: u128) -> ProposedEvent {
    ProposedEvent::json(Uuid::from_u128(number + 1), "Happened", format!("{{\"n\":{number}}}"))
}

/// Appends one event; its number is its id and its data.
pub(super) async fn append(log: &EmbeddedLog, name: &str, number: u128) -> Result<Appended, AppendError> {
    let events = vec![event(number)];
    log.append(AppendRequest { stream: stream(name), expected: ExpectedRevision::Any, events }).await
}

/// Data of all events, in order.
pub(super) async fn all_data(log: &EmbeddedLog) -> Vec<String> {
    let mut from = LogPoint::Start;
    let mut found = Vec::new();
    loop {
        let (limit, filter) = (PageLimit::events(1000), EventFilter::All);
        let read = ReadAll { direction: forebay_store::Direction::Forward, from, limit, filter };
        let page = log.read_all(read).await.unwrap();
        found.extend(page.events.iter().map(|event| String::from_utf8(event.data().to_vec()).unwrap()));
        if page.at_end {
            return found;
        }
        from = page.next;
    }
}
