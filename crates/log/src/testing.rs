//! Owns the door for fuzzing: what is read from disk, given as bytes.

use forebay_event::RecordedEvent;
use forebay_store::ReadError;

use crate::format::{BLOCK_HEADER, Block, CHECKED_HEADER, Packer, checksum};
use crate::high_water::slots;
use crate::rooms::Rooms;

/// The events of a stored block whose first event has this position; checks all that reading it checks.
pub fn block_events(first: u64, stored: &[u8]) -> Result<Vec<RecordedEvent>, ReadError> {
    let block = Block::decode(first, stored, &Rooms::default())?;
    block.events_from(first).collect()
}

/// The same block packed anew, as packing it with others would.
pub fn repacked(first: u64, stored: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
    let block = Block::decode(first, stored, &Rooms::default())?;
    Ok(Block::join(&[block]).map(|joined| joined.encode(&mut Packer::default())))
}

/// Bytes as a block whose checksum is right, so that what lies behind it is reached; too few are left as they are.
pub fn sealed(first: u64, stored: &[u8]) -> Vec<u8> {
    let mut sealed = stored.to_vec();
    if let (Some(header), Some(payload)) = (stored.get(..CHECKED_HEADER), stored.get(BLOCK_HEADER..)) {
        let crc = checksum(header, first, payload);
        sealed.splice(CHECKED_HEADER..BLOCK_HEADER, crc.to_le_bytes());
    }
    sealed
}

/// The position that a high-water file says; none when no slot of it is valid.
pub fn high_water(content: &[u8]) -> Option<u64> {
    slots(content).into_iter().max().flatten()
}
