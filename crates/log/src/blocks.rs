//! Owns the blocks kept in memory: the ring of the most recent ones, and the cache for stream reads.

use std::collections::{BTreeMap, VecDeque};

use crate::format::Block;
use crate::options::{CACHE_SIZE_MAX, RING_BLOCKS_MAX, RING_SIZE_MAX};

/// The most recent blocks, in order and without gaps; live subscribers read from here.
#[derive(Default)]
pub(crate) struct Ring {
    blocks: VecDeque<Block>,
    size: usize,
}

impl Ring {
    /// Adds the blocks of a commit and drops the oldest beyond the bounds.
    pub(crate) fn push(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            self.size += block.raw_len();
            self.blocks.push_back(block);
        }
        while self.size > RING_SIZE_MAX || self.blocks.len() > RING_BLOCKS_MAX {
            let Some(dropped) = self.blocks.pop_front() else { break };
            self.size -= dropped.raw_len();
        }
    }

    /// Whether it reaches back to this position.
    pub(crate) fn reaches(&self, position: u64) -> bool {
        self.blocks.front().is_some_and(|block| block.first() <= position)
    }

    /// The block that holds this position, if it is kept.
    pub(crate) fn holding(&self, position: u64) -> Option<Block> {
        let after = self.blocks.partition_point(|block| block.first() <= position);
        self.blocks.get(after.checked_sub(1)?).filter(|block| block.holds(position)).cloned()
    }
}

/// Decompressed blocks that stream reads touched: two generations, the older dropped when the younger is full.
///
/// What lies at a position never changes, so a block stays right even when blocks on disk were packed together.
#[derive(Default)]
pub(crate) struct BlockCache {
    young: BTreeMap<u64, Block>,
    old: BTreeMap<u64, Block>,
    size: usize,
}

impl BlockCache {
    /// The block that holds this position, if it is kept.
    pub(crate) fn holding(&mut self, position: u64) -> Option<Block> {
        if let Some(block) = floor(&self.young, position) {
            return Some(block);
        }
        let block = floor(&self.old, position)?;
        self.insert(block.clone());
        Some(block)
    }

    /// Keeps a block.
    pub(crate) fn insert(&mut self, block: Block) {
        if self.size + block.raw_len() > CACHE_SIZE_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.size = 0;
        }
        self.size += block.raw_len();
        if let Some(replaced) = self.young.insert(block.first(), block) {
            self.size -= replaced.raw_len();
        }
    }
}

fn floor(blocks: &BTreeMap<u64, Block>, position: u64) -> Option<Block> {
    let (_, block) = blocks.range(..=position).next_back()?;
    block.holds(position).then(|| block.clone())
}
