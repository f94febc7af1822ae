//! Owns the one thread that writes: it takes what waits, plans it as one commit, syncs once, and answers all.
//!
//! ```text
//!  append ─▶ queue (bounded in bytes) ─▶ plan ─▶ commit and sync ─▶ high water ─▶ publish ─▶ answers
//!                                                     └─ fails ─▶ poisoned: nothing is written until reopened
//! ```
//!
//! A sync that fails is not repeated: what the disk holds is then unknown, and a second sync could succeed without the
//! first one's data. Whoever waits for a plan that fails is told so, also those that the plan would have refused.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use forebay_store::{AppendError, Appended};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::engine::{Change, FaultPoint};
use crate::format::Packer;
use crate::high_water::HighWater;
use crate::options::{
    BLOCK_RAW_TARGET, COMMIT_APPENDS_MAX, COMMIT_SIZE_MAX, QUEUE_UNIT, QUEUE_UNITS_MAX, QUEUE_UNITS_MIN,
};
use crate::plan::{Plan, Planned, Write};
use crate::recent_ids::RecentIds;
use crate::repack;
use crate::shared::{Published, Shared};

/// The log counts as idle when nothing was asked for so long.
const IDLE_AFTER: Duration = Duration::from_millis(20);
/// While a group is smaller than the last one, the writer lets others run for this share of what the last commit took:
/// those just answered often come back at once, and one commit for all of them costs less than two.
const FILL_SHARE: u32 = 4;
/// It lets others run for at most so long.
const FILL_MAX: Duration = Duration::from_micros(250);
/// So many small blocks are packed together at the latest, idle or not.
const SMALL_BLOCKS_MAX: usize = 4096;

type Answer = Result<Appended, AppendError>;

struct Waiting {
    write: Write,
    answer: oneshot::Sender<Answer>,
    /// Its place in the queue, free again when it is answered.
    _permit: OwnedSemaphorePermit,
}

enum Command {
    Write(Waiting),
    #[cfg_attr(not(test), expect(dead_code, reason = "the product packs when idle, a test when it says so"))]
    Repack(oneshot::Sender<bool>),
    Close(oneshot::Sender<()>),
}

/// The callers' end of the queue. The thread ends when it is dropped.
pub(crate) struct WriterQueue {
    commands: Sender<Command>,
    room: Arc<Semaphore>,
}

impl WriterQueue {
    /// Waits for room in the queue, then for the answer.
    pub(crate) async fn write(&self, write: Write) -> Answer {
        let units = (QUEUE_UNITS_MIN + write.size() / QUEUE_UNIT).min(QUEUE_UNITS_MAX);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Write(Waiting { write, answer, _permit: permit })).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Packs one step of small blocks; answers whether there may be more.
    #[cfg(test)]
    pub(crate) async fn repack(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Repack(answer)).unwrap();
        answered.await.unwrap()
    }

    /// Answers what waits, ends the thread and shuts the log.
    pub(crate) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Close(answer)).is_ok() {
            // The thread may end between the two; then the log is shut as well.
            let _ = answered.await;
        }
    }
}

fn closed() -> AppendError {
    AppendError::Unavailable { reason: "the log is closed".to_owned() }
}

/// What the writer needs beside the log itself.
pub(crate) struct WriterParts {
    /// The file of the high-water position.
    pub(crate) high_water: HighWater,
    /// What it knows of recent events.
    pub(crate) ids: RecentIds,
    /// How far small blocks were packed.
    pub(crate) repacked: u64,
    /// Whether to pack small blocks by itself.
    pub(crate) repack: bool,
}

/// Starts the thread.
pub(crate) fn start(shared: Arc<Shared>, parts: WriterParts) -> std::io::Result<WriterQueue> {
    let (commands, received) = channel();
    let writer = Writer {
        shared,
        is_settled: false,
        parts,
        small_blocks: 0,
        packer: Packer::default(),
        last_group: 0,
        last_commit: Duration::ZERO,
        poisoned: None,
    };
    thread::Builder::new().name("forebay-log-writer".to_owned()).spawn(move || writer.run(&received))?;
    Ok(WriterQueue { commands, room: Arc::new(Semaphore::new(QUEUE_UNITS_MAX)) })
}

struct Writer {
    shared: Arc<Shared>,
    parts: WriterParts,
    /// Nothing is left to do while idle.
    is_settled: bool,
    small_blocks: usize,
    packer: Packer,
    /// How many appends the last commit took.
    last_group: usize,
    /// How long the last commit took.
    last_commit: Duration,
    poisoned: Option<String>,
}

/// However the thread ends, nobody waits for it afterwards.
impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.parts.high_water.sync() {
            tracing::warn!(%error, "the high-water position could not be synced");
        }
        self.shared.shut();
    }
}

impl Writer {
    fn run(mut self, commands: &Receiver<Command>) {
        let mut next = None;
        loop {
            let command = match next.take() {
                Some(command) => command,
                None if self.is_settled => match commands.recv() {
                    Ok(command) => command,
                    Err(_) => return,
                },
                None => match commands.recv_timeout(IDLE_AFTER) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => {
                        self.idle();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            match command {
                Command::Write(first) => next = self.commit_group(first, commands),
                Command::Repack(answer) => drop(answer.send(self.repack_step())),
                Command::Close(answer) => {
                    drop(self);
                    let _ = answer.send(());
                    return;
                }
            }
        }
    }

    /// Takes what waits up to the bounds of a commit; answers a command that is not part of it.
    fn commit_group(&mut self, first: Waiting, commands: &Receiver<Command>) -> Option<Command> {
        let mut size = first.write.size();
        let mut group = vec![first];
        let mut next = None;
        let (begun, fill) = (Instant::now(), (self.last_commit / FILL_SHARE).min(FILL_MAX));
        while size < COMMIT_SIZE_MAX && group.len() < COMMIT_APPENDS_MAX {
            match commands.try_recv() {
                Ok(Command::Write(waiting)) => {
                    size += waiting.write.size();
                    group.push(waiting);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) if group.len() < self.last_group && begun.elapsed() < fill => thread::yield_now(),
                Err(_) => break,
            }
        }
        self.last_group = group.len();
        let begun = Instant::now();
        let answers = self.commit_writes(&group);
        self.last_commit = begun.elapsed();
        for (waiting, answer) in group.into_iter().zip(answers) {
            // Whoever no longer waits for the answer does not need it.
            let _ = waiting.answer.send(answer);
        }
        self.is_settled = false;
        if self.parts.repack && self.small_blocks >= SMALL_BLOCKS_MAX {
            self.repack_step();
        }
        next
    }

    fn commit_writes(&mut self, group: &[Waiting]) -> Vec<Answer> {
        if self.poisoned.is_some() {
            return group.iter().map(|_| Err(self.refusal())).collect();
        }
        let shared = Arc::clone(&self.shared);
        let outcome = shared.with_engine(|engine| {
            let mut plan = Plan::new(&shared, engine, &mut self.parts.ids);
            let answers: Vec<Answer> = group.iter().map(|waiting| plan.add(&waiting.write)).collect();
            let Some(Planned { change, blocks, states, head }) = plan.finish(&mut self.packer) else {
                return Ok(answers);
            };
            self.small_blocks += blocks.iter().filter(|block| block.raw_len() < BLOCK_RAW_TARGET / 2).count();
            if let Err(error) = engine.commit(change) {
                self.poisoned = Some(error.to_string());
                return Ok(Vec::new());
            }
            let high_water = &mut self.parts.high_water;
            if let Err(error) = engine.fault(FaultPoint::HighWater).and_then(|()| high_water.write(head)) {
                // What was committed is durable, so it is acknowledged; nothing is written behind it.
                self.poisoned = Some(format!("the high-water position was not written: {error}"));
            }
            let is_bookkeeping = group.iter().all(|waiting| waiting.write.is_bookkeeping());
            shared.publish(Published { states, blocks, head, is_bookkeeping });
            Ok(answers)
        });
        match outcome {
            Ok(answers) if !answers.is_empty() => answers,
            _ => {
                if let Some(reason) = &self.poisoned {
                    tracing::error!(reason, "a commit failed; the log writes nothing until it is opened anew");
                }
                group.iter().map(|_| Err(self.refusal())).collect()
            }
        }
    }

    fn refusal(&self) -> AppendError {
        match &self.poisoned {
            Some(reason) => {
                AppendError::Unavailable { reason: format!("a commit failed ({reason}); the log must be opened anew") }
            }
            None => closed(),
        }
    }

    /// One bounded piece of the work that can wait.
    fn idle(&mut self) {
        if let Err(error) = self.parts.high_water.sync() {
            tracing::warn!(%error, "the high-water position could not be synced");
        }
        self.is_settled = !(self.parts.repack && self.repack_step());
    }

    /// Packs some small blocks together; answers whether there may be more.
    fn repack_step(&mut self) -> bool {
        if self.poisoned.is_some() {
            return false;
        }
        self.small_blocks = 0;
        let shared = Arc::clone(&self.shared);
        let from = self.parts.repacked;
        let outcome = shared.with_engine(|engine| {
            let step = repack::plan_step(engine, &mut self.packer, from, shared.head())?;
            let merged = !step.change.removed_blocks.is_empty();
            Ok((merged.then(|| engine.commit(Change { repacked: Some(step.next), ..step.change })), step.next))
        });
        match outcome {
            Ok((Some(Err(error)), _)) => {
                tracing::error!(%error, "packing blocks failed; the log writes nothing until it is opened anew");
                self.poisoned = Some(error.to_string());
                false
            }
            Ok((_, next)) => {
                let moved = next > self.parts.repacked;
                self.parts.repacked = next;
                moved
            }
            Err(error) => {
                tracing::error!(%error, from, "small blocks were not packed");
                false
            }
        }
    }
}
