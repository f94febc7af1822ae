//! Owns a run from its seed to its outcome: peace, war, peace again, and the judgement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_runtime::Connectors;
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::check::{Account, Checker, Counts};
use crate::history::{Fact, History};
use crate::life::{Open, live, open, set_up};
use crate::linear::{Verdict, judge};
use crate::operations::Register;
use crate::operators::Staff;
use crate::scenario::{Scenario, connector_id};
use crate::spread::Spread;
use crate::troubles::{make_trouble, write_events};
use crate::world::World;

/// After the last fault everything is delivered and covered by a checkpoint within this much simulated time.
const REST_LIMIT: Duration = Duration::from_secs(300);
/// A run that is not over after this much simulated time has come to a standstill.
const RUN_LIMIT: Duration = Duration::from_secs(3_600);
/// A node closes within this much simulated time, and answers a question.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);
/// A command that was given before the last fault is begun within this much simulated time.
const LAST_WORD: Duration = Duration::from_secs(5);
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
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output needs nothing from the machine");
    let outcome = runtime.block_on(drive(Scenario::of(seed)));
    drop(runtime);
    World::leave();
    outcome
}

async fn drive(scenario: Scenario) -> Outcome {
    let begun = Instant::now();
    let seed = scenario.seed;
    let checkers = (0..scenario.connectors).map(|_| Checker::new(scenario.terms())).collect();
    let spread = scenario.variants.cluster.map(|_| Spread::new(&scenario));
    let history = Arc::new(History::new(checkers, spread));
    let world = World::new(scenario, Arc::clone(&history));
    let complaint = match tokio::time::timeout(RUN_LIMIT, live_through(&world)).await {
        Ok(lived) => lived.err(),
        Err(_) => Some(format!("liveness: the run is not over after {} s", RUN_LIMIT.as_secs())),
    };
    let mut violations = history.violations();
    violations.extend(complaint);
    violations.extend(linearizability(&world));
    Outcome {
        seed,
        trace_hash: history.trace_hash(),
        facts: history.len(),
        simulated: begun.elapsed(),
        counts: counts(&history),
        violations,
        tail: history.tail(),
    }
}

fn counts(history: &History) -> Counts {
    let all = history.checkers(|checkers| checkers.iter().map(Checker::counts).fold(Counts::default(), Counts::plus));
    // What nodes do is told to the checker of every connector.
    let crashes = history.checker(0, |checker| checker.counts().crashes).unwrap_or_default();
    Counts { crashes, handed_over: history.spread(|spread| spread.handed_over()).unwrap_or_default(), ..all }
}

/// Judges what the nodes asked of leases and checkpoints, and were answered.
fn linearizability(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    for (connector, operations) in world.operations.iter().enumerate() {
        let (leases, checkpoints) = (operations.of(Register::Lease), operations.of(Register::Checkpoint));
        for (name, operations) in [("lease", &leases), ("checkpoint", &checkpoints)] {
            let name = format!("linearizability of the {name} of {}", connector_id(connector));
            match judge(operations) {
                Verdict::Linearizable => {}
                Verdict::Impossible(why) => wrong.push(format!("{name}: {why}")),
                Verdict::Undecided => wrong.push(format!("{name}: the search was given up")),
            }
        }
        world.history.checker(connector, |checker| checker.linearizable(leases.len(), checkpoints.len()));
    }
    wrong
}

async fn live_through(world: &Arc<World>) -> Result<(), String> {
    let doors: Vec<Open> = world.nodes.iter().map(|_| Arc::new(Mutex::new(None))).collect();
    let (Some(node), Some(door)) = (world.nodes.first(), doors.first()) else { return Ok(()) };
    let steps = Chance::of(world.scenario.seed, "first life").between(100, 600);
    let crashes_in = (world.scenario.crashes > 0).then_some(steps);
    // Several connectors take more steps to set up than a life may have.
    let is_one = world.scenario.connectors == 1;
    let life = node.begin(crashes_in.filter(|_| is_one));
    world.history.add(Fact::Began { life, drift_ppm: 0 });
    let connectors = open(world, node, life).await.ok_or("set-up: the node did not open its connectors")?;
    set_up(world, &connectors).await?;
    if !is_one {
        node.crash_in(crashes_in);
    }
    *door.lock() = Some(connectors);
    world.make_war();
    let mut tasks = JoinSet::new();
    let mut lives = JoinSet::new();
    for (node, door) in world.nodes.iter().zip(&doors) {
        lives.spawn(live(Arc::clone(world), Arc::clone(node), Arc::clone(door)));
    }
    tasks.spawn(make_trouble(Arc::clone(world)));
    let staff = Staff::new(world, &doors);
    for (staff, operator) in staff.iter().flat_map(|staff| (0..staff.count()).map(move |operator| (staff, operator))) {
        tasks.spawn(Arc::clone(staff).work(operator));
    }
    write_events(Arc::clone(world)).await;
    if let Some(staff) = &staff {
        // Replays of all that is parked go through the last faults, too.
        tasks.spawn(Arc::clone(staff).clear());
    }
    tokio::time::sleep(Chance::of(world.scenario.seed, "end of war").millis(0, WAR_AFTER_MS_MAX)).await;
    tasks.shutdown().await;
    world.make_peace();
    if let Some(staff) = &staff {
        tasks.spawn(Arc::clone(staff).clear());
    }
    rest(world, &doors, staff.is_some_and(|staff| staff.ends_empty())).await;
    tasks.shutdown().await;
    world.history.spread(Spread::ends);
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
async fn rest(world: &Arc<World>, doors: &[Open], ends_empty: bool) {
    let deadline = Instant::now() + REST_LIMIT;
    if world.scenario.variants.operators.is_some() {
        // What an operator asked for last is begun by then.
        tokio::time::sleep(LAST_WORD).await;
    }
    let is_done = || world.history.checkers(|checkers| checkers.iter().all(|checker| is_at_rest(checker, ends_empty)));
    let is_spread = || world.history.spread(|spread| spread.is_settled(world.history.at_ms())).unwrap_or(true);
    while !(is_done() && is_spread()) && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    world.history.checkers(|checkers| {
        for checker in checkers {
            let (missing, covered) = checker.outstanding();
            checker.came_to_rest(missing.is_empty() && covered);
            checker.judge_parked();
        }
    });
    world.history.spread(|spread| spread.came_to_rest(world.history.at_ms()));
    for connector in 0..world.scenario.connectors {
        compare(world, doors, connector).await;
    }
}

/// Whether all records of a connector are settled and covered, and no replay goes on.
fn is_at_rest(checker: &Checker, ends_empty: bool) -> bool {
    let (missing, covered) = checker.outstanding();
    let replays = checker.replayed();
    missing.is_empty() && covered && replays.replaying().is_empty() && (!ends_empty || replays.standing().is_empty())
}

/// Compares what nodes say of a connector with what was seen.
async fn compare(world: &Arc<World>, doors: &[Open], connector: usize) {
    let id = connector_id(connector);
    for (node, door) in world.nodes.iter().zip(doors) {
        let (life, connectors) = (node.life(), door.lock().clone());
        let Some(connectors) = connectors else { continue };
        if world.scenario.variants.operators.is_some() {
            compare_parked(world, &connectors, (node.index, connector)).await;
        }
        let asked = tokio::time::timeout(CLOSE_LIMIT, connectors.get(&id)).await;
        let Ok(Ok(view)) = asked else { continue };
        if let Some(progress) = view.progress.filter(|progress| progress.read > 0) {
            let account = Account {
                read: progress.read,
                delivered: progress.delivered,
                skipped: progress.skipped,
                parked: progress.parked,
            };
            world.history.checker(connector, |checker| checker.accounts(life, account));
        }
    }
}

/// Compares what a node shows as parked. One that was cut off may need a moment to learn that it has lost a connector.
async fn compare_parked(world: &Arc<World>, connectors: &Connectors, (node, connector): (usize, usize)) {
    let id = connector_id(connector);
    let deadline = Instant::now() + Duration::from_millis(2 * world.scenario.lease_ms) + CLOSE_LIMIT;
    loop {
        let shown = tokio::time::timeout(CLOSE_LIMIT, connectors.parked_keys(&id)).await;
        let shown = shown.ok().and_then(Result::ok).map(|(_, keys)| keys).unwrap_or_default();
        let shown: BTreeMap<_, _> = shown.into_iter().map(|key| (key.key, key.records)).collect();
        let wrong = world.history.checker(connector, |checker| checker.replayed().shown(node, &shown)).flatten();
        let Some(wrong) = wrong else { return };
        if Instant::now() >= deadline {
            world.history.checker(connector, |checker| checker.complain(wrong));
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
