//! Owns what is done to the world while a run lasts: load, cuts, crashes of the store, outages, jumps of clocks.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{ExpectedRevision, ProposedEvent, StreamName};
use forebay_store::AppendRequest;
use tokio::time::Instant;
use uuid::Uuid;

use crate::chance::Chance;
use crate::history::Fact;
use crate::scenario::WANTED;
use crate::world::World;

const HOUR_MS: i64 = 3_600_000;
/// The pause before an append that failed is made again.
const AGAIN: Duration = Duration::from_millis(50);

/// Appends the events of users, until all are durable.
pub(crate) async fn write_events(world: Arc<World>) {
    let (chance, scenario) = (Chance::of(world.scenario.seed, "writer"), world.scenario.clone());
    let mut left = scenario.events;
    while left > 0 {
        let burst = chance.between(1, scenario.burst_max).min(left);
        left -= burst;
        let start = if chance.hits(250) { "other-" } else { WANTED };
        let Ok(stream) = StreamName::new(&format!("{start}{}", chance.between(1, scenario.keys))) else { return };
        let event = |_| {
            let id = Uuid::from_u128(u128::from(chance.number()) << 64 | u128::from(chance.number()));
            ProposedEvent::json(id, "OrderPlaced", r#"{"simulated":true}"#)
        };
        let events = (0..burst).map(event).collect();
        let request = AppendRequest { stream, expected: ExpectedRevision::Any, events };
        while world.store.append(&request, chance.millis(0, 5)).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        tokio::time::sleep(chance.millis(0, scenario.pause_ms_max)).await;
    }
}

/// Makes trouble, one kind after the other, for as long as it is run.
pub(crate) async fn make_trouble(world: Arc<World>) {
    let (chance, scenario) = (Chance::of(world.scenario.seed, "trouble"), world.scenario.clone());
    loop {
        tokio::time::sleep(chance.millis(200, scenario.trouble_ms_max)).await;
        let Some(node) = chance.pick(&world.nodes) else { return };
        let length = if chance.hits(300) { chance.millis(1_000, 20_000) } else { chance.millis(20, 1_000) };
        let millis = u64::try_from(length.as_millis()).unwrap_or_default();
        let tell = |what| world.history.add(Fact::Fault { what, node: node.index, millis });
        match chance.between(0, 4) {
            0 => {
                tell("the way to the store is cut");
                node.cut(Instant::now() + length);
            }
            1 if scenario.freezes => {
                tell("the node stands still");
                node.freeze(true);
                tokio::time::sleep(length).await;
                node.freeze(false);
                tell("the node runs on");
            }
            2 => {
                tell("the store goes down");
                world.store.crash();
                tokio::time::sleep(length.min(Duration::from_secs(5))).await;
                world.store.recover();
                tell("the store is back");
            }
            3 => {
                tell("the target is down");
                world.receiver.go_down(Instant::now() + length);
            }
            _ => {
                tell("the wall clock jumps");
                let hours = i64::try_from(chance.between(0, 2)).unwrap_or_default() - 1;
                node.clock.jump(hours * HOUR_MS + i64::try_from(millis).unwrap_or_default());
            }
        }
    }
}
