//! Owns the lives of a node: it opens its connectors, runs, crashes or is closed, and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::Catalog;
use forebay_event::Clock;
use forebay_runtime::management::CreateConnector;
use forebay_runtime::metrics::Metrics;
use forebay_runtime::{ClusterConfig, Connectors, RuntimeConfig};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::chance::Chance;
use crate::history::{Fact, Life};
use crate::link::Link;
use crate::scenario::connector_id;
use crate::sinks::catalog;
use crate::world::{Node, World};

/// How often a node announces itself in the time of a lease, as a server does by default.
const HEARTBEATS_OF_A_LEASE: u32 = 3;
/// The pause before a node that did not come up is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// The connectors of a node, while it is up.
pub(crate) type Open = Arc<Mutex<Option<Connectors>>>;

/// Opens the connectors of a node for one life.
pub(crate) async fn open(world: &Arc<World>, node: &Arc<Node>, life: Life) -> Option<Connectors> {
    let link = Link { world: Arc::clone(world), node: Arc::clone(node), life };
    let catalog: Catalog = catalog(node.index);
    let clock = Arc::clone(&node.clock) as Arc<dyn Clock>;
    let config = RuntimeConfig {
        node: Uuid::from_u128(node.index as u128 + 1),
        stream_prefix: "$connectors".to_owned(),
        lease: Duration::from_millis(world.scenario.lease_ms),
        stop_limit: Duration::from_secs(3),
        connectors_max: 8,
        secret_key: [7; 32],
        cluster: world.scenario.variants.cluster.map(|_| ClusterConfig {
            name: format!("node-{}", node.index),
            address: None,
            labels: BTreeMap::new(),
            heartbeat: Duration::from_millis(world.scenario.lease_ms) / HEARTBEATS_OF_A_LEASE,
        }),
    };
    Connectors::open(Arc::new(link), catalog, clock, Metrics::default(), config).await.ok()
}

/// Makes the connectors and starts them: the only life that is not disturbed.
pub(crate) async fn set_up(world: &Arc<World>, connectors: &Connectors) -> Result<(), String> {
    for id in (0..world.scenario.connectors).map(connector_id) {
        let create = CreateConnector { name: None, settings: world.scenario.settings() };
        connectors.create(&id, create).await.map_err(|error| format!("set-up: {error}"))?;
        connectors.start(&id, None).await.map_err(|error| format!("set-up: {error}"))?;
    }
    Ok(())
}

/// One life after the other, until dropped. The first one may be open already.
pub(crate) async fn live(world: Arc<World>, node: Arc<Node>, open_now: Open) {
    let chance = Chance::of(world.scenario.seed, &format!("life {}", node.index));
    let mut crashes_left = world.scenario.crashes;
    loop {
        let is_up = open_now.lock().is_some();
        let life = if is_up { node.life() } else { begin(&world, &node, &chance, &mut crashes_left) };
        let crashed = node.crashed.notified();
        tokio::pin!(crashed);
        crashed.as_mut().enable();
        let up = async {
            if !is_up {
                let connectors = open(&world, &node, life).await;
                let is_open = connectors.is_some();
                *open_now.lock() = connectors;
                if !is_open {
                    return;
                }
            }
            node.open(true);
            if world.is_hostile() && chance.hits(300) {
                tokio::time::sleep(chance.millis(500, 20_000)).await;
                let connectors = open_now.lock().clone();
                if let Some(connectors) = connectors.filter(|_| world.is_hostile()) {
                    world.history.add(Fact::Closing { life });
                    node.open(false);
                    connectors.shutdown().await;
                    return;
                }
            }
            std::future::pending().await
        };
        let is_crash = tokio::select! {
            biased;
            () = &mut crashed => true,
            () = up => false,
        };
        // A crash leaves nothing behind; whatever a task of this life still does, its ways out are gone.
        node.end();
        *open_now.lock() = None;
        world.history.add(if is_crash { Fact::Crashed { life } } else { Fact::Closed { life } });
        tokio::time::sleep(if world.is_hostile() { chance.millis(10, 8_000) } else { AGAIN }).await;
    }
}

fn begin(world: &World, node: &Node, chance: &Chance, crashes_left: &mut u64) -> Life {
    let crashes = world.is_hostile() && *crashes_left > 0;
    *crashes_left = crashes_left.saturating_sub(u64::from(crashes));
    let life = node.begin(crashes.then(|| chance.between(1, world.scenario.steps_max)));
    world.history.add(Fact::Began { life, drift_ppm: world.scenario.drifts_ppm.get(node.index).copied().unwrap_or(0) });
    life
}
