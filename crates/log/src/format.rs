//! Owns the stored format of a block of events: what every byte of it means, and how it is checked.
//!
//! A block is a value of the keyspace `blocks`; its key is the position of its first event, eight bytes big-endian. The
//! events of a block have consecutive positions. Numbers below are little-endian. The numbers of the fields are for ever:
//! a later version may add fields and must keep these.
//!
//! ```text
//!  block, version 1                                event, version 1 (one after the other in the payload)
//!  no at  size                                     no at  size
//!   1  0     1  version, 1                          1  0     4  length of the whole event, header and parts
//!   2  1     1  codec: 0 as it is, 1 lz4            2  4     4  flags: bit 0, the data is JSON
//!   3  2     4  length of the payload, unpacked     3  8     8  revision
//!   4  6     4  number of events                    4 16     8  when it was recorded, in ticks of 100 ns
//!   5 10     4  CRC-32C over fields 1-4, the        5 24    16  id
//!               key and field 6                     6 40     4  length of the stream's name
//!   6 14        payload                             7 44     4  length of the type
//!                                                   8 48     4  length of the data
//!                                                   9 52     4  length of the metadata
//!                                                  10 56        name, type, data, metadata
//! ```

use bytes::Bytes;
use forebay_event::{ContentType, EventParts, Position, ProposedEvent, RecordedEvent, Revision, Timestamp};
use forebay_store::ReadError;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use uuid::Uuid;

use crate::options::BLOCK_RAW_TARGET;
use crate::rooms::Rooms;

const BLOCK_VERSION: u8 = 1;
pub(crate) const BLOCK_HEADER: usize = 14;
pub(crate) const CHECKED_HEADER: usize = 10;
const EVENT_HEADER: usize = 56;
const FLAG_JSON: u32 = 1;
const CODEC_NONE: u8 = 0;
const CODEC_LZ4: u8 = 1;
/// A byte of LZ4 stands for at most so many; a length beyond that is not believed, and no room is made for it.
const LZ4_GROWTH_MAX: usize = 256;
/// Blocks below this gain nothing from compression.
const COMPRESS_MIN: usize = 256;
/// Room for a compressed block that is kept for the next one, in bytes; one large event may need more.
const PACKED_KEPT_MAX: usize = 64 << 10;

/// A block of events in memory, decompressed and checked.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    first: u64,
    count: u32,
    raw: Bytes,
}

impl Block {
    /// Checks and unpacks a stored block.
    pub(crate) fn decode(first: u64, stored: &[u8], rooms: &Rooms) -> Result<Self, ReadError> {
        let header = Header::read(first, stored)?;
        let payload = stored.get(BLOCK_HEADER..).unwrap_or_default();
        let other_len = |len: usize| damaged(first, format!("it unpacks to {len} bytes, not {}", header.raw_len));
        let raw = match header.codec {
            CODEC_NONE if payload.len() == header.raw_len => Bytes::copy_from_slice(payload),
            CODEC_NONE => return Err(other_len(payload.len())),
            CODEC_LZ4 => rooms.fill(header.raw_len, |room| match lz4_flex::block::decompress_into(payload, room) {
                Ok(len) if len == header.raw_len => Ok(()),
                Ok(len) => Err(other_len(len)),
                Err(error) => Err(damaged(first, format!("its payload cannot be unpacked: {error}"))),
            })?,
            codec => return Err(damaged(first, format!("codec {codec} is not known"))),
        };
        Ok(Self { first, count: header.count, raw })
    }

    /// Position of its first event.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Position of its last event.
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count).saturating_sub(1)
    }

    /// Its size before compression, in bytes.
    pub(crate) fn raw_len(&self) -> usize {
        self.raw.len()
    }

    /// Whether it holds the event at this position.
    pub(crate) fn holds(&self, position: u64) -> bool {
        (self.first..=self.last()).contains(&position)
    }

    /// Its events from this position on, in order.
    pub(crate) fn events_from(&self, position: u64) -> Events<'_> {
        let mut events = Events { block: self, next: self.first, offset: 0 };
        while events.next < position && events.pass() {}
        events
    }

    /// The event at this position, which it must hold.
    pub(crate) fn event(&self, position: u64) -> Result<RecordedEvent, ReadError> {
        self.events_from(position)
            .next()
            .unwrap_or_else(|| Err(damaged(self.first, format!("it does not hold position {position}"))))
    }

    /// Joins blocks that follow each other into one.
    pub(crate) fn join(blocks: &[Self]) -> Option<Self> {
        let first = blocks.first()?.first;
        let mut raw = Vec::with_capacity(blocks.iter().map(Self::raw_len).sum());
        let mut count = 0;
        for block in blocks {
            raw.extend_from_slice(&block.raw);
            count += block.count;
        }
        Some(Self { first, count, raw: raw.into() })
    }

    /// Packs it for storing.
    pub(crate) fn encode(&self, packer: &mut Packer) -> Vec<u8> {
        let packed = (self.raw.len() >= COMPRESS_MIN).then(|| packer.pack(&self.raw)).flatten();
        let (codec, payload) = packed.map_or((CODEC_NONE, &self.raw[..]), |packed| (CODEC_LZ4, packed));
        let mut stored = Vec::with_capacity(BLOCK_HEADER + payload.len());
        stored.extend_from_slice(&[BLOCK_VERSION, codec]);
        stored.extend_from_slice(&len_u32(self.raw.len()).to_le_bytes());
        stored.extend_from_slice(&self.count.to_le_bytes());
        let crc = checksum(&stored, self.first, payload);
        stored.extend_from_slice(&crc.to_le_bytes());
        stored.extend_from_slice(payload);
        stored
    }
}

/// What compression needs besides the bytes; kept from block to block, because making it costs as much as using it.
#[derive(Default)]
pub(crate) struct Packer {
    table: CompressTable,
    packed: Vec<u8>,
}

impl Packer {
    /// The compressed bytes; none when that would not make them fewer.
    fn pack(&mut self, raw: &[u8]) -> Option<&[u8]> {
        let room = get_maximum_output_size(raw.len());
        if self.packed.len() < room || self.packed.len() > PACKED_KEPT_MAX.max(room) {
            self.packed = vec![0; room];
        }
        let len = compress_into_with_table(raw, &mut self.packed, &mut self.table).ok()?;
        self.packed.get(..len).filter(|packed| packed.len() < raw.len())
    }
}

/// The checked head of a stored block.
pub(crate) struct Header {
    codec: u8,
    raw_len: usize,
    /// How many events the block holds.
    pub(crate) count: u32,
}

impl Header {
    /// Reads it and checks the whole block's checksum, without unpacking.
    pub(crate) fn read(first: u64, stored: &[u8]) -> Result<Self, ReadError> {
        let header: &[u8; BLOCK_HEADER] = stored
            .first_chunk()
            .ok_or_else(|| damaged(first, format!("it holds {} bytes, less than its header", stored.len())))?;
        if header[0] != BLOCK_VERSION {
            return Err(damaged(first, format!("its format version {} is not known", header[0])));
        }
        let count = u32_at(header, 6);
        let expected = u32_at(header, CHECKED_HEADER);
        let checked = header.get(..CHECKED_HEADER).unwrap_or_default();
        let found = checksum(checked, first, stored.get(BLOCK_HEADER..).unwrap_or_default());
        if found != expected {
            return Err(damaged(first, format!("its checksum is {found:08x}, stored is {expected:08x}")));
        }
        if count == 0 {
            return Err(damaged(first, "it holds no event".to_owned()));
        }
        if first.checked_add(u64::from(count)).is_none() {
            return Err(damaged(first, format!("no log has room for {count} events there")));
        }
        let raw_len = u32_at(header, 2) as usize;
        let raw_len_max = stored.len().saturating_mul(LZ4_GROWTH_MAX);
        if raw_len > raw_len_max {
            return Err(damaged(first, format!("it cannot unpack to {raw_len} bytes, at most to {raw_len_max}")));
        }
        Ok(Self { codec: header[1], raw_len, count })
    }

    /// Its size before compression, in bytes.
    pub(crate) fn raw_len(&self) -> usize {
        self.raw_len
    }
}

/// The events of a block, in order.
pub(crate) struct Events<'a> {
    block: &'a Block,
    next: u64,
    offset: usize,
}

impl Events<'_> {
    /// Passes over one event; answers whether there was one.
    fn pass(&mut self) -> bool {
        let rest = self.block.raw.get(self.offset..).unwrap_or_default();
        let Some(header) = rest.first_chunk::<EVENT_HEADER>() else { return false };
        self.offset += (u32_at(header, 0) as usize).max(EVENT_HEADER);
        self.next += 1;
        true
    }

    #[inline(always)]
    fn decode(&mut self) -> Result<RecordedEvent, ReadError> {
        let position = self.next;
        let bad = |reason: &str| damaged(self.block.first, format!("the event at position {position}: {reason}"));
        let rest = self.block.raw.get(self.offset..).unwrap_or_default();
        let header = rest.first_chunk::<EVENT_HEADER>().ok_or_else(|| bad("its header is cut off"))?;
        let len = u32_at(header, 0);
        let start = len_u32(self.offset + EVENT_HEADER);
        let stream_end = start.saturating_add(u32_at(header, 40));
        let type_end = stream_end.saturating_add(u32_at(header, 44));
        let data_end = type_end.saturating_add(u32_at(header, 48));
        let end = data_end.saturating_add(u32_at(header, 52));
        if u64::from(end) != self.offset as u64 + u64::from(len) {
            return Err(bad("its parts do not add up to its length"));
        }
        let json = u32_at(header, 4) & FLAG_JSON != 0;
        let parts = EventParts {
            id: Uuid::from_bytes(bytes_at(header, 24)),
            revision: Revision::new(u64::from_le_bytes(bytes_at(header, 8))),
            position: Position::new(position),
            created: Timestamp::from_ticks(u64::from_le_bytes(bytes_at(header, 16))),
            content_type: if json { ContentType::Json } else { ContentType::Bytes },
            stream: start..stream_end,
            event_type: stream_end..type_end,
            data: type_end..data_end,
            metadata: data_end..end,
        };
        self.offset = end as usize;
        self.next += 1;
        RecordedEvent::from_buffer(self.block.raw.clone(), parts).map_err(|error| bad(&error.to_string()))
    }
}

impl Iterator for Events<'_> {
    type Item = Result<RecordedEvent, ReadError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.block.last() {
            return None;
        }
        let event = self.decode();
        if event.is_err() {
            self.next = self.block.last() + 1;
        }
        Some(event)
    }
}

/// What the log adds to a proposed event.
pub(crate) struct Recording<'a> {
    /// The stream it goes to.
    pub(crate) stream: &'a str,
    /// Its number there.
    pub(crate) revision: u64,
    /// When it is recorded.
    pub(crate) created: Timestamp,
}

/// A block being filled.
pub(crate) struct BlockBuilder {
    first: u64,
    count: u32,
    raw: Vec<u8>,
}

impl BlockBuilder {
    /// Begins a block whose first event will have this position.
    pub(crate) fn new(first: u64) -> Self {
        Self { first, count: 0, raw: Vec::new() }
    }

    /// Begins a block that will probably be filled.
    pub(crate) fn with_room(first: u64) -> Self {
        Self { first, count: 0, raw: Vec::with_capacity(BLOCK_RAW_TARGET) }
    }

    /// Whether another event of this size would make it larger than blocks should be.
    pub(crate) fn is_full_for(&self, event_len: usize, target: usize) -> bool {
        self.count > 0 && self.raw.len() + event_len > target
    }

    /// The size that an event takes in a block.
    pub(crate) fn event_len(stream: &str, event: &ProposedEvent) -> usize {
        EVENT_HEADER + stream.len() + event.event_type.len() + event.data.len() + event.metadata.len()
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: &ProposedEvent, recording: &Recording<'_>) {
        let len = Self::event_len(recording.stream, event);
        self.raw.reserve(len);
        let flags = if event.content_type == ContentType::Json { FLAG_JSON } else { 0 };
        self.raw.extend_from_slice(&len_u32(len).to_le_bytes());
        self.raw.extend_from_slice(&flags.to_le_bytes());
        self.raw.extend_from_slice(&recording.revision.to_le_bytes());
        self.raw.extend_from_slice(&recording.created.ticks().to_le_bytes());
        self.raw.extend_from_slice(event.id.as_bytes());
        let parts = [recording.stream.as_bytes(), event.event_type.as_bytes(), &event.data, &event.metadata];
        for part in parts {
            self.raw.extend_from_slice(&len_u32(part.len()).to_le_bytes());
        }
        for part in parts {
            self.raw.extend_from_slice(part);
        }
        self.count += 1;
    }

    /// The block, if it holds anything.
    pub(crate) fn finish(self) -> Option<Block> {
        (self.count > 0).then(|| Block { first: self.first, count: self.count, raw: self.raw.into() })
    }
}

/// The refusal that names a block.
pub(crate) fn damaged(first: u64, reason: String) -> ReadError {
    ReadError::Damaged { place: format!("blocks/{first}"), reason }
}

/// The checksum of a block: its header, its place and its payload.
pub(crate) fn checksum(header: &[u8], first: u64, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(header);
    let crc = crc32c::crc32c_append(crc, &first.to_be_bytes());
    crc32c::crc32c_append(crc, payload)
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn bytes_at<const N: usize, const M: usize>(header: &[u8; M], at: usize) -> [u8; N] {
    header.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u32_at<const M: usize>(header: &[u8; M], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(header, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: u32) -> Block {
        let mut builder = BlockBuilder::new(7);
        for n in 0..count {
            let event = ProposedEvent::json(Uuid::from_u128(u128::from(n) + 1), "Placed", vec![b'x'; 100]);
            builder.push(
                &event,
                &Recording { stream: "order-1", revision: u64::from(n), created: Timestamp::from_ticks(9) },
            );
        }
        builder.finish().unwrap()
    }

    #[test]
    fn a_block_survives_storing() {
        for count in [1, 40] {
            let block = Block::decode(7, &sample(count).encode(&mut Packer::default()), &Rooms::default()).unwrap();
            assert_eq!((block.first(), block.last(), block.count), (7, 6 + u64::from(count), count));
            let events: Vec<_> = block.events_from(7).map(Result::unwrap).collect();
            assert_eq!(events.len(), count as usize);
            assert_eq!(events[0].stream(), "order-1");
            assert_eq!(block.event(block.last()).unwrap().revision().get(), u64::from(count) - 1);
        }
    }

    #[test]
    fn stored_bytes_are_those_of_version_1() {
        let stored = sample(1).encode(&mut Packer::default());
        assert_eq!(stored[..10], [1, 0, 169, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(stored.len(), 14 + 56 + 7 + 6 + 100);
        assert_eq!(stored[14..18], [169, 0, 0, 0]);
        assert_eq!(&stored[14 + 56..14 + 56 + 13], b"order-1Placed");
    }

    /// Found by fuzzing: a checksum that is right does not make numbers possible.
    #[test]
    fn impossible_numbers_are_refused_under_a_right_checksum() {
        let resealed = |first: u64, change: &dyn Fn(&mut Vec<u8>)| {
            let mut stored = sample(3).encode(&mut Packer::default());
            change(&mut stored);
            let crc = checksum(&stored[..CHECKED_HEADER], first, &stored[BLOCK_HEADER..]);
            stored[CHECKED_HEADER..BLOCK_HEADER].copy_from_slice(&crc.to_le_bytes());
            Block::decode(first, &stored, &Rooms::default())
                .map(|block| block.last())
                .map_err(|error| error.to_string())
        };
        assert_eq!(resealed(7, &|_| {}), Ok(9));
        assert!(resealed(u64::MAX, &|_| {}).unwrap_err().contains("no log has room for 3 events"));
        assert!(resealed(7, &|stored| stored[5] = 0xff).unwrap_err().contains("cannot unpack to"));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let stored = sample(3).encode(&mut Packer::default());
        for at in 0..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 4;
            let error = Block::decode(7, &changed, &Rooms::default()).unwrap_err().to_string();
            assert!(error.contains("blocks/7"), "{error}");
        }
        assert!(Block::decode(8, &stored, &Rooms::default()).is_err(), "the key is part of what is checked");
    }
}
