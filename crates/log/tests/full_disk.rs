//! A disk that takes no more: a limit on the size of files makes writes short and then fail, at any byte; a small memory
//! file system is full at any step. Appends fail clearly, reads go on, and with room again everything acknowledged is there.
//!
//! The limited process is this test binary itself, started again through a shell that sets the limit.

#![expect(clippy::unwrap_used, reason = "a test panics where it finds what must not be")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use forebay_event::{ExpectedRevision, ProposedEvent, RecordedEvent, StreamName, SystemClock};
use forebay_log::{EmbeddedLog, LogOptions, verify};
use forebay_store::{AppendError, AppendRequest, Direction, EventFilter, EventStore, LogPoint, PageLimit, ReadAll};
use uuid::Uuid;

const DIRECTORY: &str = "FOREBAY_TEST_LIMITED_DIRECTORY";
const APPENDS_MAX: u64 = 20_000;

fn open(directory: &Path) -> EmbeddedLog {
    EmbeddedLog::open(LogOptions::new(directory, Arc::new(SystemClock::new()))).unwrap().0
}

async fn append(log: &EmbeddedLog, number: u64) -> Result<u64, AppendError> {
    let size = usize::try_from(number * 37 % 900).unwrap();
    let data = format!("{{\"number\":{number},\"filler\":\"{}\"}}", "x".repeat(size));
    let events = vec![ProposedEvent::json(Uuid::from_u128(u128::from(number) + 1), "Numbered", data)];
    let stream = StreamName::new(&format!("stream-{}", number % 3)).unwrap();
    let appended = log.append(AppendRequest { stream, expected: ExpectedRevision::Any, events }).await?;
    Ok(appended.position.unwrap().commit())
}

async fn all(log: &EmbeddedLog) -> Vec<RecordedEvent> {
    let (mut from, mut events) = (LogPoint::Start, Vec::new());
    loop {
        let (limit, filter) = (PageLimit::events(1000), EventFilter::All);
        let page = log.read_all(ReadAll { direction: Direction::Forward, from, limit, filter }).await.unwrap();
        events.extend(page.events);
        if page.at_end {
            return events;
        }
        from = page.next;
    }
}

/// Appends until the disk takes no more; checks that it stays so and that reads go on; answers what was acknowledged.
async fn fill(log: &EmbeddedLog, from: u64) -> u64 {
    let mut acknowledged = from;
    let refused = loop {
        match append(log, acknowledged).await {
            Ok(position) => {
                assert_eq!(position, acknowledged + 1);
                acknowledged += 1;
            }
            Err(refused) => break refused.to_string(),
        }
        assert!(acknowledged < APPENDS_MAX, "the disk has no end");
    };
    assert!(refused.contains("commit failed"), "{refused}");
    let again = append(log, acknowledged).await.unwrap_err().to_string();
    assert!(again.contains("must be opened anew"), "{again}");
    assert_eq!(all(log).await.len() as u64, acknowledged, "reads go on, and show what was acknowledged");
    acknowledged
}

/// Every acknowledged event is there, in order, and one whose answer was a failure at most; it takes appends again.
async fn check_after(directory: &Path, acknowledged: u64) {
    let log = open(directory);
    let events = all(&log).await;
    let count = events.len() as u64;
    assert!(count == acknowledged || count == acknowledged + 1, "{count} events, {acknowledged} acknowledged");
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event.id(), Uuid::from_u128(number as u128 + 1));
    }
    // The writer that was refused repeats its append, and it is there once.
    assert_eq!(append(&log, acknowledged).await.unwrap(), acknowledged + 1);
    assert_eq!(append(&log, acknowledged + 1).await.unwrap(), acknowledged + 2);
    log.close().await;
    let report = verify(directory, |_| ()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.events, acknowledged + 2);
}

/// The child: appends under the limit that its shell set.
#[tokio::test]
async fn child_appends_under_a_limit() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let directory = PathBuf::from(directory);
    let log = open(&directory);
    let from = all(&log).await.len() as u64;
    let acknowledged = fill(&log, from).await;
    fs::write(directory.join("acknowledged"), acknowledged.to_string()).unwrap();
    log.close().await;
}

#[tokio::test]
async fn writes_that_are_short_and_then_fail_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for number in 0..20 {
        append(&log, number).await.unwrap();
    }
    log.close().await;
    let mut acknowledged = 20;
    for round in 0..12 {
        // Opening cuts what the engine allocated; the limit then lies at another place within an append each time.
        open(directory.path()).close().await;
        let journal = directory.path().join("engine/0.jnl");
        let blocks = fs::metadata(journal).unwrap().len() / 512 + 8 + round * 3;
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let status = Command::new("sh")
            .args(["-c", &limited, env::current_exe().unwrap().to_str().unwrap()])
            .args(["--exact", "child_appends_under_a_limit", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "round {round}: {status}");
        acknowledged = fs::read_to_string(directory.path().join("acknowledged")).unwrap().parse::<u64>().unwrap();
        check_after(directory.path(), acknowledged).await;
    }
    assert!(acknowledged > 40, "{acknowledged}");
}

/// A file system in memory, of a size that can change; gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where this process may not mount.
    fn new(size: u64) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.mount(&format!("size={size}")).then_some(disk)
    }

    fn mount(&self, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.0.path()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).stderr(Stdio::null()).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_goes_on_with_room() {
    for step in 0..10 {
        let Some(disk) = SmallDisk::new((600 << 10) + step * (52 << 10)) else {
            eprintln!("skipped: this process may not mount a file system");
            return;
        };
        let directory = disk.0.path().join("data");
        let log = open(&directory);
        let acknowledged = fill(&log, 0).await;
        log.close().await;
        assert!(disk.mount("remount,size=64m"), "step {step}");
        check_after(&directory, acknowledged).await;
    }
}
