//! Owns a running transform: hands batches to the script's thread and does not wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_event::Record;
use tokio::sync::Mutex;

use super::engine::{Failed, Verdict};
use super::failure::{FailureKind, ScriptError, TransformFailure};
use super::worker::{Ended, Job, Shared, Worker};
use crate::limits::{
    ABANDONED_THREADS_MAX, Limits, MEMORY_BYTES_MIN, SOURCE_BYTES_MAX, STACK_BYTES_MAX, STACK_BYTES_MIN, STUCK_FACTOR,
};

/// What a transform made of a record.
#[derive(Clone, Debug)]
pub enum Transformed {
    /// The record is not JSON, the script has not seen it.
    Unchanged(Record),
    /// The script let it through, changed or not.
    Changed(Record),
    /// The script dropped it; the record as it was.
    Dropped(Record),
}

/// A user's script, loaded and ready, on a thread of its own.
///
/// Batches are transformed one after the other; callers wait for their turn in the order in which they came. When the
/// value is dropped the script is interrupted and its thread ends by itself.
#[derive(Debug)]
pub struct Transform {
    host: Arc<Mutex<Host>>,
}

/// Checks that a script loads and has a `transform` function, by loading it on a thread of its own.
///
/// Blocks for as long as that takes: a millisecond or two, never longer than [`STUCK_FACTOR`] times the limit.
pub fn validate(source: &str, limits: Limits) -> Result<(), ScriptError> {
    Host::start(source, limits).map(drop)
}

impl Transform {
    /// Loads a script; blocks like [`validate`].
    pub fn start(source: &str, limits: Limits) -> Result<Self, ScriptError> {
        Ok(Self { host: Arc::new(Mutex::new(Host::start(source, limits)?)) })
    }

    /// Transforms a batch: one answer per record, in order.
    ///
    /// Needs a tokio runtime; the wait happens on its threads for blocking work, so that a paused clock stands still
    /// meanwhile. A call that is dropped stops the script after the record in hand.
    #[expect(clippy::result_large_err, reason = "both sides carry the record")]
    pub async fn apply(&self, records: Vec<Record>) -> Vec<Result<Transformed, TransformFailure>> {
        let records: Arc<[Record]> = records.into();
        let cancelled = Cancel(Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&cancelled.0);
        let mut host = Arc::clone(&self.host).lock_owned().await;
        let given = Arc::clone(&records);
        let verdicts = tokio::task::spawn_blocking(move || host.run(&given, &seen)).await;
        let mut verdicts = verdicts.unwrap_or_default().into_iter();
        let lost = || Verdict::Failed(Failed::new(FailureKind::Crashed, "the transform was shut down"));
        records.iter().map(|record| answer(record, verdicts.next().unwrap_or_else(lost))).collect()
    }
}

/// Tells the script's thread that nobody waits any more.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::result_large_err, reason = "both sides carry the record")]
fn answer(record: &Record, verdict: Verdict) -> Result<Transformed, TransformFailure> {
    let record = record.clone();
    match verdict {
        Verdict::Unchanged => Ok(Transformed::Unchanged(record)),
        Verdict::Changed(reshape) => Ok(Transformed::Changed(record.reshaped(reshape))),
        Verdict::Dropped => Ok(Transformed::Dropped(record)),
        Verdict::Failed(Failed { kind, message }) => Err(TransformFailure { record, kind, message }),
    }
}

/// The owner of the thread, and of those that had to be left behind.
struct Host {
    source: Arc<str>,
    limits: Limits,
    worker: Option<Worker>,
    abandoned: Vec<Arc<Shared>>,
    next_job: u64,
    next_sequence: u64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("limits", &self.limits).field("abandoned", &self.abandoned.len()).finish()
    }
}

impl Host {
    fn start(source: &str, limits: Limits) -> Result<Self, ScriptError> {
        check_limits(limits)?;
        if source.len() > SOURCE_BYTES_MAX {
            return Err(ScriptError::TooLong { bytes: source.len(), bytes_max: SOURCE_BYTES_MAX });
        }
        if let Some(at) = source.bytes().position(|byte| byte == 0) {
            return Err(ScriptError::ZeroByte { at });
        }
        let source: Arc<str> = source.into();
        let worker = Worker::spawn(Arc::clone(&source), limits)?;
        worker.wait_loaded(limits)?;
        Ok(Self { source, limits, worker: Some(worker), abandoned: Vec::new(), next_job: 1, next_sequence: 1 })
    }

    /// One verdict per record, fewer only when the call was cancelled.
    fn run(&mut self, records: &Arc<[Record]>, cancelled: &Arc<AtomicBool>) -> Vec<Verdict> {
        let first_sequence = self.next_sequence;
        self.next_sequence += records.len() as u64;
        let mut verdicts = Vec::with_capacity(records.len());
        while verdicts.len() < records.len() && !cancelled.load(Ordering::Relaxed) {
            let worker = match self.worker() {
                Ok(worker) => worker,
                Err(failed) => {
                    verdicts.push(Verdict::Failed(failed));
                    continue;
                }
            };
            let number = self.next_job;
            self.next_job += 1;
            let job = Job {
                number,
                records: Arc::clone(records),
                range: verdicts.len()..records.len(),
                first_sequence,
                cancelled: Arc::clone(cancelled),
            };
            let (ended, until_then) = worker.run(job);
            verdicts.extend(until_then);
            let failed = match ended {
                Ended::Done => {
                    self.worker = Some(worker);
                    continue;
                }
                Ended::Stuck => {
                    self.abandoned.push(worker.abandon());
                    let limit_ms = self.limits.time.as_millis();
                    let message = format!(
                        "the script takes longer than {limit_ms} ms and is inside a built-in that cannot be \
                         interrupted; its thread is left behind"
                    );
                    Failed::new(FailureKind::TimedOut, message)
                }
                Ended::Gone => Failed::new(FailureKind::Crashed, "the script's thread died"),
            };
            tracing::warn!(?ended, "the thread of a transform is replaced");
            if verdicts.len() < records.len() {
                verdicts.push(Verdict::Failed(failed));
            }
        }
        verdicts
    }

    /// The thread to work with, taken out: it is put back when it has answered.
    fn worker(&mut self) -> Result<Worker, Failed> {
        if let Some(worker) = self.worker.take() {
            return Ok(worker);
        }
        self.abandoned.retain(|thread| !thread.is_gone());
        if self.abandoned.len() >= ABANDONED_THREADS_MAX {
            let message = format!("{ABANDONED_THREADS_MAX} threads are stuck in this script, no more are started");
            return Err(Failed::new(FailureKind::Crashed, message));
        }
        let refused = |error: ScriptError| {
            Failed::new(FailureKind::Crashed, format!("the script cannot be started again: {error}"))
        };
        let worker = Worker::spawn(Arc::clone(&self.source), self.limits).map_err(refused)?;
        match worker.wait_loaded(self.limits) {
            Ok(()) => Ok(worker),
            Err(error) => {
                self.abandoned.push(worker.abandon());
                Err(refused(error))
            }
        }
    }
}

fn check_limits(limits: Limits) -> Result<(), ScriptError> {
    let millisecond = Duration::from_millis(1);
    // A limit times the factor must still be a point in time.
    let longest = Duration::from_secs(3600) / STUCK_FACTOR;
    let bounds = [
        ("time in ms", limits.time.as_millis(), millisecond.as_millis(), longest.as_millis()),
        ("load time in ms", limits.load_time.as_millis(), millisecond.as_millis(), longest.as_millis()),
        ("memory in bytes", limits.memory_bytes as u128, MEMORY_BYTES_MIN as u128, u128::from(u32::MAX)),
        ("stack in bytes", limits.stack_bytes as u128, STACK_BYTES_MIN as u128, STACK_BYTES_MAX as u128),
        ("output in bytes", limits.output_bytes as u128, 1, u128::from(u32::MAX)),
    ];
    for (limit, given, min, max) in bounds {
        if !(min..=max).contains(&given) {
            return Err(ScriptError::Limit { limit, given, min, max });
        }
    }
    Ok(())
}
