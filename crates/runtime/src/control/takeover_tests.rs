//! Tests of how long a take-over lasts when more than one thing happens, in the runtime's paused time.

use std::time::Duration;

use tokio::time::Instant;

use super::cluster_tests::{benches, never_two, running, start_all, until_running};
use crate::management::Connectors;
use crate::management::testing::{Bench, LEASE, until};

/// So many connectors are shared.
const CONNECTORS: usize = 12;
/// The moments of a second fault are so many parts of a lease apart.
const MOMENTS: u32 = 4;

/// So many nodes that have their share of the connectors, and benches for more.
async fn sharing(nodes: usize, more: u8) -> (Vec<Bench>, Vec<Connectors>) {
    let benches = benches(u8::try_from(nodes).unwrap() + more);
    let mut open = Vec::new();
    for bench in &benches[..nodes] {
        open.push(bench.open().await);
    }
    until("all know each other", async || open.iter().all(|node| node.nodes().len() == nodes)).await;
    start_all(&open[0], CONNECTORS, &[]).await;
    let share = (CONNECTORS / nodes) as u64;
    let mut each = vec![share; nodes];
    each.resize(benches.len(), 0);
    until_running(&benches, &each).await;
    (benches, open)
}

/// Waits until all connectors run, on whatever nodes, and answers how long that took.
async fn until_all_run(benches: &[Bench], since: Instant) -> Duration {
    until("all run", async || running(benches).iter().sum::<u64>() == CONNECTORS as u64).await;
    never_two(benches);
    since.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_node_dies_while_another_joins() {
    let mut longest = Duration::ZERO;
    for moment in 0..=MOMENTS * 3 / 2 {
        let (benches, mut nodes) = sharing(3, 1).await;
        tokio::time::sleep(LEASE * moment / 7).await;
        drop(nodes.pop());
        benches[2].quiet().await;
        let died = Instant::now();
        tokio::time::sleep(LEASE * moment / MOMENTS).await;
        let joined = benches[3].open().await;
        let took = until_all_run(&benches, died).await;
        assert!(took < LEASE * 2, "joined {moment}/{MOMENTS} leases after the death: {took:?}");
        longest = longest.max(took);
        until_running(&benches, &[4, 4, 0, 4]).await;
        assert_eq!(joined.nodes().len(), 3);
        never_two(&benches);
    }
    println!("the longest take-over: {longest:?} of {LEASE:?}");
}

#[tokio::test(start_paused = true)]
async fn two_nodes_die_one_after_the_other() {
    for moment in 0..=MOMENTS * 3 / 2 {
        let (benches, mut nodes) = sharing(4, 0).await;
        tokio::time::sleep(LEASE * moment / 7).await;
        drop(nodes.pop());
        benches[3].quiet().await;
        tokio::time::sleep(LEASE * moment / MOMENTS).await;
        drop(nodes.pop());
        benches[2].quiet().await;
        let took = until_all_run(&benches, Instant::now()).await;
        assert!(took < LEASE * 2, "died {moment}/{MOMENTS} leases one after the other: {took:?}");
        until_running(&benches, &[6, 6, 0, 0]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_first_of_two_dead_nodes_had_does_not_wait_for_the_second() {
    for moment in 1..=MOMENTS * 3 / 2 {
        let (benches, mut nodes) = sharing(4, 0).await;
        drop(nodes.pop());
        benches[3].quiet().await;
        let died = Instant::now();
        tokio::time::sleep(LEASE * moment / MOMENTS).await;
        let theirs = running(&benches)[2];
        drop(nodes.pop());
        benches[2].quiet().await;
        let of_first = CONNECTORS as u64 - theirs;
        until("what the first had runs", async || running(&benches).iter().sum::<u64>() >= of_first).await;
        assert!(died.elapsed() < LEASE * 2, "the second died after {moment}/{MOMENTS} leases: {:?}", died.elapsed());
        never_two(&benches);
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_die_at_once_while_one_comes_back() {
    for moment in 0..=MOMENTS * 3 / 2 {
        let (benches, mut nodes) = sharing(3, 1).await;
        tokio::time::sleep(LEASE * moment / 5).await;
        nodes.truncate(1);
        benches[1].quiet().await;
        benches[2].quiet().await;
        let died = Instant::now();
        tokio::time::sleep(LEASE * moment / MOMENTS).await;
        let _joined = benches[3].open().await;
        let took = until_all_run(&benches, died).await;
        assert!(took < LEASE * 2, "joined {moment}/{MOMENTS} leases after the deaths: {took:?}");
        until_running(&benches, &[6, 0, 0, 6]).await;
        never_two(&benches);
    }
}
