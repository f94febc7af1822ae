//! Owns how a generation of shards takes over from the one before: the first of its shards closes all of the earlier
//! ones, each under its lease, and only then says that the generation is open.

use std::sync::Arc;

use forebay_event::ExpectedRevision;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::activate::{Ended, RETRY_PAUSE, Supervisor};
use super::lease::{self, Watch};
use super::registry::Node;
use super::runner::Prepared;
use crate::management::{Activation, ErrorDetails, Facts, Happening, STREAM_EVENTS_MAX, report};
use crate::pipeline::{CloseOrder, HandOver, HandOverError, OpenOrder, OpenedShards, ShardPart, is_closed};
use crate::unit::{Generation, Shard, Unit};

/// Why a generation was not opened.
enum NotOpened {
    /// Try again after a pause.
    Yet(String),
    /// A person must act.
    Ever(String),
}

impl Supervisor {
    /// Makes a pipeline one shard of its generation, which is opened first if it is not open yet.
    pub(super) async fn as_shard(
        &self,
        mut prepared: Box<dyn Prepared>,
        (shard, activation): (Shard, &Arc<Activation>),
        lost: &CancellationToken,
    ) -> Result<Box<dyn Prepared>, Ended> {
        let not_here = self.not_here(activation.revision);
        tokio::select! {
            biased;
            () = lost.cancelled() => return Err(Ended::Fenced),
            () = not_here => return Err(Ended::Stopped),
            opened = self.open(prepared.as_ref(), (shard, activation)) => opened?,
        }
        let entity = self.slot.entity();
        let sharding = entity.live().map(|facts| &facts.sharding).filter(|sharding| sharding.is_open());
        let Some(sharding) = sharding.filter(|sharding| sharding.generation == shard.generation) else {
            return Err(Ended::Stopped);
        };
        let folder = self.node.folder(&entity.id);
        prepared.be_shard(ShardPart { shard, folder, earlier: sharding.earlier.clone() });
        Ok(prepared)
    }

    /// Opens the generation unless it is open; tries again until it is.
    async fn open(&self, prepared: &dyn Prepared, (shard, activation): (Shard, &Arc<Activation>)) -> Result<(), Ended> {
        loop {
            let entity = self.slot.entity();
            let Some(facts) = entity.live() else { return Err(Ended::Stopped) };
            if facts.sharding.is_open() || facts.sharding.generation != shard.generation {
                return Ok(());
            }
            match self.try_open(prepared, (shard, activation), facts).await {
                Ok(()) => {}
                Err(NotOpened::Ever(message)) => {
                    return Err(Ended::Failed(ErrorDetails { code: "shards".to_owned(), message }));
                }
                Err(NotOpened::Yet(reason)) => {
                    warn!(connector_id = &*self.unit.name, reason, "the shards cannot begin yet");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn try_open(
        &self,
        prepared: &dyn Prepared,
        (shard, activation): (Shard, &Arc<Activation>),
        facts: &Facts,
    ) -> Result<(), NotOpened> {
        let node = &self.node;
        let connector_id = Arc::clone(&self.slot.entity().id);
        let folder = node.folder(&connector_id);
        let site = HandOver { store: Arc::clone(&node.store), clock: Arc::clone(&node.clock), folder };
        let sharding = &facts.sharding;
        if let Some(last) = sharding.earlier.last() {
            self.close_all(prepared, &site, last).await?;
        }
        for unit in (0..shard.count).map(|index| Unit::of(&connector_id, Shard { index, ..shard })) {
            bound_streams(node, &unit.name).await?;
        }
        let order = OpenOrder {
            shard,
            start_from: activation.start_from,
            begins_anew: sharding.begins_anew,
            earlier: &sharding.earlier,
        };
        let OpenedShards { since, horizon } = prepared.open_shards(&site, order).await?;
        let opened = report(node, &self.slot, |entity| {
            let facts = entity.live()?;
            entity.wanted().filter(|wanted| wanted.revision == activation.revision)?;
            let is_due = facts.sharding.generation == shard.generation && !facts.sharding.is_open();
            is_due.then_some(Happening::ShardsOpened { generation: shard.generation, since, horizon })
        });
        opened.await.map_err(|error| NotOpened::Yet(error.to_string()))
    }

    /// Closes all shards of the earlier generation, each under its lease as soon as nobody else has that.
    async fn close_all(
        &self,
        prepared: &dyn Prepared,
        site: &HandOver,
        generation: &Generation,
    ) -> Result<(), NotOpened> {
        let units = generation.units(&self.slot.entity().id);
        let mut open: Vec<_> = (0..).zip(units).map(|(index, unit)| (index, unit, Watch::default())).collect();
        let node = &self.node;
        loop {
            let mut held = Vec::new();
            // All are watched at once: the leases of a node that is gone run out together.
            for (index, unit, mut watch) in open {
                if !self.close(prepared, site, ((generation, index), &unit, &mut watch)).await? {
                    held.push((index, unit, watch));
                }
            }
            let now = node.clock.monotonic();
            let Some(pause) = held.iter().map(|(.., watch)| watch.pause(node.config.lease, now)).min() else {
                return Ok(());
            };
            tokio::time::sleep(pause).await;
            open = held;
        }
    }

    /// Closes one shard of the earlier generation; false while its lease is not to be had.
    async fn close(
        &self,
        prepared: &dyn Prepared,
        site: &HandOver,
        ((generation, index), unit, watch): ((&Generation, u32), &Unit, &mut Watch),
    ) -> Result<bool, NotOpened> {
        if is_closed(site, generation.number, index).await.map_err(HandOverError::from)? {
            return Ok(true);
        }
        let lost = CancellationToken::new();
        let lease = match lease::take(&self.node, &unit.name, watch, lost.clone()).await {
            Ok(lease) => lease,
            Err(error) => {
                debug!(connector_id = &*unit.name, %error, "the lease of an earlier shard is not to be had yet");
                return Ok(false);
            }
        };
        let order = CloseOrder { generation, index, epoch: lease.epoch };
        let closed = tokio::select! {
            biased;
            () = lost.cancelled() => Err(HandOverError::Fenced),
            closed = prepared.close_shard(site, order) => closed,
        };
        lease.release().await;
        closed?;
        info!(connector_id = &*unit.name, "closed, a later generation takes over");
        Ok(true)
    }
}

/// Bounds the streams of a shard that are written again and again.
async fn bound_streams(node: &Node, unit: &str) -> Result<(), HandOverError> {
    for stream in [node.checkpoint_stream(unit), node.lifecycle_stream(unit), node.lease_stream(unit)] {
        let (metadata, _) = node.store.metadata(&stream).await?;
        if metadata.max_count() == Some(STREAM_EVENTS_MAX) {
            continue;
        }
        let metadata = metadata.with_max_count(STREAM_EVENTS_MAX);
        node.store.set_metadata(&stream, ExpectedRevision::Any, metadata).await?;
    }
    Ok(())
}

impl From<HandOverError> for NotOpened {
    fn from(error: HandOverError) -> Self {
        if error.is_final() { Self::Ever(error.to_string()) } else { Self::Yet(error.to_string()) }
    }
}
