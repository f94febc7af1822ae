//! Nodes in processes of their own over one store: killed, stopped in their tracks, cut off, their clocks turned, while
//! events flow. Never two writers in one epoch, nothing lost, order kept, and a take-over lasts less than two leases.
//!
//! `FOREBAY_FAILOVERS` sets how many (the full number is 200) and has take-overs judged by their time, `FOREBAY_LEASE_MS` sets
//! the lease, `FOREBAY_SEED` the moments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, NODES};
use crate::http::eventually;
use crate::kill::{Moments, number_from_environment};
use crate::namespace::Namespaces;

const ARRIVE_LIMIT: Duration = Duration::from_secs(120);
const BACK_LIMIT: Duration = Duration::from_secs(60);
/// How long a machine that builds and tests may stand still: only a run that is asked for judges how quick a take-over is.
const STALL_LIMIT: Duration = Duration::from_secs(20);
/// A clock that jumps is wrong by so many seconds.
const JUMP_SECONDS: i64 = 3600;

/// What befalls nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// kill -9.
    Killed,
    /// SIGSTOP for longer than the lease, then SIGCONT.
    Stopped,
    /// Cut off from the store for longer than the lease; what was sent comes late.
    CutOff,
    /// The same; what was sent never comes.
    CutOffForGood,
    /// Its network loses every packet for longer than the lease, whomever they go to; only in a network of its own.
    Unplugged,
    /// Its wall clock is an hour ahead or behind. It must change nothing.
    ClockJumped,
    /// kill -9 while another node joins.
    KilledWhileOneJoins,
    /// Two at once.
    TwoKilled,
}

const FAULTS: [Fault; 7] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::CutOff,
    Fault::ClockJumped,
    Fault::CutOffForGood,
    Fault::KilledWhileOneJoins,
    Fault::TwoKilled,
];

struct Ordeal {
    fleet: Fleet,
    moments: Moments,
    /// How long take-overs lasted, in hundredths of a lease.
    took: BTreeMap<Fault, Vec<u128>>,
    /// A take-over has to be quick.
    judges_time: bool,
    jumps: u64,
}

impl Ordeal {
    /// Any node.
    fn somebody(&mut self) -> usize {
        usize::try_from(self.moments.next_below(NODES as u64)).unwrap()
    }

    /// Lets a part of so many leases pass: faults shall meet renewals and announcements at any moment.
    async fn pass(&mut self, leases: u64) {
        let lease_ms = u64::try_from(self.fleet.lease.as_millis()).unwrap();
        let pause = Duration::from_millis(self.moments.next_below(lease_ms * leases));
        // tidy: sleep allowed: the moment of a fault is what the seed decides.
        tokio::time::sleep(pause).await;
    }

    async fn befall(&mut self, fault: Fault) {
        let victim = self.somebody();
        let other = (victim + 1) % NODES;
        if fault == Fault::KilledWhileOneJoins {
            let began = Instant::now();
            self.fleet.nodes[other].server.kill().await;
            self.taken_over(Fault::Killed, &[other], began).await;
        } else {
            self.fleet.settle().await;
        }
        self.pass(1).await;
        let began = Instant::now();
        match fault {
            Fault::Killed => {
                self.fleet.nodes[victim].server.kill().await;
                self.taken_over(fault, &[victim], began).await;
                self.pass(1).await;
            }
            Fault::Stopped => {
                self.fleet.nodes[victim].server.signal("-STOP").await;
                self.taken_over(fault, &[victim], began).await;
                self.pass(2).await;
                let server = &self.fleet.nodes[victim].server;
                assert!(server.is_stopped(), "somebody else has continued node-{victim}");
                server.signal("-CONT").await;
            }
            Fault::CutOff | Fault::CutOffForGood => {
                self.fleet.nodes[victim].way.cut();
                self.taken_over(fault, &[victim], began).await;
                self.pass(2).await;
                let way = &self.fleet.nodes[victim].way;
                if fault == Fault::CutOff { way.heal() } else { way.heal_for_new_connections() }
            }
            Fault::Unplugged => {
                let link = |fleet: &Fleet, up: bool| {
                    let network = &fleet.networks.as_ref().expect("the nodes have networks of their own").all[victim];
                    if up { network.bring_up() } else { network.take_down() }
                };
                link(&self.fleet, false);
                self.taken_over(fault, &[victim], began).await;
                self.pass(2).await;
                link(&self.fleet, true);
            }
            Fault::ClockJumped => self.jump(victim).await,
            Fault::KilledWhileOneJoins => {
                self.fleet.nodes[victim].server.kill().await;
                self.fleet.nodes[other].server.spawn();
                self.taken_over(fault, &[victim], began).await;
            }
            Fault::TwoKilled => {
                self.fleet.nodes[victim].server.kill().await;
                self.fleet.nodes[other].server.kill().await;
                self.taken_over(fault, &[victim, other], began).await;
            }
        }
        for node in &mut self.fleet.nodes {
            if !node.server.runs() {
                node.server.spawn();
            }
            node.server.is_ready().await;
        }
        self.fleet.history.facts().assert_sound();
    }

    /// Waits until others have what the victims had, and writes down how long that took.
    async fn taken_over(&mut self, fault: Fault, victims: &[usize], began: Instant) {
        let took = self.fleet.taken_over(victims, began).await;
        let (took_ms, lease_ms) = (took.as_millis(), self.fleet.lease.as_millis());
        println!("{fault:?} {victims:?}: taken over after {took_ms} ms");
        self.took.entry(fault).or_default().push(took_ms * 100 / lease_ms);
        let limit = self.fleet.lease * 2 + if self.judges_time { Duration::ZERO } else { STALL_LIMIT };
        assert!(took < limit, "{fault:?} {victims:?}: taken over after {took_ms} ms of {lease_ms}");
    }

    /// A node whose wall clock jumps keeps what it has, in the same epochs, over several renewals.
    async fn jump(&mut self, victim: usize) {
        const RENEWALS: usize = 4;
        let node = &self.fleet.nodes[victim];
        let Some(clock) = &node.clock else { return };
        self.fleet.settle_evenly().await;
        let held = self.fleet.history.facts().held_by(&node.id);
        let by = [-JUMP_SECONDS, JUMP_SECONDS][usize::try_from(self.moments.next_below(2)).unwrap()];
        let jumped = Instant::now();
        clock.jump_to(by);
        for (id, epoch) in &held {
            let renewals = || self.fleet.history.facts().renewed(id, (&node.id, *epoch), jumped);
            let what = format!("{id} is renewed by node-{victim} in epoch {epoch} after its clock jumped");
            eventually(&what, BACK_LIMIT, || async { renewals().len() >= RENEWALS }).await;
            let ahead = renewals()[RENEWALS - 1] / 1000;
            assert!((ahead - by).abs() < 60, "the clock of node-{victim} is {ahead} s ahead, and should be {by} s");
        }
        assert_eq!(self.fleet.history.facts().held_by(&node.id), held, "node-{victim} keeps what it has");
        println!("ClockJumped [{victim}]: {by} s, kept {held:?}");
        self.took.entry(Fault::ClockJumped).or_default();
        self.jumps += 1;
    }

    fn tell(&self) {
        println!("the clock jumped {} times", self.jumps);
        for (fault, took) in &self.took {
            let (count, longest) = (took.len(), took.iter().max().copied().unwrap_or(0));
            let mean = took.iter().sum::<u128>() / (count.max(1) as u128);
            println!("{fault:?}: {count} take-overs, mean {mean}, longest {longest} hundredths of a lease");
        }
        let facts = self.fleet.history.facts();
        let ((leases, checkpoints), epochs) = (facts.seen(), facts.epochs());
        println!(
            "{leases} leases in {epochs} epochs, checkpoints of {checkpoints} epochs: none stale, no epoch shared"
        );
    }
}

async fn run(networks: Option<Namespaces>, faults: &[Fault]) {
    let kinds = faults.len() as u64;
    let count = number_from_environment("FOREBAY_FAILOVERS", kinds);
    let judges_time = std::env::var_os("FOREBAY_FAILOVERS").is_some();
    let lease = Duration::from_millis(number_from_environment("FOREBAY_LEASE_MS", 3000));
    let seed = number_from_environment("FOREBAY_SEED", 20_260_103).max(1);
    println!("{count} failovers, lease {lease:?}, seed {seed}");
    let fleet = Fleet::start_in(networks, lease).await;
    let flow = fleet.flow(BACK_LIMIT);
    let mut ordeal = Ordeal { fleet, moments: Moments(seed), took: BTreeMap::new(), judges_time, jumps: 0 };
    for number in 0..count {
        // Each of them once, then as they come.
        let index = if number < kinds { number } else { ordeal.moments.next_below(kinds) };
        let fault = faults[usize::try_from(index).unwrap()];
        println!("{number}: {fault:?}");
        ordeal.befall(fault).await;
    }
    ordeal.fleet.settle().await;
    let lengths = flow.end().await;
    ordeal.fleet.assert_all_arrived(&lengths, ARRIVE_LIMIT).await;
    ordeal.fleet.history.catch_up().await;
    ordeal.fleet.history.facts().assert_sound();
    ordeal.tell();
}

#[tokio::test(flavor = "multi_thread")]
async fn failovers_lose_nothing_and_are_quick() {
    run(None, &FAULTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failovers_between_networks_lose_nothing_and_are_quick() {
    let Some(networks) = Namespaces::make(NODES) else { return };
    run(Some(networks), &[Fault::Unplugged, Fault::Killed, Fault::Stopped]).await;
}
