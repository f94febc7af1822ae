//! Owns what a pipeline is told that runs one shard, and which records are its own.

use std::sync::Arc;

use forebay_event::Position;

use super::closing::{HandOver, HandOverError};
use super::earlier::Earlier;
use super::layout::place;
use crate::pipeline::key::Key;
use crate::pipeline::view::EventView;
use crate::pipeline::{Plan, Surroundings};
use crate::unit::{Generation, Shard};

/// Which shard a pipeline runs, and what went before it.
#[derive(Clone, Debug)]
pub(crate) struct ShardPart {
    pub(crate) shard: Shard,
    /// Where the connector's streams are.
    pub(crate) folder: String,
    /// Earlier generations whose settled records still count.
    pub(crate) earlier: Vec<Generation>,
}

/// Which records are a pipeline's own: all of them, or those of one shard that no earlier one settled.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Share {
    shard: Option<Shard>,
    earlier: Earlier,
}

impl Plan {
    /// Makes it one shard of its connector: it takes its share of the records, and of what may be sent per second.
    pub(crate) fn as_shard(&mut self, part: ShardPart) {
        let share = f64::from(part.shard.count.max(1));
        let rate = &mut self.settings.rate_limit;
        rate.events_per_second = rate.events_per_second.map(|all| all / share);
        rate.bytes_per_second = rate.bytes_per_second.map(|all| all / share);
        self.part = Some(Arc::new(part));
    }

    /// Which records are its own, when it begins behind a mark.
    pub(in crate::pipeline) async fn share(
        &self,
        surroundings: &Surroundings,
        mark: Option<Position>,
    ) -> Result<Share, HandOverError> {
        let Some(part) = &self.part else { return Ok(Share::default()) };
        let site = HandOver {
            store: Arc::clone(&surroundings.store),
            clock: Arc::clone(&surroundings.clock),
            folder: part.folder.clone(),
        };
        let earlier = Earlier::read(self, &site, (&part.earlier, mark)).await?;
        Ok(Share { shard: Some(part.shard), earlier })
    }
}

impl Share {
    /// Whether others take some of the records.
    pub(in crate::pipeline) const fn is_part(&self) -> bool {
        self.shard.is_some()
    }

    /// Whether records of a key are its own.
    pub(in crate::pipeline) fn takes(&self, key: Key) -> bool {
        self.shard.is_none_or(|shard| place(key, shard.count) == shard.index)
    }

    /// Whether an earlier generation settled an event.
    pub(in crate::pipeline) fn is_settled(&self, view: &mut EventView<'_>) -> bool {
        self.shard.is_some() && self.earlier.settled(view)
    }
}
