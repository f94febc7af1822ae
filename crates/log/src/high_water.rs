//! Owns the high-water position: a lower bound of what was acknowledged, kept apart from the engine.
//!
//! It is written after each commit is durable and before the commit is acknowledged, without a sync of its own: after a
//! crash of the process it is exact, after a power cut it may be older, and it is never ahead. A store that ends below it
//! has lost acknowledged events, whatever the engine says.
//!
//! ```text
//!  slot (two, at 0 and 4096; written in turn, the higher valid one counts)
//!  no at  size
//!   1  0     4  "FBHW"
//!   2  4     8  position, little-endian
//!   3 12     4  CRC-32C over fields 1 and 2, little-endian
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

const MAGIC: [u8; 4] = *b"FBHW";
const SLOT: usize = 16;
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// The open file.
pub(crate) struct HighWater {
    file: File,
    position: u64,
    turn: bool,
}

impl HighWater {
    /// Makes the file with both slots at this position, and syncs it.
    pub(crate) fn create(path: &Path, position: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut high_water = Self { file, position, turn: false };
        high_water.write(position)?;
        high_water.write(position)?;
        high_water.file.sync_all()?;
        Ok(high_water)
    }

    /// Opens the file; none when no slot of it is valid.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let [first, second] = slots(&content);
        let turn = first > second;
        Ok(first.max(second).map(|position| Self { file, position, turn }))
    }

    /// The position.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Writes another position over the older of the two slots.
    pub(crate) fn write(&mut self, position: u64) -> io::Result<()> {
        let [first, second] = SLOT_OFFSETS;
        self.file.seek(SeekFrom::Start(if self.turn { second } else { first }))?;
        self.file.write_all(&slot(position))?;
        self.turn = !self.turn;
        self.position = position;
        Ok(())
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// What the two slots say; none where a slot is not valid.
fn slots(content: &[u8]) -> [Option<u64>; 2] {
    SLOT_OFFSETS.map(|offset| {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        content.get(start..).and_then(|rest| rest.first_chunk()).and_then(read_slot)
    })
}

/// What the file says: the higher valid slot.
#[cfg(feature = "testing")]
pub(crate) fn newest(content: &[u8]) -> Option<u64> {
    let [first, second] = slots(content);
    first.max(second)
}

fn slot(position: u64) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT);
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&position.to_le_bytes());
    let crc = crc32c::crc32c(&slot);
    slot.extend_from_slice(&crc.to_le_bytes());
    slot
}

fn read_slot(stored: &[u8; SLOT]) -> Option<u64> {
    let position = stored.get(4..12).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()).map(u64::from_le_bytes)?;
    (slot(position) == stored).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_valid_slot_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("HIGH-WATER");
        let mut high_water = HighWater::create(&path, 3).unwrap();
        high_water.write(7).unwrap();
        high_water.write(9).unwrap();
        assert_eq!(HighWater::open(&path).unwrap().unwrap().position(), 9);

        let mut content = std::fs::read(&path).unwrap();
        content[4096 + 5] ^= 1;
        std::fs::write(&path, &content).unwrap();
        let mut reopened = HighWater::open(&path).unwrap().unwrap();
        assert_eq!(reopened.position(), 7);
        reopened.write(12).unwrap();
        assert_eq!(HighWater::open(&path).unwrap().unwrap().position(), 12);

        std::fs::write(&path, b"").unwrap();
        assert!(HighWater::open(&path).unwrap().is_none());
    }
}
