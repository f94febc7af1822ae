//! Every acknowledged append is synced: counted from outside, by the calls that reach the kernel.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::process::Command;
use std::sync::Arc;

use forebay_event::{ExpectedRevision, ProposedEvent, StreamName, SystemClock};
use forebay_log::{EmbeddedLog, LogOptions};
use forebay_store::{AppendRequest, EventStore};
use uuid::Uuid;

/// Set for the copy of this test that appends under observation: how often.
const APPENDS: &str = "FOREBAY_TEST_APPENDS";

#[test]
fn every_append_is_synced() {
    if let Some(appends) = std::env::var(APPENDS).ok().and_then(|text| text.parse().ok()) {
        return append(appends);
    }
    let (Some(few), Some(many)) = (syncs(2), syncs(42)) else {
        println!("SKIPPED: counting syncs needs strace, and the right to use it");
        return;
    };
    assert!(many >= few + 40, "{few} syncs for 2 appends, but {many} for 42");
}

/// The syncs of a process that appends so often, one append after the other.
fn syncs(appends: u32) -> Option<usize> {
    let directory = tempfile::tempdir().unwrap();
    let calls = directory.path().join("calls");
    let done = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o"])
        .arg(&calls)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "every_append_is_synced"])
        .env(APPENDS, appends.to_string())
        .output()
        .ok()?;
    let text = std::fs::read_to_string(calls).ok()?;
    let count = text.lines().filter(|line| line.contains("sync(")).count();
    done.status.success().then_some(count)
}

fn append(appends: u32) {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let (log, _) = EmbeddedLog::open(LogOptions::new(directory.path(), clock)).unwrap();
        for _ in 0..appends {
            let events = vec![ProposedEvent::json(Uuid::new_v4(), "Counted", "{}")];
            let stream = StreamName::new("counted").unwrap();
            log.append(AppendRequest { stream, expected: ExpectedRevision::Any, events }).await.unwrap();
        }
        log.close().await;
    });
}
