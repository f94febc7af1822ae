//! Crashes of either side under load: every record is there once, whatever broke.

use std::sync::Arc;
use std::time::Duration;

use super::lane::{Driven, LIMIT, PLAIN, PLAIN_TABLE, assert_exactly, target};
use super::server::Server;

/// Deterministic, so that a failure can be told again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A number from the environment, for longer runs than the ordinary one.
fn size(name: &str, ordinary: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(ordinary)
}

/// `FOREBAY_POSTGRES_SHUTDOWNS=100` for the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn immediate_shutdowns_of_the_server_lose_and_repeat_nothing() {
    let Some(server) = Server::start().await.map(Arc::new) else { return };
    server.run(PLAIN_TABLE).await;
    let target = target(&server, PLAIN);
    let mut lane = Driven::new(&*target);
    let mut dice = Dice(0x5eed_0001);
    let shutdowns = size("FOREBAY_POSTGRES_SHUTDOWNS", 10);
    for round in 0..shutdowns {
        let wait = Duration::from_millis(dice.below(150));
        let stopping = Arc::clone(&server);
        let mut stopped = tokio::spawn(async move {
            // tidy: sleep allowed: the moment of the stop is what is tried.
            tokio::time::sleep(wait).await;
            tokio::task::block_in_place(|| stopping.stop_immediately());
        });
        while !stopped.is_finished() {
            lane.step(1 + round % 40, LIMIT).await;
        }
        (&mut stopped).await.unwrap();
        server.spawn();
        server.ready().await;
        match dice.below(3) {
            0 => while !lane.restart().await {},
            1 => lane.write_checkpoint(),
            _ => {}
        }
    }
    while !lane.step(20, LIMIT).await.is_complete() {}
    assert_exactly(&server, lane.next()).await;
    println!("{shutdowns} immediate shutdowns, {} records, {} sent again", lane.next(), lane.repeats_sent);
}

/// `FOREBAY_POSTGRES_CUTS=3000` for the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_attempts_killed_connections_and_restarts_lose_and_repeat_nothing() {
    let Some(server) = Server::start().await else { return };
    server.run(PLAIN_TABLE).await;
    let target = target(&server, PLAIN);
    let killer = server.client().await;
    let mut lane = Driven::new(&*target);
    let mut dice = Dice(0x5eed_0002);
    let cuts = size("FOREBAY_POSTGRES_CUTS", 300);
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'forebay/%'";
    for _ in 0..cuts {
        let (count, cut) = (1 + dice.below(30), Duration::from_micros(dice.below(6_000)));
        match dice.below(4) {
            // The attempt is dropped at some await.
            0 => drop(lane.step(count, cut).await),
            // The connection is killed by the server at some moment of it.
            1 => {
                let killed = async {
                    // tidy: sleep allowed: the moment of the kill is what is tried.
                    tokio::time::sleep(cut).await;
                    killer.execute(kill, &[]).await.unwrap();
                };
                let _ = tokio::join!(lane.step(count, LIMIT), killed);
            }
            // The process dies within the attempt and goes on from its checkpoint.
            2 => {
                drop(lane.step(count, cut).await);
                while !lane.restart().await {}
            }
            _ => {
                while !lane.step(count, LIMIT).await.is_complete() {}
                lane.write_checkpoint();
            }
        }
    }
    while !lane.step(20, LIMIT).await.is_complete() {}
    assert_exactly(&server, lane.next()).await;
    println!("{cuts} cuts, {} records, {} sent again", lane.next(), lane.repeats_sent);
}

/// `FOREBAY_POSTGRES_LOAD=2000` batches of 500 for a measurement.
#[tokio::test]
async fn a_load_arrives_whole() {
    let Some(server) = Server::start().await else { return };
    let batches = size("FOREBAY_POSTGRES_LOAD", 10);
    for (mode, settings) in [("append", &[("table", "deliveries"), ("createTable", "true")][..]), ("statement", PLAIN)]
    {
        server.run("DROP TABLE IF EXISTS deliveries, forebay_positions").await;
        if mode == "statement" {
            server.run(PLAIN_TABLE).await;
        }
        let target = target(&server, settings);
        let mut lane = Driven::new(&*target);
        let begun = std::time::Instant::now();
        for _ in 0..batches {
            assert!(lane.step(500, LIMIT).await.is_complete());
        }
        println!("{mode}: {:.0} records/s", (batches * 500) as f64 / begun.elapsed().as_secs_f64());
        assert_exactly(&server, batches * 500).await;
    }
}
