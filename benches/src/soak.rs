//! Owns the soak of the embedded log: very many events, and how long the slowest appends waited.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use forebay_event::{ContentType, ExpectedRevision, ProposedEvent, StreamName, SystemClock};
use forebay_log::{EmbeddedLog, LogOptions};
use forebay_store::{AppendRequest, EventStore};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::clock::now_us;
use crate::latency::Latency;
use crate::load::{self, Place};

const APPENDERS: u32 = 16;
const EVENTS_PER_APPEND: u32 = 100;
const PROGRESS_EVERY: u64 = 1_000_000;
/// Times of appends that wait to be counted.
const REPORTS_MAX: usize = 1_024;

/// Appends so many events, says how it goes, and opens the log again at the end.
pub(crate) fn run(events: &str) -> Result<()> {
    let events: u64 = events.replace('_', "").parse().with_context(|| format!("a number of events, not {events:?}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(soak(events))
}

async fn soak(events: u64) -> Result<()> {
    // Beside the program and not among temporary files, which may lie in memory, where a sync costs nothing.
    let program = std::env::current_exe()?;
    let folder = tempfile::tempdir_in(program.parent().context("the program lies in a folder")?)?;
    let (log, _) = EmbeddedLog::open(options(&folder.path().join("data")))?;
    let log = Arc::new(log);
    let mut reports = start_appenders(&log, events)?;
    let (begun, mut waits, mut appended) = (Instant::now(), Latency::default(), 0_u64);
    while let Some(wait) = reports.recv().await {
        waits.add(wait?);
        appended += u64::from(EVENTS_PER_APPEND);
        if appended.is_multiple_of(PROGRESS_EVERY) {
            say(appended, &waits, begun)?;
        }
    }
    say(appended, &waits, begun)?;
    log.close().await;
    drop(log);
    let reopened = Instant::now();
    let (log, recovery) = EmbeddedLog::open(options(&folder.path().join("data")))?;
    println!("opened again in {} ms: {recovery:?}", reopened.elapsed().as_millis());
    log.close().await;
    Ok(())
}

/// Fills a log with about so many events; answers how many there are.
pub(crate) async fn fill(log: &Arc<EmbeddedLog>, events: u64) -> Result<u64> {
    let mut reports = start_appenders(log, events)?;
    let mut appended = 0;
    while let Some(wait) = reports.recv().await {
        wait?;
        appended += u64::from(EVENTS_PER_APPEND);
    }
    Ok(appended)
}

/// A log in this folder.
pub(crate) fn options(folder: &std::path::Path) -> LogOptions {
    LogOptions::new(folder.to_owned(), Arc::new(SystemClock::new()))
}

/// Appends so many events, spread evenly; how long each append took comes back.
fn start_appenders(log: &Arc<EmbeddedLog>, events: u64) -> Result<mpsc::Receiver<Result<u64>>> {
    let (report, reports) = mpsc::channel(REPORTS_MAX);
    let appends = u32::try_from(events / u64::from(APPENDERS * EVENTS_PER_APPEND)).context("too many events")?;
    for appender in 0..APPENDERS {
        let store: Arc<dyn EventStore> = Arc::clone(log) as Arc<dyn EventStore>;
        tokio::spawn(append_all(store, appender, appends, report.clone()));
    }
    Ok(reports)
}

/// Appends to one stream, one append after the other, and reports how long each took, in microseconds.
async fn append_all(store: Arc<dyn EventStore>, appender: u32, appends: u32, report: mpsc::Sender<Result<u64>>) {
    for number in 0..appends {
        let began = Instant::now();
        let appended = append(&*store, appender, number).await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let failed = appended.is_err();
        if report.send(appended.map(|()| took)).await.is_err() || failed {
            return;
        }
    }
}

async fn append(store: &dyn EventStore, appender: u32, number: u32) -> Result<()> {
    let event = |index: u32| ProposedEvent {
        id: Uuid::from_u64_pair(u64::from(appender) + 1, u64::from(number) << 16 | u64::from(index)),
        event_type: "OrderPlaced".to_owned(),
        content_type: ContentType::Json,
        data: Bytes::from(load::data(
            Place { stream: appender, revision: number * EVENTS_PER_APPEND + index },
            now_us(),
        )),
        metadata: Bytes::new(),
    };
    let stream = StreamName::new(&load::stream_name(appender)).context("the name is not empty")?;
    let events = (0..EVENTS_PER_APPEND).map(event).collect();
    store.append(AppendRequest { stream, expected: ExpectedRevision::Any, events }).await?;
    Ok(())
}

fn say(appended: u64, waits: &Latency, begun: Instant) -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in the status")?;
    let millis = |permille| u128::from(waits.permille(permille)) / 1000;
    println!(
        "{appended:>10} events, {:>9} events/s, wait of an append p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms, peak memory {}",
        u128::from(appended) * 1000 / begun.elapsed().as_millis().max(1),
        millis(500),
        millis(990),
        millis(999),
        waits.max() / 1000,
        peak.trim(),
    );
    Ok(())
}
