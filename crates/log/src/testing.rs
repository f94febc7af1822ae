//! Owns the door for fuzzing: what is read from disk, given as bytes.

use forebay_event::RecordedEvent;
use forebay_store::ReadError;

use crate::format::{Block, Packer, seal};
use crate::high_water::newest;

/// The events of a stored block whose first event has this position; checks all that reading it checks.
pub fn block_events(first: u64, stored: &[u8]) -> Result<Vec<RecordedEvent>, ReadError> {
    let block = Block::decode(first, stored)?;
    block.events_from(first).collect()
}

/// The same block packed anew, as packing it with others would.
pub fn repacked(first: u64, stored: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
    let block = Block::decode(first, stored)?;
    Ok(Block::join(&[block]).map(|joined| joined.encode(&mut Packer::default())))
}

/// Bytes as a block whose checksum is right, so that what lies behind the checksum is reached.
pub fn sealed(first: u64, stored: &[u8]) -> Vec<u8> {
    seal(first, stored)
}

/// The position that a high-water file says; none when no slot of it is valid.
pub fn high_water(content: &[u8]) -> Option<u64> {
    newest(content)
}
