//! Owns the rooms that blocks are unpacked into: memory that is used again once no event of a block is left.
//!
//! A scan unpacks thousands of blocks a second. Memory made for each would be cleared first, and given back to the
//! system and fetched again with every page.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::options::{BLOCK_RAW_TARGET, ROOMS_MAX};

/// A block that fills less of a room gets memory of its own size: pages of small blocks would otherwise hold much more
/// than their bytes.
const FILLED_MIN: usize = BLOCK_RAW_TARGET / 4 * 3;

/// The rooms that are free. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    free: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl Rooms {
    /// Makes bytes of this length by letting `fill` write all of them; they may hold anything before.
    pub(crate) fn fill<E>(&self, len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
        if !(FILLED_MIN..=BLOCK_RAW_TARGET).contains(&len) {
            let mut own = vec![0; len];
            fill(&mut own)?;
            return Ok(own.into());
        }
        let free = self.free.lock().pop();
        let bytes = free.unwrap_or_else(|| vec![0; BLOCK_RAW_TARGET].into_boxed_slice());
        let mut room = Room { bytes, len, free: Arc::downgrade(&self.free) };
        fill(room.bytes.get_mut(..len).unwrap_or_default())?;
        Ok(Bytes::from_owner(room))
    }
}

/// A room in use; free again when it is dropped.
struct Room {
    bytes: Box<[u8]>,
    len: usize,
    free: Weak<Mutex<Vec<Box<[u8]>>>>,
}

impl AsRef<[u8]> for Room {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some(free) = self.free.upgrade() else { return };
        let mut free = free.lock();
        if free.len() < ROOMS_MAX {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn filled(rooms: &Rooms, len: usize, with: u8) -> Bytes {
        rooms
            .fill::<Infallible>(len, |bytes| {
                bytes.fill(with);
                Ok(())
            })
            .unwrap()
    }

    #[test]
    fn a_room_is_used_again_only_when_no_event_is_left() {
        let rooms = Rooms::default();
        let first = filled(&rooms, BLOCK_RAW_TARGET, 1);
        let place = first.as_ptr();
        let event = first.slice(10..20);
        drop(first);
        let second = filled(&rooms, BLOCK_RAW_TARGET - 100, 2);
        assert_ne!(second.as_ptr(), place);
        assert_eq!(event, [1; 10].as_slice());
        drop(event);
        let third = filled(&rooms, FILLED_MIN, 3);
        assert_eq!((third.as_ptr(), third.len()), (place, FILLED_MIN));
        assert!(third.iter().chain(&second[..0]).all(|byte| *byte == 3));
    }

    #[test]
    fn small_and_large_blocks_get_memory_of_their_size_and_few_rooms_are_kept() {
        let rooms = Rooms::default();
        drop((filled(&rooms, 100, 1), filled(&rooms, BLOCK_RAW_TARGET + 1, 1)));
        assert_eq!(rooms.free.lock().len(), 0);
        drop((0..ROOMS_MAX + 5).map(|_| filled(&rooms, BLOCK_RAW_TARGET, 1)).collect::<Vec<_>>());
        assert_eq!(rooms.free.lock().len(), ROOMS_MAX);
    }

    #[test]
    fn a_block_that_cannot_be_unpacked_gives_its_room_back() {
        let rooms = Rooms::default();
        assert_eq!(rooms.fill(BLOCK_RAW_TARGET, |_| Err("damaged")), Err("damaged"));
        assert_eq!(rooms.free.lock().len(), 1);
    }

    #[test]
    fn events_outlive_the_log() {
        let rooms = Rooms::default();
        let block = filled(&rooms, BLOCK_RAW_TARGET, 7);
        drop(rooms);
        assert!(block.iter().all(|byte| *byte == 7));
    }
}
