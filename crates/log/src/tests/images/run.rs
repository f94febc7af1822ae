//! Runs the images on two threads, with a watch on those that take too long.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::checker::check;
use super::derive::images;
use super::recording::record;
use super::workload::Workload;

const IMAGES: usize = 2_000;
const SEED: u64 = 0x5eed_0f0e_ba11;
const THREADS: usize = 2;
/// No image takes so long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many failures are told.
const TOLD_MAX: usize = 40;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Memory, where there is some for files: the images need no disk that syncs.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()) } else { tempfile::tempdir() }
        .unwrap()
}

/// `FOREBAY_CRASH_IMAGES` says how many, `FOREBAY_CRASH_SEED` which.
#[test]
fn every_crash_image_is_recovered_or_refused_by_place() {
    let count = usize::try_from(number("FOREBAY_CRASH_IMAGES", IMAGES as u64)).unwrap();
    let seed = number("FOREBAY_CRASH_SEED", SEED);
    let workload = Workload::new(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let moments = runtime.block_on(record(&workload));
    let images = images(&moments, count, seed);
    let scratch = scratch();
    let next = Mutex::new(0..images.len());
    let (done, results) = channel();
    let (mut failures, mut outcomes) = (Vec::new(), BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (done, next, images, workload, scratch) = (done.clone(), &next, &images, &workload, scratch.path());
            scope.spawn(move || {
                while let Some(number) = { next.lock().unwrap().next() } {
                    let folder: PathBuf = scratch.join(number.to_string());
                    let outcome = check(&images[number], workload, &folder);
                    std::fs::remove_dir_all(&folder).unwrap();
                    done.send((number, outcome)).unwrap();
                }
            });
        }
        drop(done);
        loop {
            match results.recv_timeout(PATIENCE) {
                Ok((_, Ok(outcome))) => *outcomes.entry(outcome).or_insert(0) += 1,
                Ok((number, Err(wrong))) => {
                    failures.push(format!("{} ({:?}): {wrong}", images[number].what, images[number].demand))
                }
                Err(RecvTimeoutError::Disconnected) => break,
                // The threads cannot be ended, so the process is.
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("an image hangs, one of the next {THREADS} before {:?}", next.lock().unwrap());
                    std::process::abort();
                }
            }
        }
    });
    eprintln!("{} moments, {count} images, seed {seed}: {outcomes:?}", moments.len());
    let told = failures.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} images, seed {seed}:\n{told}", failures.len());
}
