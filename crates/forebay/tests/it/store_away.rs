//! A store that is away for a while: nodes wait without work, say so, and go on where they were.
//!
//! `FOREBAY_STORE_AWAY_SECONDS` sets for how long (the full time is 600), `FOREBAY_LEASE_MS` the lease.

use std::time::{Duration, Instant};

use hyper::Method;
use tokio::task::JoinSet;

use crate::fleet::{Fleet, NODES};
use crate::http::{Http, eventually};
use crate::kill::number_from_environment;

const ARRIVE_LIMIT: Duration = Duration::from_secs(120);
/// A node that waits uses less than this part of one processor, in a debug build.
const BUSY_MAX: f64 = 0.15;
/// Ticks of `/proc/*/stat` in a second, on every Linux there is.
const TICKS: f64 = 100.0;

/// How the store goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It hangs: connections stay, and nothing answers.
    Stopped,
    /// It is gone: connections are refused.
    Killed,
}

/// The processor time that a process has used, in seconds.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name stands in brackets and may hold spaces.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |index: usize| f64::from(fields[index].parse::<u32>().unwrap());
    (ticks(11) + ticks(12)) / TICKS
}

/// Whether a node says that it cannot serve.
async fn says_so(http: Http) -> bool {
    let ready = http.try_send(Method::GET, "/health/ready", None);
    let detail = http.try_send(Method::GET, "/health", None);
    let (Ok((503, _)), Ok((503, detail))) = tokio::join!(ready, detail) else { return false };
    assert!(String::from_utf8_lossy(&detail).contains("\"unavailable\""), "{detail:?}");
    true
}

/// Whether every node does, asked at the same time.
async fn all_say_so(fleet: &Fleet) -> bool {
    let asked: JoinSet<_> = fleet.nodes.iter().map(|node| says_so(node.server.http.clone())).collect();
    asked.join_all().await.iter().all(|says_so| *says_so)
}

async fn away(how: Way) {
    let seconds = number_from_environment("FOREBAY_STORE_AWAY_SECONDS", 15);
    let lease = Duration::from_millis(number_from_environment("FOREBAY_LEASE_MS", 2000));
    let mut fleet = Fleet::start(lease).await;
    let flow = fleet.flow(Duration::from_secs(seconds + 60));
    fleet.some_arrived(100, ARRIVE_LIMIT).await;
    match how {
        Way::Stopped => fleet.store.signal("-STOP").await,
        Way::Killed => fleet.store.kill().await,
    }
    let began = Instant::now();
    let whole = Duration::from_secs(seconds);
    eventually("every node says that the store is away", whole, || all_say_so(&fleet)).await;
    let said = began.elapsed();
    let used = |fleet: &Fleet| fleet.nodes.iter().map(|node| processor_seconds(node.server.pid())).collect::<Vec<_>>();
    let (before, since) = (used(&fleet), Instant::now());
    // tidy: sleep allowed: how long the store is away is what the test is about.
    tokio::time::sleep(whole.saturating_sub(began.elapsed())).await;
    let after = used(&fleet);
    let busy: Vec<_> =
        after.iter().zip(&before).map(|(after, before)| (after - before) / since.elapsed().as_secs_f64()).collect();
    match how {
        Way::Stopped => {
            assert!(fleet.store.is_stopped(), "somebody else has continued the store");
            fleet.store.signal("-CONT").await;
        }
        Way::Killed => fleet.store.launch().await,
    }
    let back = Instant::now();
    for node in &fleet.nodes {
        node.server.is_ready().await;
    }
    let ready = back.elapsed();
    fleet.settle_since(back).await;
    println!(
        "{how:?} for {seconds} s: all {NODES} nodes said so after {said:?}, used {busy:.3?} of a processor while they \
         waited, were ready {ready:?} after it was back, and ran everything again after {:?}",
        back.elapsed()
    );
    assert!(busy.iter().all(|busy| *busy < BUSY_MAX), "{busy:?} of a processor while there is nothing to do");
    let lengths = flow.end().await;
    fleet.assert_all_arrived(&lengths, ARRIVE_LIMIT).await;
    fleet.history.catch_up().await;
    fleet.history.facts().assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_wait_for_a_store_that_hangs() {
    away(Way::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_wait_for_a_store_that_is_gone() {
    away(Way::Killed).await;
}
