//! Owns the beginning of a generation of shards: its first checkpoints, and the parked records that it inherits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use forebay_connector::Epoch;
use forebay_event::{ExpectedRevision, Position};

use super::closing::{Closing, HandOver, HandOverError};
use super::layout::place;
use crate::pipeline::Plan;
use crate::pipeline::checkpoint::{CHECKPOINT_TYPE, Checkpoint, last_event};
use crate::pipeline::parked::{MoveError, ParkingLot};
use crate::pipeline::tracker::{Mark, SettledRanges};
use crate::unit::{Generation, Shard};

/// Whoever opens a generation writes before any lease on its shards: every one of them fences it out.
const OPENING_EPOCH: Epoch = Epoch(0);

/// Which generation is to be opened.
pub(crate) struct OpenOrder<'a> {
    /// Any shard of it.
    pub(crate) shard: Shard,
    /// Where a user said to begin.
    pub(crate) start_from: Option<Position>,
    /// What earlier generations settled does not count.
    pub(crate) begins_anew: bool,
    /// Earlier generations, the oldest first; all of the last one is closed.
    pub(crate) earlier: &'a [Generation],
}

/// What is known once a generation is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenedShards {
    /// The first generation whose settled records still count; none when none do.
    pub(crate) since: Option<u32>,
    /// Nothing was settled above it by earlier generations.
    pub(crate) horizon: Position,
}

impl From<MoveError> for HandOverError {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Fenced => Self::Fenced,
            MoveError::Read(error) => Self::Read(error),
            MoveError::Append(error) => Self::Append(error),
        }
    }
}

impl Plan {
    /// Gives every shard of a generation its first checkpoint and the parked records of its keys. May be done again after
    /// it was broken off.
    pub(crate) async fn open_shards(
        &self,
        site: &HandOver,
        order: OpenOrder<'_>,
    ) -> Result<OpenedShards, HandOverError> {
        let last = order.earlier.last();
        let closings = match last {
            Some(last) => closings(site, last).await?,
            None => Vec::new(),
        };
        let first = self.first_of(site, &order, &closings).await?;
        if let Some(last) = last {
            self.move_parked(site, (last, order.shard)).await?;
        }
        for index in 0..order.shard.count {
            self.write_first(site, Shard { index, ..order.shard }, &first).await?;
        }
        let horizon = site.store.head().await?.unwrap_or(Position::START);
        let since = if order.begins_anew { None } else { since(order.earlier, &closings) };
        Ok(OpenedShards { since, horizon })
    }

    /// Where all shards of the generation begin: at the lowest place where one of the earlier ones stands.
    async fn first_of(
        &self,
        site: &HandOver,
        order: &OpenOrder<'_>,
        closings: &[Closing],
    ) -> Result<Checkpoint, HandOverError> {
        let nothing = self.first_checkpoint();
        if let Some(position) = order.start_from {
            let mark = (position != Position::START).then_some(Mark { position, revision: None });
            return Ok(Checkpoint { mark, ..nothing });
        }
        if !order.begins_anew
            && let Some(lowest) = closings.iter().min_by_key(|closing| position_of(closing))
        {
            let (settled, epoch) = (SettledRanges::default(), OPENING_EPOCH);
            return Ok(Checkpoint { read: None, settled, epoch, ..lowest.checkpoint.clone() });
        }
        let subscription = &self.settings.subscription;
        let from_now_on = subscription.initial_position == crate::settings::InitialPosition::Latest;
        if subscription.start_position.is_none() && from_now_on {
            let mark = site.store.head().await?.map(|position| Mark { position, revision: None });
            return Ok(Checkpoint { mark, ..nothing });
        }
        Ok(nothing)
    }

    /// Writes the first checkpoint of a shard, unless that was done.
    async fn write_first(&self, site: &HandOver, shard: Shard, first: &Checkpoint) -> Result<(), HandOverError> {
        let stream = site.stream(shard.generation, shard.index, "checkpoints");
        let (last, expected) = last_event(site.store.as_ref(), &stream).await?;
        if last.is_some() || expected != ExpectedRevision::NoStream {
            return Ok(());
        }
        let data = first.to_data(&self.connector_id, site.clock.now());
        self.writer(site, stream, expected).append(CHECKPOINT_TYPE, data).await?;
        Ok(())
    }

    /// Moves what the earlier shards have parked to the shards that its keys take now.
    async fn move_parked(&self, site: &HandOver, (last, to): (&Generation, Shard)) -> Result<(), HandOverError> {
        let layout = self.layout_of(last)?;
        let mut lots: BTreeMap<u32, ParkingLot> = BTreeMap::new();
        for index in 0..last.count {
            let from = site.stream(last.number, index, "parked");
            let from = ParkingLot::look(self.lot_site(site, (from, layout.parked_base(index)), OPENING_EPOCH)).await?;
            for key in from.keys().await {
                let taker = Shard { index: place(key, to.count), ..to };
                let lot = match lots.entry(taker.index) {
                    Entry::Occupied(lot) => lot.into_mut(),
                    Entry::Vacant(place) => place.insert(self.claimed_lot(site, taker).await?),
                };
                lot.take_from(&from, key).await?;
            }
        }
        Ok(())
    }

    async fn claimed_lot(&self, site: &HandOver, shard: Shard) -> Result<ParkingLot, HandOverError> {
        let stream = site.stream(shard.generation, shard.index, "parked");
        let lot = self.lot_site(site, (stream, shard.parked_base()), OPENING_EPOCH);
        let opened = ParkingLot::open(lot, None, false).await?;
        opened.map(|opened| opened.lot).ok_or(HandOverError::Fenced)
    }
}

/// What all shards of a generation left.
pub(super) async fn closings(site: &HandOver, generation: &Generation) -> Result<Vec<Closing>, HandOverError> {
    let mut closings = Vec::new();
    for index in 0..generation.count {
        let stream = site.stream(generation.number, index, "checkpoints");
        let closing = Closing::read(site.store.as_ref(), &stream).await?;
        let not_closed = HandOverError::NotClosed { generation: generation.number, index };
        closings.push(closing.ok_or(not_closed)?);
    }
    Ok(closings)
}

/// The first of the earlier generations that settled anything above where the last one stands.
fn since(earlier: &[Generation], closings: &[Closing]) -> Option<u32> {
    let lowest = closings.iter().map(position_of).min().flatten();
    let (last, before) = earlier.split_last()?;
    let counts = |earlier: &&Generation| lowest.is_none() || earlier.horizon.is_none() || earlier.horizon > lowest;
    Some(before.iter().find(counts).map_or(last.number, |earlier| earlier.number))
}

fn position_of(closing: &Closing) -> Option<Position> {
    closing.checkpoint.mark.map(|mark| mark.position)
}
