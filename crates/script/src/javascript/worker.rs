//! Owns the thread a script runs on, and what others can see of it without waiting for it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use forebay_event::Record;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::engine::{Engine, Failed, Verdict};
use super::failure::{FailureKind, ScriptError};
use crate::limits::{LOADING_THREADS_MAX, Limits, QUEUED_BATCHES_MAX, STACK_MARGIN_BYTES, STUCK_FACTOR};

/// A part of a batch to be transformed.
pub(super) struct Job {
    /// A number that no other job of this worker has; never 0.
    pub(super) number: u64,
    pub(super) records: Arc<[Record]>,
    pub(super) range: Range<usize>,
    /// The sequence number of the batch's first record.
    pub(super) first_sequence: u64,
    /// Set when nobody waits for the rest any more.
    pub(super) cancelled: Arc<AtomicBool>,
}

/// How a wait for a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// What was waited for is there.
    Done,
    /// The script is inside a built-in that answers no interrupt.
    Stuck,
    /// The thread is no more.
    Gone,
}

/// A thread with a script.
pub(super) struct Worker {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
}

/// What the thread and its owner both see.
pub(super) struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
    /// Set when the owner has given the thread up; the script is interrupted as soon as it can be.
    abandoned: Arc<AtomicBool>,
}

/// How far the thread is.
#[derive(Default)]
struct Progress {
    loaded: Option<Result<(), ScriptError>>,
    /// The job it works on or worked on last.
    job: u64,
    is_done: bool,
    verdicts: Vec<Verdict>,
    /// The point at which the step in hand counts as stuck; nothing while it waits for work.
    stuck_at: Option<Instant>,
    is_gone: bool,
}

impl Worker {
    /// Starts a thread, which begins with loading the script.
    pub(super) fn spawn(source: Arc<str>, limits: Limits) -> Result<Self, ScriptError> {
        let loading = Loading::begin()?;
        let (jobs, waiting) = sync_channel(QUEUED_BATCHES_MAX);
        let stuck_at = Some(Instant::now() + limits.load_time * STUCK_FACTOR);
        let shared = Arc::new(Shared {
            progress: Mutex::new(Progress { stuck_at, ..Progress::default() }),
            changed: Condvar::new(),
            abandoned: Arc::new(AtomicBool::new(false)),
        });
        let seen = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("forebay-transform".to_owned())
            .stack_size(limits.stack_bytes + STACK_MARGIN_BYTES)
            .spawn(move || Thread { source, limits, shared: Leaving(seen), engine: None }.run(loading, &waiting));
        match spawned {
            Ok(_) => Ok(Self { shared, jobs }),
            Err(error) => Err(ScriptError::Engine { reason: error.to_string() }),
        }
    }

    /// Waits until the script is loaded or known not to load.
    pub(super) fn wait_loaded(&self, limits: Limits) -> Result<(), ScriptError> {
        let mut progress = self.shared.progress.lock();
        match self.shared.wait(&mut progress, |progress| progress.loaded.is_some()) {
            Ended::Done => progress.loaded.clone().unwrap_or(Ok(())),
            Ended::Stuck => Err(ScriptError::TimedOut { limit_ms: limits.load_time.as_millis() }),
            Ended::Gone => Err(ScriptError::Engine { reason: "its thread died".to_owned() }),
        }
    }

    /// Hands a job over and waits for its end: how it ended, and the verdicts until then.
    pub(super) fn run(&self, job: Job) -> (Ended, Vec<Verdict>) {
        let number = job.number;
        if self.jobs.try_send(job).is_err() {
            return (Ended::Gone, Vec::new());
        }
        let mut progress = self.shared.progress.lock();
        let ended = self.shared.wait(&mut progress, |progress| progress.job == number && progress.is_done);
        let verdicts = if progress.job == number { std::mem::take(&mut progress.verdicts) } else { Vec::new() };
        (ended, verdicts)
    }

    /// Gives the thread up; what is left of it is returned, to see whether it still runs.
    pub(super) fn abandon(self) -> Arc<Shared> {
        self.shared.abandoned.store(true, Ordering::Relaxed);
        Arc::clone(&self.shared)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Whether the thread has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.progress.lock().is_gone
    }

    fn wait(&self, progress: &mut MutexGuard<'_, Progress>, is_there: impl Fn(&Progress) -> bool) -> Ended {
        /// How long to wait at most before looking again whether a step has begun that may get stuck.
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        loop {
            if is_there(progress) {
                return Ended::Done;
            }
            if progress.is_gone {
                return Ended::Gone;
            }
            match progress.stuck_at {
                Some(stuck_at) if Instant::now() >= stuck_at => return Ended::Stuck,
                Some(stuck_at) => self.changed.wait_until(progress, stuck_at),
                None => self.changed.wait_for(progress, LOOK_AGAIN),
            };
        }
    }
}

/// One of the threads of this process that are loading a script: nobody owns those that get stuck in it.
struct Loading;

static LOADING: AtomicUsize = AtomicUsize::new(0);

impl Loading {
    fn begin() -> Result<Self, ScriptError> {
        let begun = Self;
        // Counted by now; the value that is dropped on refusal takes itself off again.
        if LOADING.fetch_add(1, Ordering::Relaxed) >= LOADING_THREADS_MAX {
            drop(begun);
            let reason = format!("{LOADING_THREADS_MAX} scripts are being loaded at this moment");
            return Err(ScriptError::Engine { reason });
        }
        Ok(begun)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        LOADING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says that the thread has ended, however it ends.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.progress.lock().is_gone = true;
        self.0.changed.notify_all();
    }
}

/// The thread's side. Fields are dropped in this order: the runtime is freed before the thread counts as gone.
struct Thread {
    engine: Option<Engine>,
    source: Arc<str>,
    limits: Limits,
    shared: Leaving,
}

impl Thread {
    fn run(mut self, loading: Loading, jobs: &Receiver<Job>) {
        let loaded = self.load();
        drop(loading);
        let failed = loaded.is_err();
        self.progress(|progress| {
            progress.loaded = Some(loaded);
            progress.stuck_at = None;
        });
        self.shared.0.changed.notify_all();
        if failed {
            return;
        }
        while let Ok(job) = jobs.recv() {
            self.job(&job);
            if self.is_abandoned() {
                return;
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        self.shared.0.abandoned.load(Ordering::Relaxed)
    }

    fn progress(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.shared.0.progress.lock());
    }

    fn load(&mut self) -> Result<(), ScriptError> {
        // The old runtime goes first, so that two of them never hold memory at once.
        self.engine = None;
        let abandoned = Arc::clone(&self.shared.0.abandoned);
        self.engine = Some(Engine::load(&self.source, self.limits, abandoned)?);
        Ok(())
    }

    fn job(&mut self, job: &Job) {
        let stuck_after = self.limits.time * STUCK_FACTOR;
        self.progress(|progress| {
            progress.job = job.number;
            progress.is_done = false;
            progress.verdicts.clear();
            progress.stuck_at = Some(Instant::now() + stuck_after);
        });
        for index in job.range.clone() {
            let Some(record) = job.records.get(index) else { break };
            if self.is_abandoned() || job.cancelled.load(Ordering::Relaxed) {
                break;
            }
            let verdict = self.record(record, job.first_sequence + index as u64);
            self.progress(|progress| {
                progress.verdicts.push(verdict);
                progress.stuck_at = Some(Instant::now() + stuck_after);
            });
        }
        self.progress(|progress| {
            progress.is_done = true;
            progress.stuck_at = None;
        });
        self.shared.0.changed.notify_all();
    }

    fn record(&mut self, record: &Record, sequence: u64) -> Verdict {
        if self.engine.is_none() {
            let stuck_after = (self.limits.load_time + self.limits.time) * STUCK_FACTOR;
            self.progress(|progress| progress.stuck_at = Some(Instant::now() + stuck_after));
            if let Err(error) = self.load() {
                return Verdict::Failed(Failed::new(FailureKind::Crashed, error.to_string()));
            }
        }
        let Some(engine) = &self.engine else {
            return Verdict::Failed(Failed::new(FailureKind::Crashed, "the script's engine is not there"));
        };
        let verdict = engine.transform(record, sequence);
        if !engine.is_sound_after(&verdict) {
            tracing::debug!(position = record.event().position().commit(), "the engine of a transform is made anew");
            self.engine = None;
        }
        verdict
    }
}
