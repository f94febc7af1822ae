//! Durable appends, against a loop that writes the same bytes to a file and syncs it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use forebay_event::{ExpectedRevision, ProposedEvent, StreamName};
use forebay_store::{AppendRequest, EventStore};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::events::{event, plain, stream};
use crate::{Row, Scale, open, scratch};

const CLIENTS: usize = 64;
/// Events made beforehand and used in turn, so that making them is not measured.
const POOL: usize = 20_000;

type Pool = Arc<Vec<(StreamName, ProposedEvent)>>;

pub(crate) fn rows(runtime: &Runtime, scale: Scale) -> Vec<Row> {
    let pool: Pool = Arc::new((0..POOL).map(|number| (stream(number), event(number))).collect());
    let time = scale.append_time;
    let mut rows = Vec::new();
    for (size, aim) in [(1, None), (10, None), (100, Some(0.45)), (500, None)] {
        let measured = best(scale.rounds, || {
            (
                in_scratch(|directory| log_batches(directory, runtime, (&pool, size, time))),
                in_scratch(|directory| plain_batches(directory, (&pool, size, time))),
            )
        });
        rows.push(Row { what: format!("append, {size} events a call"), measured, unit: "events/s", aim });
    }
    let measured = best(scale.rounds, || {
        (
            in_scratch(|directory| log_clients(directory, runtime, (&pool, time))),
            in_scratch(|directory| plain_clients(directory, runtime, (&pool, time))),
        )
    });
    let what = format!("append, {CLIENTS} clients, 1 event each");
    rows.push(Row { what, measured, unit: "events/s", aim: Some(0.75) });
    rows
}

/// The best of the log and the best of its ceiling, measured in turn.
fn best(rounds: usize, mut measure: impl FnMut() -> (f64, f64)) -> (f64, Option<f64>) {
    let measured: Vec<_> = (0..rounds).map(|_| measure()).collect();
    let log = measured.iter().map(|(log, _)| *log).fold(0.0, f64::max);
    let ceiling = measured.iter().map(|(_, ceiling)| *ceiling).fold(0.0, f64::max);
    (log, Some(ceiling))
}

fn in_scratch(measure: impl FnOnce(&Path) -> f64) -> f64 {
    let directory = scratch("append");
    let result = measure(&directory);
    std::fs::remove_dir_all(directory).unwrap();
    result
}

fn rate(events: usize, began: Instant) -> f64 {
    events as f64 / began.elapsed().as_secs_f64()
}

/// Another id for the event of the pool, as a new event has.
fn renewed(event: &ProposedEvent, number: usize) -> ProposedEvent {
    ProposedEvent { id: uuid::Uuid::from_u64_pair(7, number as u64 + 1), ..event.clone() }
}

fn log_batches(directory: &Path, runtime: &Runtime, (pool, size, time): (&Pool, usize, Duration)) -> f64 {
    let (log, _) = open(directory);
    runtime.block_on(async {
        let began = Instant::now();
        let mut done = 0;
        while began.elapsed() < time {
            let events = (done..done + size).map(|number| renewed(&pool[number % POOL].1, number)).collect();
            let stream = pool[done / size % POOL].0.clone();
            log.append(AppendRequest { stream, expected: ExpectedRevision::Any, events }).await.unwrap();
            done += size;
        }
        let result = rate(done, began);
        log.close().await;
        result
    })
}

fn plain_batches(directory: &Path, (pool, size, time): (&Pool, usize, Duration)) -> f64 {
    let mut file = File::create(directory.join("log")).unwrap();
    let mut bytes = Vec::new();
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < time {
        bytes.clear();
        for number in done..done + size {
            let (stream, event) = &pool[number % POOL];
            plain(&renewed(event, number), stream, &mut bytes);
        }
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        done += size;
    }
    rate(done, began)
}

fn log_clients(directory: &Path, runtime: &Runtime, (pool, time): (&Pool, Duration)) -> f64 {
    let (log, _) = open(directory);
    runtime.block_on(async {
        let began = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let clients = (0..CLIENTS).map(|_| {
            let (log, pool, next) = (log.clone(), Arc::clone(pool), Arc::clone(&next));
            tokio::spawn(async move {
                while began.elapsed() < time {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (stream, event) = &pool[number % POOL];
                    let events = vec![renewed(event, number)];
                    let expected = ExpectedRevision::Any;
                    log.append(AppendRequest { stream: stream.clone(), expected, events }).await.unwrap();
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        let result = rate(next.load(Ordering::Relaxed), began);
        log.close().await;
        result
    })
}

type Waiting = (Vec<u8>, oneshot::Sender<()>);

/// The same clients in front of one thread that writes what waits and syncs once: a group commit and nothing else.
fn plain_clients(directory: &Path, runtime: &Runtime, (pool, time): (&Pool, Duration)) -> f64 {
    let (sender, receiver) = mpsc::channel::<Waiting>(CLIENTS);
    let file = File::create(directory.join("log")).unwrap();
    let writer = std::thread::spawn(move || write_groups(file, receiver));
    let result = runtime.block_on(async {
        let began = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let clients = (0..CLIENTS).map(|_| {
            let (sender, pool, next) = (sender.clone(), Arc::clone(pool), Arc::clone(&next));
            tokio::spawn(async move {
                while began.elapsed() < time {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (stream, event) = &pool[number % POOL];
                    let mut bytes = Vec::new();
                    plain(&renewed(event, number), stream, &mut bytes);
                    let (answer, answered) = oneshot::channel();
                    sender.send((bytes, answer)).await.unwrap();
                    answered.await.unwrap();
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        rate(next.load(Ordering::Relaxed), began)
    });
    drop(sender);
    writer.join().unwrap();
    result
}

fn write_groups(mut file: File, mut receiver: mpsc::Receiver<Waiting>) {
    let mut bytes = Vec::new();
    while let Some((first, answer)) = receiver.blocking_recv() {
        bytes.clear();
        bytes.extend_from_slice(&first);
        let mut answers = vec![answer];
        while let Ok((more, answer)) = receiver.try_recv() {
            bytes.extend_from_slice(&more);
            answers.push(answer);
        }
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        for answer in answers {
            answer.send(()).unwrap();
        }
    }
}
