//! Five hundred seeds, and the proof that a seed says everything.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_sim::{Outcome, run};

/// Runs seeds on all processors.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, outcomes) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn five_hundred_seeds_keep_every_promise() {
    let outcomes = run_all(1..501);
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).collect();
    for Outcome { seed, violations, tail, .. } in &failed {
        println!("{}\nseed {seed}: {violations:#?}\nreplay: cargo xtask sim --seed {seed}", tail.join("\n"));
    }
    assert!(failed.is_empty(), "{} of {} seeds failed", failed.len(), outcomes.len());
    // A simulation in which nothing goes wrong proves nothing.
    let sum = |what: fn(&Outcome) -> u64| outcomes.iter().map(what).sum::<u64>();
    assert!(sum(|outcome| outcome.counts.crashes) > 200);
    assert!(sum(|outcome| outcome.counts.repeats) > 1_000);
    assert!(sum(|outcome| outcome.counts.parked) > 500);
    assert!(sum(|outcome| outcome.counts.left_out) > 50);
    assert!(sum(|outcome| outcome.counts.refused) > 20);
    assert!(sum(|outcome| outcome.counts.take_overs) > 200);
    assert!(outcomes.iter().any(|outcome| outcome.counts.take_over_permille_max > 1_000));
    // Every third seed adds operators, or nodes that know of each other.
    assert!(sum(|outcome| outcome.counts.commands) > 400);
    assert!(sum(|outcome| outcome.counts.replayed) > 1_000);
    assert!(sum(|outcome| outcome.counts.dropped) > 100);
    assert!(sum(|outcome| outcome.counts.edited) > 20);
    assert!(sum(|outcome| outcome.counts.handed_over) > 20);
    // Every history of a lease and of a checkpoint was found linearizable, or its seed had failed.
    assert!(sum(|outcome| outcome.counts.lease_operations) > 20_000);
    assert!(sum(|outcome| outcome.counts.checkpoint_operations) > 5_000);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hashes = |outcomes: Vec<Outcome>| {
        let mut hashes: Vec<_> = outcomes.iter().map(|outcome| (outcome.seed, outcome.trace_hash)).collect();
        hashes.sort_unstable();
        hashes
    };
    let once = hashes(run_all(1_000..1_060));
    assert_eq!(once, hashes(run_all(1_000..1_060)));
    let mut distinct: Vec<_> = once.iter().map(|(_, hash)| hash).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), once.len(), "every seed tells another story");
}
