//! Owns the command: many seeds on all processors with their sum, or one seed with its trace.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool talks to the terminal it was started in")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Counts, Outcome, run};

/// So many failing seeds are told unless asked otherwise, then the rest is left undone.
const FAILURES_MAX: usize = 5;
/// A line of progress after so many seeds.
const PROGRESS_EVERY: u64 = 1_000;

struct Order {
    seeds: u64,
    from: u64,
    /// Every so many-th seed is run.
    step: u64,
    threads: usize,
    failures_max: usize,
    only: Option<u64>,
}

/// Does what the arguments say; fails when a seed does.
pub fn command(arguments: &[String]) -> ExitCode {
    let Some(order) = read(arguments) else {
        eprintln!("usage: forebay-sim [--seeds N] [--from S] [--step T] [--threads T] [--failures F] | --seed X");
        return ExitCode::FAILURE;
    };
    if let Some(seed) = order.only {
        let outcome = run(seed);
        tell(&outcome);
        return if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    run_many(&order)
}

fn read(arguments: &[String]) -> Option<Order> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut order = Order { seeds: 500, from: 1, step: 1, threads, failures_max: FAILURES_MAX, only: None };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let number = rest.next()?.parse().ok()?;
        match name.as_str() {
            "--seeds" => order.seeds = number,
            "--from" => order.from = number,
            "--step" => order.step = number.max(1),
            "--threads" => order.threads = usize::try_from(number).ok()?.max(1),
            "--failures" => order.failures_max = usize::try_from(number).ok()?.max(1),
            "--seed" => order.only = Some(number),
            _ => return None,
        }
    }
    Some(order)
}

fn run_many(order: &Order) -> ExitCode {
    let begun = std::time::Instant::now();
    let (next, done) = (AtomicU64::new(order.from), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let (failures, total) = (Mutex::new(Vec::new()), Mutex::new(Counts::default()));
    let end = order.from.saturating_add(order.seeds.saturating_mul(order.step));
    let work = || {
        loop {
            let seed = next.fetch_add(order.step, Ordering::Relaxed);
            if seed >= end || is_over.load(Ordering::Relaxed) {
                return;
            }
            let outcome = run(seed);
            if let Ok(mut total) = total.lock() {
                *total = total.plus(outcome.counts);
            }
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(PROGRESS_EVERY) {
                println!("{count} of {} seeds, {:.0} s", order.seeds, begun.elapsed().as_secs_f64());
            }
            if let Ok(mut failures) = failures.lock()
                && !outcome.violations.is_empty()
            {
                tell(&outcome);
                failures.push(seed);
                is_over.store(failures.len() >= order.failures_max, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..order.threads).for_each(|_| drop(scope.spawn(work))));
    let failures = failures.into_inner().unwrap_or_default();
    let total = total.into_inner().unwrap_or_default();
    let done = done.into_inner();
    println!("{done} seeds from {} in {:.1} s: {} failed", order.from, begun.elapsed().as_secs_f64(), failures.len());
    println!(
        "{} records, {} delivered, {} repeats, {} parked, {} left out, {} runs of the pipeline, {} crashes",
        total.records, total.applied, total.repeats, total.parked, total.left_out, total.runs, total.crashes
    );
    println!(
        "{} take-overs, the longest of a drill {:.2} leases, {} stale writes refused, a run repeats at most {}",
        total.take_overs,
        total.take_over_permille_max as f64 / 1000.0,
        total.refused,
        total.repeats_max
    );
    println!(
        "histories of {} operations on leases and {} on checkpoints are linearizable",
        total.lease_operations, total.checkpoint_operations
    );
    println!(
        "{} commands about parked records: {} replayed, {} dropped, {} edited; {} connectors handed over in order",
        total.commands, total.replayed, total.dropped, total.edited, total.handed_over
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(outcome: &Outcome) {
    let Outcome { seed, trace_hash, facts, simulated, counts, violations, tail } = outcome;
    let mut text = String::new();
    for line in tail {
        text.push_str(line);
        text.push('\n');
    }
    println!("{text}seed {seed}: {facts} facts, trace {trace_hash:016x}, {:.1} s simulated", simulated.as_secs_f64());
    println!("{counts:?}");
    for violation in violations {
        println!("VIOLATION {violation}");
    }
    if !violations.is_empty() {
        println!("replay: cargo xtask sim --seed {seed}");
    }
}
