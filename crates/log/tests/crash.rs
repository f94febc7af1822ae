//! Kills a writing process at random moments: whatever it was told is durable must be there, in order, once.
//!
//! The writing process is this test binary itself, started again with the directory in its environment.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test panics where it finds what must not be")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use forebay_event::{ExpectedRevision, ProposedEvent, Revision, StreamName, SystemClock};
use forebay_log::{EmbeddedLog, LogOptions, verify};
use forebay_store::{AppendRequest, Direction, EventStore, PageLimit, ReadStream, StreamPoint};
use uuid::Uuid;

const DIRECTORY: &str = "FOREBAY_TEST_CRASH_DIRECTORY";
const ROUNDS: u64 = 8;
const WRITERS: usize = 4;

fn open(directory: &Path) -> (EmbeddedLog, forebay_log::RecoveryReport) {
    EmbeddedLog::open(LogOptions::new(directory, Arc::new(SystemClock::new()))).unwrap()
}

fn stream(writer: usize) -> StreamName {
    StreamName::new(&format!("writer-{writer}")).unwrap()
}

async fn last_revision(log: &EmbeddedLog, stream: &StreamName) -> Option<u64> {
    let (from, direction) = (StreamPoint::End, Direction::Backward);
    let read = ReadStream { stream: stream.clone(), direction, from, limit: PageLimit::events(1) };
    log.read_stream(read).await.ok().map(|page| page.last_revision.get())
}

/// The child: appends for ever, and says each revision that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_appends_until_it_is_killed() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let (log, _) = open(Path::new(&directory));
    let writers = (0..WRITERS).map(|writer| {
        let log = log.clone();
        tokio::spawn(async move {
            let stream = stream(writer);
            let mut last = last_revision(&log, &stream).await;
            loop {
                let next = last.map_or(0, |last| last + 1);
                let count = 1 + next % 7;
                let events = (next..next + count).map(|number| numbered(writer, number)).collect();
                let expected =
                    last.map_or(ExpectedRevision::NoStream, |last| ExpectedRevision::Exact(Revision::new(last)));
                log.append(AppendRequest { stream: stream.clone(), expected, events }).await.unwrap();
                last = Some(next + count - 1);
                let mut output = std::io::stdout().lock();
                writeln!(output, "ack {writer} {}", next + count - 1).unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for writer in writers {
        let _: () = writer.await.unwrap();
    }
}

fn numbered(writer: usize, number: u64) -> ProposedEvent {
    let id = Uuid::from_u128((writer as u128 + 1) << 64 | u128::from(number));
    ProposedEvent::json(id, "Numbered", format!("{{\"number\":{number},\"filler\":\"{}\"}}", "x".repeat(200)))
}

/// Runs the child and kills it after so many acknowledgements; answers the last one of each writer.
fn run_and_kill(directory: &Path, acknowledgements: u64) -> [Option<u64>; WRITERS] {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_appends_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = [None; WRITERS];
    let mut left = acknowledgements;
    // What it said before it was killed is still in the pipe, so this reads on to the end.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace().skip_while(|word| *word != "ack").skip(1);
        let numbers = (words.next().and_then(|word| word.parse::<usize>().ok()), words.next());
        if let (Some(writer), Some(revision)) = numbers {
            // A line that the kill cut short says less than was acknowledged, never more.
            said[writer] = revision.parse::<u64>().ok().max(said[writer]);
            left = left.saturating_sub(1);
        }
        if left == 0 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    said
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill() {
    let directory = tempfile::tempdir().unwrap();
    let seed = Uuid::new_v4().as_u128();
    for round in 0..ROUNDS {
        let acknowledgements = 1 + u64::try_from((seed >> (round * 8)) & 0xff).unwrap() * 4;
        let said = run_and_kill(directory.path(), acknowledgements);
        let (log, report) = open(directory.path());
        for (writer, said) in (0..WRITERS).zip(said) {
            let there = last_revision(&log, &stream(writer)).await;
            assert!(there >= said, "round {round}: {said:?} was acknowledged to writer {writer}, there is {there:?}");
            // Appended again, as a writer does that did not hear the answer: nothing is written twice.
            if let Some(last) = there {
                let events = vec![numbered(writer, last)];
                let expected = ExpectedRevision::Any;
                let again = log.append(AppendRequest { stream: stream(writer), expected, events }).await.unwrap();
                assert_eq!(again.last_revision.map(Revision::get), Some(last), "round {round}, writer {writer}");
            }
        }
        assert!(report.last_position >= report.high_water);
        log.close().await;
    }
    let report = verify(directory.path(), |_| ()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.streams, WRITERS as u64);
}
