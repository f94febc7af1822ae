//! Owns reading: pages of the whole log and of streams, bounded in events, bytes and events examined.

use forebay_event::{RecordedEvent, Revision, StreamName};
use forebay_store::{EventFilter, PageLimit, ReadError};

use crate::engine::{Engine, IndexEntries, Placed};
use crate::format::{Block, damaged};
use crate::options::{PAGE_EVENTS_MAX, PAGE_EXAMINED_MAX, PAGE_SIZE_MAX};
use crate::shared::Shared;
use crate::states::Visible;

/// What a page of the whole log asks for.
pub(crate) struct Scan<'a> {
    /// The first position to examine.
    pub(crate) from: u64,
    /// The last position that may be read.
    pub(crate) head: u64,
    /// Which events.
    pub(crate) filter: &'a EventFilter,
    /// The bounds of the page.
    pub(crate) limit: PageLimit,
    /// Ends at so many events that do not match.
    pub(crate) unmatched_max: usize,
}

/// A page of the whole log.
pub(crate) struct Scanned {
    /// The matching events.
    pub(crate) events: Vec<RecordedEvent>,
    /// The first position not examined (the last one, when going backward).
    pub(crate) next: u64,
    /// How many examined events did not match.
    pub(crate) unmatched: usize,
    size: usize,
    examined: usize,
}

impl Scanned {
    /// A page to be filled from here on, of so many events at most.
    fn new(from: u64, scan: &Scan<'_>, left: u64) -> Self {
        let expected = if scan.filter.is_all() { scan.limit.events.clamp(1, PAGE_EVENTS_MAX) } else { 0 };
        let events = Vec::with_capacity(expected.min(usize::try_from(left).unwrap_or(usize::MAX)));
        Self { events, next: from, unmatched: 0, size: 0, examined: 0 }
    }

    /// Takes one event; answers whether the page is complete.
    #[inline]
    fn take(&mut self, event: RecordedEvent, scan: &Scan<'_>) -> bool {
        self.examined += 1;
        if scan.filter.matches(&event) {
            self.size += event.size();
            self.events.push(event);
        } else {
            self.unmatched += 1;
        }
        is_full(self.events.len(), self.size, scan.limit)
            || self.examined >= PAGE_EXAMINED_MAX
            || self.unmatched >= scan.unmatched_max
    }

    /// Takes the events of a block from the next position on; answers whether the page is complete.
    fn take_block(&mut self, block: &Block, scan: &Scan<'_>) -> Result<bool, ReadError> {
        if !block.holds(self.next) {
            return Err(damaged(self.next, format!("position {} is missing before {}", self.next, block.first())));
        }
        for event in block.events_from(self.next) {
            if self.next > scan.head {
                return Ok(true);
            }
            let event = event?;
            self.next += 1;
            if self.take(event, scan) {
                return Ok(true);
            }
        }
        Ok(self.next > scan.head)
    }
}

fn is_full(events: usize, size: usize, limit: PageLimit) -> bool {
    events >= limit.events.clamp(1, PAGE_EVENTS_MAX) || (events > 0 && size >= limit.bytes.min(PAGE_SIZE_MAX))
}

/// Reads a page of the live end from memory; none when it is no longer there.
pub(crate) fn scan_recent(shared: &Shared, scan: &Scan<'_>) -> Result<Option<Scanned>, ReadError> {
    if !shared.is_recent(scan.from) {
        return Ok(None);
    }
    let mut page = Scanned::new(scan.from, scan, (scan.head + 1).saturating_sub(scan.from));
    while page.next <= scan.head {
        let Some(block) = shared.recent_block(page.next) else { break };
        if page.take_block(&block, scan)? {
            break;
        }
    }
    Ok((page.next > scan.from).then_some(page))
}

/// Reads a page towards newer events.
pub(crate) fn scan_forward(shared: &Shared, scan: &Scan<'_>) -> Result<Scanned, ReadError> {
    if scan.from > scan.head {
        return Ok(Scanned::new(scan.from, scan, (scan.head + 1).saturating_sub(scan.from)));
    }
    if let Some(page) = scan_recent(shared, scan)? {
        return Ok(page);
    }
    shared.with_engine(|engine| {
        let mut page = Scanned::new(scan.from, scan, (scan.head + 1).saturating_sub(scan.from));
        // The page before this one may have ended within a block, which it left in the cache.
        let kept = shared.kept_block(scan.from);
        if let Some(block) = kept
            && page.take_block(&block, scan)?
        {
            return Ok(page);
        }
        let mut blocks = engine.blocks_from(page.next)?;
        while let Some(block) = blocks.next_block()? {
            if page.take_block(&block, scan)? {
                if block.holds(page.next) {
                    shared.keep_block(block);
                }
                return Ok(page);
            }
        }
        Err(damaged(page.next, "no block holds this position".to_owned()))
    })
}

/// Reads a page towards older events, from the position `scan.from` itself on.
pub(crate) fn scan_backward(shared: &Shared, scan: &Scan<'_>) -> Result<Scanned, ReadError> {
    let mut page = Scanned::new(scan.from.min(scan.head), scan, scan.from.min(scan.head));
    shared.with_engine(|engine| {
        while page.next > 0 {
            let block = match shared.recent_block(page.next) {
                Some(block) => block,
                None => engine
                    .block_holding(page.next)?
                    .ok_or_else(|| damaged(page.next, "no block holds this position".to_owned()))?,
            };
            let until = page.next;
            let wanted = usize::try_from(until - block.first() + 1).unwrap_or(usize::MAX);
            let events: Vec<_> = block.events_from(block.first()).take(wanted).collect::<Result<_, _>>()?;
            for event in events.into_iter().rev() {
                page.next -= 1;
                if page.take(event, scan) {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    })
}

/// What a page of a stream asks for.
pub(crate) struct StreamScan<'a> {
    /// Which stream.
    pub(crate) stream: &'a StreamName,
    /// The lowest revision to examine.
    pub(crate) from: u64,
    /// The highest revision to examine.
    pub(crate) to: u64,
    /// The last position that may be read.
    pub(crate) head: u64,
    /// What its metadata hides.
    pub(crate) visible: Visible,
    /// The bounds of the page.
    pub(crate) limit: PageLimit,
}

/// A page of a stream.
pub(crate) struct StreamScanned {
    /// The visible events.
    pub(crate) events: Vec<RecordedEvent>,
    /// The revision last examined; none when nothing was.
    pub(crate) examined: Option<u64>,
    /// Whether nothing is left to examine.
    pub(crate) is_complete: bool,
}

/// Reads a page of a stream, upward or downward.
pub(crate) fn scan_stream(
    shared: &Shared,
    engine: &Engine,
    scan: &StreamScan<'_>,
    is_upward: bool,
) -> Result<StreamScanned, ReadError> {
    let mut page = StreamScanned { events: Vec::new(), examined: None, is_complete: true };
    let from = scan.from.max(scan.visible.first);
    let to = scan.to.min(Revision::MAX.get() - 1);
    if from > to {
        return Ok(page);
    }
    let mut entries = engine.stream_entries(scan.stream.as_str(), from, to);
    let next = |entries: &mut IndexEntries| if is_upward { entries.next() } else { entries.next_back() };
    let mut block: Option<Block> = None;
    let (mut size, mut examined) = (0, 0);
    while let Some(placed) = next(&mut entries).transpose()? {
        if placed.position > scan.head {
            if is_upward {
                break;
            }
            continue;
        }
        if is_full(page.events.len(), size, scan.limit) || examined >= PAGE_EXAMINED_MAX {
            page.is_complete = false;
            break;
        }
        examined += 1;
        page.examined = Some(placed.revision);
        let event = read_placed(shared, engine, placed, &mut block)?;
        if event.stream() != scan.stream.as_str() || event.revision().get() != placed.revision {
            return Err(ReadError::Damaged {
                place: format!("index/{}/{}", scan.stream, placed.revision),
                reason: format!(
                    "position {} holds revision {} of {}",
                    placed.position,
                    event.revision(),
                    event.stream()
                ),
            });
        }
        if event.created() >= scan.visible.since {
            size += event.size();
            page.events.push(event);
        }
    }
    Ok(page)
}

/// Reads one event; remembers the block for the next one, which often lies there too.
fn read_placed(
    shared: &Shared,
    engine: &Engine,
    placed: Placed,
    block: &mut Option<Block>,
) -> Result<RecordedEvent, ReadError> {
    match block {
        Some(block) if block.holds(placed.position) => block.event(placed.position),
        _ => block.insert(shared.block_holding(engine, placed.position)?).event(placed.position),
    }
}
