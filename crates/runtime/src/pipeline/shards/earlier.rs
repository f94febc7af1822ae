//! Owns what earlier generations of shards settled: asked for every record until the shard has read past all of it.

use forebay_event::Position;
use forebay_store::ReadError;

use super::closing::{Closing, HandOver, HandOverError};
use super::layout::{Layout, place};
use super::opening::closings;
use crate::pipeline::Plan;
use crate::pipeline::parked::KnownSettled;
use crate::pipeline::view::EventView;
use crate::unit::Generation;

/// What earlier generations settled above the place where a shard begins.
#[derive(Debug, Default)]
pub(super) struct Earlier(Vec<Spread>);

#[derive(Debug)]
struct Spread {
    layout: Layout,
    /// What each shard left, in their order.
    left: Vec<Left>,
}

#[derive(Debug)]
struct Left {
    closing: Closing,
    parked: KnownSettled,
}

impl Earlier {
    /// Reads what generations left that settled anything above a mark.
    pub(super) async fn read(
        plan: &Plan,
        site: &HandOver,
        (generations, mark): (&[Generation], Option<Position>),
    ) -> Result<Self, HandOverError> {
        let mut spreads = Vec::new();
        let counts = |generation: &&Generation| mark.is_none() || generation.horizon.is_none_or(|end| Some(end) > mark);
        for generation in generations.iter().filter(counts) {
            let layout = plan.layout_of(generation)?;
            let mut left = Vec::new();
            for (index, closing) in (0..).zip(closings(site, generation).await?) {
                let parked = parked_in(site, &layout, (index, &closing)).await?;
                left.push(Left { closing, parked });
            }
            spreads.push(Spread { layout, left });
        }
        Ok(Self(spreads))
    }

    /// Whether one of them settled this event.
    pub(super) fn settled(&self, view: &mut EventView<'_>) -> bool {
        self.0.iter().any(|spread| spread.settled(view))
    }
}

async fn parked_in(site: &HandOver, layout: &Layout, of: (u32, &Closing)) -> Result<KnownSettled, ReadError> {
    let (index, closing) = of;
    let mark = closing.checkpoint.mark.map(|mark| mark.position);
    let stream = site.stream(layout.generation, index, "parked");
    KnownSettled::read(site.store.as_ref(), &stream, (&layout.keying, mark)).await
}

impl Spread {
    fn settled(&self, view: &mut EventView<'_>) -> bool {
        let position = view.event().position();
        let key = self.layout.keying.key(view);
        let Some(left) = self.left.get(place(key, self.layout.count) as usize) else { return false };
        let Closing { checkpoint, lanes } = &left.closing;
        let up_to = |at: Option<Position>| at.is_some_and(|at| position <= at);
        up_to(checkpoint.mark.map(|mark| mark.position))
            || checkpoint.settled.contains(position)
            || up_to(lanes.get(self.layout.lane_of(key)).copied().flatten())
            || left.parked.contains(key, position)
    }
}
