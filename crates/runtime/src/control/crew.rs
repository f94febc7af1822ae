//! Owns who supervises a connector: one supervisor for the whole, or one for each of its shards, as many as it has now.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::error;

use super::activate::supervise_unit;
use super::registry::{Node, Slot};
use crate::management::Entity;
use crate::unit::Unit;

/// Follows one connector until the node goes down.
pub(crate) async fn supervise(node: Arc<Node>, slot: Arc<Slot>) {
    let mut seen = slot.follow();
    loop {
        let units = seen.borrow_and_update().units();
        match units.as_slice() {
            [whole] if whole.shard.is_none() => {
                supervise_unit(Arc::clone(&node), Arc::clone(&slot), whole.clone()).await;
            }
            _ => supervise_shards(&node, &slot, &mut seen).await,
        }
        let has_more = units.first().is_none_or(|unit| !slot.entity().has_unit(unit));
        if node.closing.is_cancelled() || !has_more {
            return;
        }
    }
}

/// Follows all shards of the present generation until the last of them has ended. One alone begins: it closes the earlier
/// generation; the others follow when that is done.
async fn supervise_shards(node: &Arc<Node>, slot: &Arc<Slot>, seen: &mut watch::Receiver<Arc<Entity>>) {
    let mut crew = JoinSet::new();
    let mut begun: Vec<Unit> = Vec::new();
    loop {
        let units = seen.borrow_and_update().units();
        let is_same = begun.first().is_none_or(|first| units.iter().any(|unit| unit.name == first.name));
        for unit in units.into_iter().skip(begun.len()).filter(|_| is_same) {
            crew.spawn(supervise_unit(Arc::clone(node), Arc::clone(slot), unit.clone()));
            begun.push(unit);
        }
        tokio::select! {
            biased;
            ended = crew.join_next() => match ended {
                Some(Err(error)) if error.is_panic() => {
                    error!(connector_id = &*slot.entity().id, %error, "the supervisor of a shard crashed");
                }
                Some(_) => {}
                None => break,
            },
            changed = seen.changed() => if changed.is_err() { break },
        }
    }
    slot.forget_shards();
}
