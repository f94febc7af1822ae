//! Owns the packing of small blocks, which single appends leave behind, into blocks of the usual size.
//!
//! One step reads a bounded number of blocks and answers one change that removes the old blocks and holds the new ones.
//! Positions stay, so the index stays. Whoever is reading keeps the view from before.

use forebay_store::ReadError;

use crate::engine::{Change, Engine};
use crate::format::{Block, Packer};
use crate::options::BLOCK_RAW_TARGET;

/// A step reads at most so many blocks: more than one full block can be made of.
const STEP_BLOCKS_MAX: usize = 1024;

/// What one step found.
pub(crate) struct RepackStep {
    /// What to commit; empty when nothing is small.
    pub(crate) change: Change,
    /// Where the next step begins; the same as this one's when there is no more.
    pub(crate) next: u64,
}

/// Plans one step from this position on.
pub(crate) fn plan_step(engine: &Engine, packer: &mut Packer, from: u64, head: u64) -> Result<RepackStep, ReadError> {
    let from = from.max(1);
    let mut step = RepackStep { change: Change::default(), next: from };
    if head < from {
        return Ok(step);
    }
    let mut stored = engine.blocks_from(from)?;
    let mut group = Vec::new();
    let mut group_size = 0;
    for _ in 0..STEP_BLOCKS_MAX {
        let Some(block) = stored.next_block()?.filter(|block| block.last() <= head) else { break };
        if group_size + block.raw_len() > BLOCK_RAW_TARGET {
            merge(&mut step.change, packer, &group);
            group.clear();
            group_size = 0;
        }
        group_size += block.raw_len();
        group.push(block);
    }
    // The last group may still grow; the next step begins with it.
    step.next = group.first().map_or(from, Block::first).max(from);
    Ok(step)
}

fn merge(change: &mut Change, packer: &mut Packer, group: &[Block]) {
    let Some((first, rest)) = group.split_first().filter(|(_, rest)| !rest.is_empty()) else { return };
    if let Some(joined) = Block::join(group) {
        change.blocks.push((first.first(), joined.encode(packer)));
        change.removed_blocks.extend(rest.iter().map(Block::first));
    }
}
