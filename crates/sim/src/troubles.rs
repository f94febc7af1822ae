//! Owns what is done to the world while a run lasts: load, cuts, crashes of the store, outages, jumps of clocks.

use std::sync::Arc;
use std::time::Duration;

use forebay_event::{ExpectedRevision, ProposedEvent, StreamName};
use forebay_store::AppendRequest;
use tokio::time::Instant;
use uuid::Uuid;

use crate::chance::Chance;
use crate::history::Fact;
use crate::replayed::WRITTEN;
use crate::scenario::WANTED;
use crate::world::{Node, World};

const HOUR_MS: i64 = 3_600_000;
/// The pause before an append that failed is made again.
const AGAIN: Duration = Duration::from_millis(50);
/// The longest that the store is down at a time.
const STORE_DOWN_MAX: Duration = Duration::from_secs(5);

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
            ProposedEvent::json(id, "OrderPlaced", WRITTEN)
        };
        let events = (0..burst).map(event).collect();
        let request = AppendRequest { stream, expected: ExpectedRevision::Any, events };
        while world.store.append(&request, chance.millis(0, 5)).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        tokio::time::sleep(chance.millis(0, scenario.pause_ms_max)).await;
    }
}

/// What can be done to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Cut,
    Freeze,
    StoreDown,
    SyncFails,
    TargetDown,
    TargetCut,
    WallJump,
}

const ALL: [Trouble; 7] = [
    Trouble::Cut,
    Trouble::Freeze,
    Trouble::StoreDown,
    Trouble::SyncFails,
    Trouble::TargetDown,
    Trouble::TargetCut,
    Trouble::WallJump,
];
/// In a drill only nodes fail.
const DRILL: [Trouble; 5] = [Trouble::Cut, Trouble::Freeze, Trouble::TargetDown, Trouble::TargetCut, Trouble::WallJump];

/// Makes trouble, one kind after the other, for as long as it is run.
pub(crate) async fn make_trouble(world: Arc<World>) {
    let (chance, scenario) = (Chance::of(world.scenario.seed, "trouble"), world.scenario.clone());
    loop {
        tokio::time::sleep(chance.millis(200, scenario.trouble_ms_max)).await;
        let Some(node) = chance.pick(&world.nodes) else { return };
        let length = if chance.hits(300) { chance.millis(1_000, 20_000) } else { chance.millis(20, 1_000) };
        let kinds: &[Trouble] = if scenario.is_drill { &DRILL } else { &ALL };
        match chance.pick(kinds).copied() {
            Some(Trouble::Freeze) if !scenario.freezes => {}
            Some(Trouble::Cut) if !scenario.cuts => {}
            Some(trouble) => make(&world, node, (trouble, length), &chance).await,
            None => return,
        }
    }
}

async fn make(world: &Arc<World>, node: &Arc<Node>, (trouble, length): (Trouble, Duration), chance: &Chance) {
    let millis = u64::try_from(length.as_millis()).unwrap_or_default();
    let tell = |what| world.history.add(Fact::Fault { what, node: node.index, millis });
    match trouble {
        Trouble::Cut => {
            tell("the way to the store is cut");
            node.cut(Instant::now() + length);
            let node = Arc::clone(node);
            tokio::spawn(async move {
                tokio::time::sleep(length).await;
                node.tell();
            });
        }
        Trouble::Freeze => {
            let is_suspended = chance.hits(500);
            tell(if is_suspended { "the machine is suspended" } else { "the process is stopped" });
            node.freeze();
            tokio::time::sleep(length).await;
            node.thaw(is_suspended);
            tell("the node runs on");
        }
        Trouble::StoreDown => {
            tell("the store goes down");
            world.store.crash();
            tokio::time::sleep(length.min(STORE_DOWN_MAX)).await;
            world.store.recover();
            tell("the store is back");
        }
        Trouble::SyncFails => {
            tell("the next sync fails");
            world.store.fail_next_sync();
            tokio::time::sleep(length.min(STORE_DOWN_MAX)).await;
            world.store.recover();
            tell("the store is back");
        }
        Trouble::TargetDown => {
            tell("the target is down");
            world.receivers.iter().for_each(|receiver| receiver.go_down(Instant::now() + length));
        }
        Trouble::TargetCut => {
            tell("the way to the target is cut");
            node.cut_from_target(Instant::now() + length);
        }
        Trouble::WallJump => {
            tell("the wall clock jumps");
            let hours = i64::try_from(chance.between(0, 2)).unwrap_or_default() - 1;
            node.clock.jump(hours * HOUR_MS + i64::try_from(millis).unwrap_or_default());
        }
    }
}
