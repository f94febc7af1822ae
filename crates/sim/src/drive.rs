//! Owns a run from its seed to its outcome: peace, war, peace again, and the judgement.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::check::{Account, Checker, Counts};
use crate::history::{Fact, History, TAIL_MAX};
use crate::life::{Open, live, open, set_up};
use crate::linear::{Verdict, judge};
use crate::operations::Register;
use crate::scenario::{CONNECTOR, Scenario};
use crate::troubles::{make_trouble, write_events};
use crate::world::World;

/// After the last fault everything is delivered and covered by a checkpoint within this much simulated time.
const REST_LIMIT: Duration = Duration::from_secs(300);
/// A run that is not over after this much simulated time has come to a standstill.
const RUN_LIMIT: Duration = Duration::from_secs(3_600);
/// A node closes within this much simulated time, and answers a question.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);
/// The most simulated time that faults go on for after the last event was written.
const WAR_AFTER_MS_MAX: u64 = 30_000;

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The hash of everything that happened, in order, with its time.
    pub trace_hash: u64,
    /// How many facts the trace holds.
    pub facts: u64,
    /// How much time passed in the simulation.
    pub simulated: Duration,
    /// What happened how often.
    pub counts: Counts,
    /// What was wrong; empty when nothing was.
    pub violations: Vec<String>,
    /// The last facts up to the first violation, for people to read.
    pub tail: Vec<String>,
}

/// Runs a seed to its end.
pub fn run(seed: u64) -> Outcome {
    run_traced(seed, TAIL_MAX)
}

/// The same, with so many facts in the tail: with more than there are it is the trace of the whole run.
pub fn run_traced(seed: u64, tail_max: usize) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output needs nothing from the machine");
    let outcome = runtime.block_on(drive(Scenario::of(seed), tail_max.max(1)));
    drop(runtime);
    World::leave();
    outcome
}

async fn drive(scenario: Scenario, tail_max: usize) -> Outcome {
    let begun = Instant::now();
    let seed = scenario.seed;
    let history = Arc::new(History::new(Checker::new(scenario.terms()), tail_max));
    let world = World::new(scenario, Arc::clone(&history));
    let complaint = match tokio::time::timeout(RUN_LIMIT, live_through(&world)).await {
        Ok(lived) => lived.err(),
        Err(_) => Some(format!("liveness: the run is not over after {} s", RUN_LIMIT.as_secs())),
    };
    let mut violations = history.checker(|checker| checker.violations().to_vec());
    violations.extend(complaint);
    violations.extend(linearizability(&world));
    Outcome {
        seed,
        trace_hash: history.trace_hash(),
        facts: history.len(),
        simulated: begun.elapsed(),
        counts: history.checker(|checker| checker.counts()),
        violations,
        tail: history.tail(),
    }
}

/// Judges what the nodes asked of lease and checkpoint, and were answered.
fn linearizability(world: &World) -> Vec<String> {
    let (leases, checkpoints) = (world.operations.of(Register::Lease), world.operations.of(Register::Checkpoint));
    let mut wrong = Vec::new();
    for (name, operations) in [("lease", &leases), ("checkpoint", &checkpoints)] {
        match judge(operations) {
            Verdict::Linearizable => {}
            Verdict::Impossible(why) => wrong.push(format!("linearizability of the {name}: {why}")),
            Verdict::Undecided => wrong.push(format!("linearizability of the {name}: the search was given up")),
        }
    }
    world.history.checker(|checker| checker.linearizable(leases.len(), checkpoints.len()));
    wrong
}

async fn live_through(world: &Arc<World>) -> Result<(), String> {
    let doors: Vec<Open> = world.nodes.iter().map(|_| Arc::new(Mutex::new(None))).collect();
    let (Some(node), Some(door)) = (world.nodes.first(), doors.first()) else { return Ok(()) };
    let steps = Chance::of(world.scenario.seed, "first life").between(100, 600);
    let life = node.begin((world.scenario.crashes > 0).then_some(steps));
    world.history.add(Fact::Began { life, drift_ppm: 0 });
    let connectors = open(world, node, life).await.ok_or("set-up: the node did not open its connectors")?;
    set_up(world, &connectors).await?;
    *door.lock() = Some(connectors);
    world.make_war();
    let mut tasks = JoinSet::new();
    let mut lives = JoinSet::new();
    for (node, door) in world.nodes.iter().zip(&doors) {
        lives.spawn(live(Arc::clone(world), Arc::clone(node), Arc::clone(door)));
    }
    tasks.spawn(make_trouble(Arc::clone(world)));
    write_events(Arc::clone(world)).await;
    tokio::time::sleep(Chance::of(world.scenario.seed, "end of war").millis(0, WAR_AFTER_MS_MAX)).await;
    tasks.shutdown().await;
    world.make_peace();
    rest(world, &doors).await;
    let closed = close(world, &doors).await;
    lives.shutdown().await;
    closed
}

/// Closes all nodes; each must come to its end, unless its life was over already.
async fn close(world: &Arc<World>, doors: &[Open]) -> Result<(), String> {
    // Nobody is to take over any more.
    world.nodes.iter().for_each(|node| node.open(false));
    for (node, door) in world.nodes.iter().zip(doors) {
        let (life, connectors) = (node.life(), door.lock().clone());
        let Some(connectors) = connectors else { continue };
        let closed = tokio::time::timeout(CLOSE_LIMIT, connectors.shutdown()).await;
        if closed.is_err() && node.lives(life) {
            return Err(format!("liveness: node {} does not close within {} s", node.index, CLOSE_LIMIT.as_secs()));
        }
    }
    Ok(())
}

/// Waits until there is nothing left to do, and compares the accounts.
async fn rest(world: &Arc<World>, doors: &[Open]) {
    let deadline = Instant::now() + REST_LIMIT;
    let is_done = || {
        let (missing, covered) = world.history.checker(|checker| checker.outstanding());
        missing.is_empty() && covered
    };
    while !is_done() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    let in_time = is_done();
    world.history.checker(|checker| checker.came_to_rest(in_time));
    for (node, door) in world.nodes.iter().zip(doors) {
        let (life, connectors) = (node.life(), door.lock().clone());
        let Some(connectors) = connectors else { continue };
        let asked = tokio::time::timeout(CLOSE_LIMIT, connectors.get(CONNECTOR)).await;
        let Ok(Ok(view)) = asked else { continue };
        if let Some(progress) = view.progress.filter(|progress| progress.read > 0) {
            let account = Account {
                read: progress.read,
                delivered: progress.delivered,
                skipped: progress.skipped,
                parked: progress.parked,
            };
            world.history.checker(|checker| checker.accounts(life, account));
        }
    }
}
