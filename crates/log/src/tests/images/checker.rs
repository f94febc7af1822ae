//! Opens an image and compares what is read back, event by event, with what was appended.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use forebay_event::{ExpectedRevision, ManualClock, ProposedEvent, RecordedEvent, Timestamp};
use forebay_store::{
    AppendRequest, Direction, EventFilter, EventStore, LogPoint, PageLimit, ReadAll, ReadError, ReadStream, StreamPoint,
};
use uuid::Uuid;

use super::derive::{Demand, Image};
use super::workload::Workload;
use crate::tests::fixture::stream;
use crate::{EmbeddedLog, LogOptions, OpenError};

const PROBE: Uuid = Uuid::from_u128(7);

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Opened, with every acknowledged event.
    Recovered,
    /// Not opened.
    Refused,
    /// Opened; a read names the damaged place.
    RefusedWhenRead,
}

/// What was found when reading: a wrong state, or damage that the log named.
enum Finding {
    Wrong(String),
    Named(String),
}

impl From<ReadError> for Finding {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { .. } => Self::Named(error.to_string()),
            other => Self::Wrong(format!("a read failed: {other}")),
        }
    }
}

/// Opens the image in this folder and judges the answer; an error says what must not be.
pub(super) fn check(image: &Image, workload: &Workload, folder: &Path) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let judged = catch_unwind(AssertUnwindSafe(|| runtime.block_on(judge(image, workload, folder))));
    judged.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "panicked: {}",
            said.or(panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap_or_default()
        ))
    })
}

async fn judge(image: &Image, workload: &Workload, folder: &Path) -> Result<Outcome, String> {
    image.write(folder);
    let first = match open(folder) {
        Ok(log) => read_back(&log, image, workload).await,
        Err(refusal) => {
            // A refusal that destroys something may look sound the next time.
            judge_refusal(&refusal, image, folder)?;
            return match open(folder) {
                Err(again) => judge_refusal(&again, image, folder).map(|()| Outcome::Refused),
                Ok(log) => match read_back(&log, image, workload).await {
                    Ok(()) => Ok(Outcome::Refused),
                    Err(Finding::Wrong(wrong) | Finding::Named(wrong)) => {
                        Err(format!("refused first ({refusal}), then opened: {wrong}"))
                    }
                },
            };
        }
    };
    match first {
        Ok(()) => {}
        Err(Finding::Named(place)) if image.demand == Demand::RecoverOrRefuse => {
            return if place.contains("blocks/") || place.contains("index/") || place.contains("engine") {
                Ok(Outcome::RefusedWhenRead)
            } else {
                Err(format!("the damage is not named: {place}"))
            };
        }
        Err(Finding::Wrong(wrong) | Finding::Named(wrong)) => return Err(wrong),
    }
    // What was recovered once is there for good, and so is what comes behind it.
    let log = open(folder).map_err(|error| format!("opened once, then refused: {error}"))?;
    match read_back(&log, image, workload).await {
        Ok(()) => Ok(Outcome::Recovered),
        Err(Finding::Wrong(wrong) | Finding::Named(wrong)) => Err(format!("opened once, then: {wrong}")),
    }
}

fn open(folder: &Path) -> Result<EmbeddedLog, OpenError> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_ticks(17_000_000_000_000_000)));
    EmbeddedLog::open(LogOptions { repack: false, ..LogOptions::new(folder, clock) }).map(|(log, _)| log)
}

fn judge_refusal(refusal: &OpenError, image: &Image, folder: &Path) -> Result<(), String> {
    let said = refusal.to_string();
    if image.demand == Demand::Recover {
        return Err(format!("refused: {said}"));
    }
    let is_named = match refusal {
        OpenError::Damaged { place, reason } => !place.is_empty() && !reason.is_empty(),
        OpenError::BehindHighWater { .. } | OpenError::UnknownFormat { .. } => true,
        _ => false,
    };
    if !is_named || !said.contains(&folder.display().to_string()) {
        return Err(format!("the refusal does not name the place: {said}"));
    }
    if image.demand == Demand::RefuseUntouched {
        let lost =
            image.files.iter().filter(|(name, _)| name.contains("keyspaces")).find(|(name, stored)| {
                fs::metadata(folder.join(name)).map(|found| found.len()).ok() != Some(stored.len)
            });
        if let Some((name, _)) = lost {
            return Err(format!("refused ({said}), but {name} was removed or changed"));
        }
    }
    Ok(())
}

/// Reads the whole log and every stream, appends one event, and closes.
async fn read_back(log: &EmbeddedLog, image: &Image, workload: &Workload) -> Result<(), Finding> {
    let found = compare_all(log, image, workload).await;
    let appended = match &found {
        Ok(end) => append_probe(log, *end).await,
        Err(_) => Ok(()),
    };
    log.close().await;
    found?;
    appended
}

async fn compare_all(log: &EmbeddedLog, image: &Image, workload: &Workload) -> Result<u64, Finding> {
    let wrong = |what: String| Err(Finding::Wrong(what));
    let events = all(log).await?;
    // A second opening finds the event that the first one appended.
    let (events, probe) = match events.split_last() {
        Some((last, before)) if last.id() == PROBE => (before, 1),
        _ => (events.as_slice(), 0),
    };
    let end = events.len() as u64;
    if log.head().await?.map_or(0, |head| head.commit()) != end + probe {
        return wrong(format!("the head is not {end}"));
    }
    if end < image.confirmed || end > image.attempted {
        return wrong(format!("it ends at {end}; {} was acknowledged, {} written", image.confirmed, image.attempted));
    }
    if !workload.ends.contains(&end) {
        return wrong(format!("it ends at {end}, within an append"));
    }
    for (position, (event, known)) in (1..).zip(events.iter().zip(&workload.events)) {
        let same = event.position().commit() == position
            && event.stream() == known.stream
            && event.revision().get() == known.revision
            && event.id() == known.id
            && event.event_type() == "Known"
            && event.data() == known.data;
        if !same {
            return wrong(format!("position {position} holds revision {} of {}", event.revision(), event.stream()));
        }
    }
    compare_streams(log, workload, end).await?;
    Ok(end)
}

async fn compare_streams(log: &EmbeddedLog, workload: &Workload, end: u64) -> Result<(), Finding> {
    let written = &workload.events[..usize::try_from(end).unwrap()];
    let mut names: Vec<_> = written.iter().map(|known| known.stream.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (from, direction) = (StreamPoint::Start, Direction::Forward);
        let limit = PageLimit::events(10_000);
        let page = log.read_stream(ReadStream { stream: stream(name), direction, from, limit }).await?;
        let found: Vec<_> = page.events.iter().map(RecordedEvent::id).collect();
        let known: Vec<_> = written.iter().filter(|known| known.stream == name).map(|known| known.id).collect();
        if found != known {
            return Err(Finding::Wrong(format!("{name} holds {} events, not {}", found.len(), known.len())));
        }
    }
    Ok(())
}

async fn append_probe(log: &EmbeddedLog, end: u64) -> Result<(), Finding> {
    let events = vec![ProposedEvent::json(PROBE, "Probe", "{}")];
    let request = AppendRequest { stream: stream("probe"), expected: ExpectedRevision::NoStream, events };
    match log.append(request).await {
        Ok(appended) if appended.position.map(|position| position.commit()) == Some(end + 1) => Ok(()),
        Ok(appended) => Err(Finding::Wrong(format!("an event behind {end} went to {:?}", appended.position))),
        Err(error) => Err(Finding::Wrong(format!("nothing can be appended: {error}"))),
    }
}

async fn all(log: &EmbeddedLog) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut from = LogPoint::Start;
    let mut events = Vec::new();
    loop {
        let (limit, filter) = (PageLimit::events(5_000), EventFilter::All);
        let page = log.read_all(ReadAll { direction: Direction::Forward, from, limit, filter }).await?;
        events.extend(page.events);
        if page.at_end {
            return Ok(events);
        }
        from = page.next;
    }
}
