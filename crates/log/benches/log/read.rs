//! Scans, reads of stream ends, and reopening, on a log of many events whose writer was killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use forebay_event::ExpectedRevision;
use forebay_log::EmbeddedLog;
use forebay_store::{
    AppendRequest, Direction, EventFilter, EventStore, LogPoint, Notice, PageLimit, ReadAll, ReadStream, StreamPoint,
    SubscribeAll,
};
use tokio::runtime::Runtime;

use crate::events::{STREAMS, event, stream};
use crate::{Row, Scale, open, scratch};

const CHILD: &str = "FOREBAY_BENCH_LOAD";
const APPENDS_AT_ONCE: usize = 50;
const EVENTS_AN_APPEND: usize = 10;
const PAGE: usize = 4096;
const BLOCK_HEADER: usize = 14;
const TAIL_READS: usize = 2000;
const SCANS_A_ROUND: usize = 3;

pub(crate) fn is_child() -> bool {
    std::env::var(CHILD).is_ok()
}

/// The child: loads so many events, says so, and waits to be killed.
pub(crate) fn load_and_wait() {
    let asked = std::env::var(CHILD).unwrap();
    let (count, directory) = asked.split_once(':').unwrap();
    let count: usize = count.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (log, _) = open(Path::new(directory));
        let began = Instant::now();
        let mut took = Vec::new();
        for first in (0..count).step_by(APPENDS_AT_ONCE * EVENTS_AN_APPEND) {
            let parts = (first..first + APPENDS_AT_ONCE * EVENTS_AN_APPEND).step_by(EVENTS_AN_APPEND);
            let appends = parts.map(|part| {
                let events = (part..part + EVENTS_AN_APPEND).map(event).collect();
                let stream = stream(part / EVENTS_AN_APPEND * 7919);
                let log = log.clone();
                let request = AppendRequest { stream, expected: ExpectedRevision::Any, events };
                tokio::spawn(async move { log.append(request).await.unwrap() })
            });
            let appends: Vec<_> = appends.collect();
            let waited = Instant::now();
            for append in appends {
                append.await.unwrap();
            }
            took.push(waited.elapsed().as_micros());
        }
        let rate = count as f64 / began.elapsed().as_secs_f64();
        took.sort_unstable();
        let (p999, worst) = (took[took.len() * 999 / 1000], took[took.len() - 1]);
        let mut output = std::io::stdout().lock();
        writeln!(output, "loaded {rate} {p999} {worst}").unwrap();
        std::future::pending::<()>().await;
    });
}

pub(crate) fn rows(runtime: &Runtime, scale: Scale) -> Vec<Row> {
    let directory = scratch("read");
    let mut rows = load_and_kill(&directory, scale.events);
    let began = Instant::now();
    let (log, report) = open(&directory);
    let reopened = began.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(report.last_position, scale.events as u64);
    let (p50, p99) = runtime.block_on(tail_reads(&log));
    runtime.block_on(log.close());

    let mut row = |what: &str, measured, unit, aim| rows.push(Row { what: what.to_owned(), measured, unit, aim });
    row(&format!("reopen after kill, {} events", scale.events), (reopened, None), "ms", Some(1000.0));
    row("journal replayed by it", (report.replayed_bytes as f64 / 1e6, None), "MB", None);
    let Scans { scanned, subscribed, ceiling } = scans(runtime, &directory, scale.rounds);
    row("scan of $all, warm", (scanned, Some(ceiling)), "events/s", Some(0.8));
    row("catch-up subscription, warm", (subscribed, Some(ceiling)), "events/s", None);
    row("last 100 of a stream, p50", (p50, None), "us", None);
    row("last 100 of a stream, p99", (p99, None), "us", None);
    std::fs::remove_dir_all(directory).unwrap();
    rows
}

/// The best rates of the scans and of their ceiling, in events/s.
#[derive(Default)]
struct Scans {
    scanned: f64,
    subscribed: f64,
    ceiling: f64,
}

/// Measures in turn, so that what else the machine does falls on the log and on the ceiling alike. Each opens the
/// directory anew and reads it once before it is measured.
fn scans(runtime: &Runtime, directory: &Path, rounds: usize) -> Scans {
    let mut best = Scans::default();
    for _ in 0..rounds * SCANS_A_ROUND {
        let (log, _) = open(directory);
        let (scanned, subscribed) = runtime.block_on(async {
            scan(&log).await;
            (scan(&log).await, subscribe(&log).await)
        });
        runtime.block_on(log.close());
        let database = fjall::Database::builder(directory.join("engine")).cache_size(16 << 20).open().unwrap();
        unpack_loop(&database);
        let ceiling = unpack_loop(&database);
        best.scanned = best.scanned.max(scanned);
        best.subscribed = best.subscribed.max(subscribed);
        best.ceiling = best.ceiling.max(ceiling);
    }
    best
}

fn load_and_kill(directory: &Path, events: usize) -> Vec<Row> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, format!("{events}:{}", directory.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let numbers = said.split_whitespace().skip(1).map(|word| word.parse::<f64>().unwrap());
    let what = ["load, 50 x 10 events at once", "commits of it, p99.9", "commits of it, slowest"];
    let units = ["events/s", "us", "us"];
    what.into_iter()
        .zip(units)
        .zip(numbers)
        .map(|((what, unit), number)| Row { what: what.to_owned(), measured: (number, None), unit, aim: None })
        .collect()
}

async fn scan(log: &EmbeddedLog) -> f64 {
    let began = Instant::now();
    let (mut from, mut events, mut size) = (LogPoint::Start, 0, 0);
    loop {
        let limit = PageLimit { events: PAGE, bytes: 16 << 20 };
        let read = ReadAll { direction: Direction::Forward, from, limit, filter: EventFilter::All };
        let page = log.read_all(read).await.unwrap();
        events += page.events.len();
        size += page.events.iter().map(|event| event.data_slice().len()).sum::<usize>();
        if page.at_end {
            break;
        }
        from = page.next;
    }
    assert!(size > events);
    events as f64 / began.elapsed().as_secs_f64()
}

async fn subscribe(log: &EmbeddedLog) -> f64 {
    let began = Instant::now();
    let limit = PageLimit { events: PAGE, bytes: 16 << 20 };
    let subscribe = SubscribeAll { from: LogPoint::Start, filter: EventFilter::All, limit, checkpoint_every: 1000 };
    let mut subscription = log.subscribe_all(subscribe).await.unwrap();
    let mut events = 0;
    while let Notice::Events(more) = subscription.next().await.unwrap() {
        events += more.len();
    }
    events as f64 / began.elapsed().as_secs_f64()
}

async fn tail_reads(log: &EmbeddedLog) -> (f64, f64) {
    let mut took = Vec::with_capacity(TAIL_READS);
    for number in 0..TAIL_READS {
        let stream = stream(number * 7919 % STREAMS * 7919);
        let (from, direction) = (StreamPoint::End, Direction::Backward);
        let began = Instant::now();
        let page =
            log.read_stream(ReadStream { stream, direction, from, limit: PageLimit::events(100) }).await.unwrap();
        assert!(!page.events.is_empty());
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    (took[TAIL_READS / 2], took[TAIL_READS * 99 / 100])
}

/// The ceiling of a scan: reads the same blocks from the same engine, checks and unpacks each, and looks no further.
fn unpack_loop(database: &fjall::Database) -> f64 {
    let blocks = database.keyspace("blocks", fjall::KeyspaceCreateOptions::default).unwrap();
    let began = Instant::now();
    let mut events = 0;
    for guard in blocks.iter() {
        let (key, stored) = guard.into_inner().unwrap();
        let number = |at: usize| u32::from_le_bytes(stored[at..at + 4].try_into().unwrap());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&stored[..10]), &key);
        assert_eq!(crc32c::crc32c_append(crc, &stored[BLOCK_HEADER..]), number(10));
        let payload = &stored[BLOCK_HEADER..];
        let raw = match stored[1] {
            0 => payload.to_vec(),
            _ => lz4_flex::block::decompress(payload, number(2) as usize).unwrap(),
        };
        assert_eq!(raw.len(), number(2) as usize);
        events += number(6);
    }
    f64::from(events) / began.elapsed().as_secs_f64()
}
