//! Owns what is settled: the low-water mark and the settled ranges above it.

use std::collections::VecDeque;

use forebay_event::{Position, RecordedEvent, Revision};

/// A checkpoint keeps at most so many ranges; what lies above them is delivered again after a restart.
pub(super) const RANGES_MAX: usize = 2_048;
/// Settled entries behind an unsettled one are dropped once there are so many.
const SETTLED_ENTRIES_MAX: usize = 1_024;

/// A place that was seen: the position of an event or of a notice of the store, never a computed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// In the log.
    pub(super) position: Position,
    /// In its stream, when this is an event of the one stream that is read.
    pub(super) revision: Option<Revision>,
}

/// A record in flight.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Its number in the order of reading.
    pub(super) seq: u64,
    /// The last place that was seen before it.
    pub(super) before: Option<Mark>,
    /// Where it came from.
    pub(super) event: RecordedEvent,
}

/// Ranges of positions that are settled: each above its first position, up to and including its second; in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SettledRanges(Vec<(Position, Position)>);

impl SettledRanges {
    /// Takes ranges that are in order and do not overlap; others are left out, which only repeats records.
    pub(super) fn new(ranges: impl IntoIterator<Item = (Position, Position)>) -> Self {
        let mut kept: Vec<(Position, Position)> = Vec::new();
        for (above, upto) in ranges {
            if above < upto && kept.last().is_none_or(|(_, last)| *last <= above) {
                kept.push((above, upto));
            }
        }
        Self(kept)
    }

    /// Whether the event at this position is settled.
    pub(super) fn contains(&self, position: Position) -> bool {
        let index = self.0.partition_point(|(_, upto)| *upto < position);
        self.0.get(index).is_some_and(|(above, _)| *above < position)
    }

    /// The ranges, in order.
    pub(super) fn as_slice(&self) -> &[(Position, Position)] {
        &self.0
    }
}

/// Follows every record from reading to settling.
///
/// ```text
///  position   10   11   12   13   14   15   16   17
///  state      set  set  fly  set  set  fly  fly  set
///                  └ low-water   └─ range ─┘     └ range (16, 17]
///                    mark 11       (12, 14]
/// ```
///
/// Only what is in flight counts, each record with the last place seen before it; what lies between two is settled.
#[derive(Debug)]
pub(super) struct Tracker {
    /// In the order of reading, from the first unsettled record on.
    entries: VecDeque<Entry>,
    settled_entries: usize,
    seen: Option<Mark>,
    /// The last entry that left at the front: where the coordinates of the low-water mark come from.
    left: Option<RecordedEvent>,
    /// What an earlier run had settled beyond what this one has read.
    inherited: SettledRanges,
}

#[derive(Debug)]
struct Entry {
    slot: Slot,
    settled: bool,
}

impl Tracker {
    /// Begins at a place, with what an earlier run had settled above it.
    pub(super) fn new(start: Option<Mark>, inherited: SettledRanges) -> Self {
        Self { entries: VecDeque::new(), settled_entries: 0, seen: start, left: None, inherited }
    }

    /// Takes records that were read, in order, and the last place seen with them.
    pub(super) fn read(&mut self, slots: Vec<Slot>, seen: Option<Mark>) {
        self.entries.extend(slots.into_iter().map(|slot| Entry { slot, settled: false }));
        if seen.is_some() {
            self.seen = seen;
        }
    }

    /// Settles a record; answers whether it was in flight.
    pub(super) fn settle(&mut self, seq: u64) -> bool {
        let Some(index) = self.index_of(seq) else { return false };
        match self.entries.get_mut(index) {
            Some(entry) if !entry.settled => entry.settled = true,
            _ => return false,
        }
        self.settled_entries += 1;
        if index > 0 {
            self.drop_settled();
            return true;
        }
        while self.entries.front().is_some_and(|entry| entry.settled) {
            self.left = self.entries.pop_front().map(|entry| entry.slot.event);
            self.settled_entries -= 1;
        }
        true
    }

    /// How many records are in flight.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.entries.len() - self.settled_entries
    }

    /// The low-water mark: everything up to and including it is settled; none before the first place was seen.
    pub(super) fn low_water(&self) -> Option<Mark> {
        self.entries.front().map_or(self.seen, |entry| entry.slot.before)
    }

    /// The record at the low-water mark, when it is known.
    pub(super) fn low_water_event(&self) -> Option<&RecordedEvent> {
        let position = self.low_water()?.position;
        self.left.as_ref().filter(|event| event.position() == position)
    }

    /// When the first record in flight was created.
    pub(super) fn oldest_created(&self) -> Option<forebay_event::Timestamp> {
        self.entries.front().map(|entry| entry.slot.event.created())
    }

    /// The last place that was seen.
    pub(super) fn seen(&self) -> Option<Mark> {
        self.seen
    }

    /// The settled ranges above the low-water mark; at most [`RANGES_MAX`].
    pub(super) fn settled_ranges(&self) -> SettledRanges {
        let mut ranges = Vec::new();
        let mut above: Option<Position> = None;
        for slot in self.entries.iter().filter(|entry| !entry.settled).map(|entry| &entry.slot) {
            if let (Some(above), Some(before)) = (above, slot.before)
                && before.position > above
            {
                ranges.push((above, before.position));
                if ranges.len() == RANGES_MAX {
                    return SettledRanges(ranges);
                }
            }
            above = Some(slot.event.position());
        }
        if let (Some(above), Some(seen)) = (above, self.seen)
            && seen.position > above
        {
            ranges.push((above, seen.position));
        }
        for (above, upto) in self.inherited.as_slice() {
            let above = self.seen.map_or(*above, |seen| seen.position.max(*above));
            if *upto > above && ranges.len() < RANGES_MAX {
                ranges.push((above, *upto));
            }
        }
        SettledRanges(ranges)
    }

    fn index_of(&self, seq: u64) -> Option<usize> {
        let first = self.entries.front()?.slot.seq;
        let guess = usize::try_from(seq.checked_sub(first)?).ok()?;
        if self.entries.get(guess).is_some_and(|entry| entry.slot.seq == seq) {
            return Some(guess);
        }
        self.entries.binary_search_by_key(&seq, |entry| entry.slot.seq).ok()
    }

    fn drop_settled(&mut self) {
        if self.settled_entries > SETTLED_ENTRIES_MAX && self.settled_entries > self.entries.len() / 2 {
            self.entries.retain(|entry| !entry.settled);
            self.settled_entries = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::event_at;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn mark(position: u64) -> Mark {
        Mark { position: Position::new(position), revision: None }
    }

    fn pair(above: u64, upto: u64) -> (Position, Position) {
        (Position::new(above), Position::new(upto))
    }

    fn slot(seq: u64, position: u64, before: Option<u64>) -> Slot {
        Slot { seq, before: before.map(mark), event: event_at(position) }
    }

    #[test]
    fn the_mark_never_passes_what_is_in_flight() {
        let mut tracker = Tracker::new(Some(mark(9)), SettledRanges::default());
        let slots = vec![slot(0, 12, Some(11)), slot(1, 15, Some(14)), slot(2, 16, Some(15))];
        tracker.read(slots, Some(mark(17)));
        assert_eq!(tracker.low_water(), Some(mark(11)));
        assert_eq!(tracker.settled_ranges().as_slice(), [pair(12, 14), pair(16, 17)]);
        assert!(tracker.settle(1) && !tracker.settle(1));
        assert_eq!(tracker.settled_ranges().as_slice(), [pair(12, 15), pair(16, 17)]);
        assert!(tracker.settle(0));
        assert_eq!(tracker.low_water(), Some(mark(15)));
        assert_eq!(tracker.low_water_event().map(RecordedEvent::position), Some(Position::new(15)));
        assert!(tracker.settle(2));
        assert_eq!((tracker.low_water(), tracker.in_flight()), (Some(mark(17)), 0));
    }

    #[test]
    fn what_an_earlier_run_settled_is_kept_until_it_is_read() {
        let inherited = SettledRanges::new([pair(12, 14), pair(20, 30)]);
        let mut tracker = Tracker::new(Some(mark(10)), inherited);
        tracker.read(vec![slot(0, 11, Some(10))], Some(mark(13)));
        assert_eq!(tracker.settled_ranges().as_slice(), [pair(11, 13), pair(13, 14), pair(20, 30)]);
        tracker.read(vec![], Some(mark(40)));
        assert_eq!(tracker.settled_ranges().as_slice(), [pair(11, 40)]);
    }

    #[test]
    fn ranges_say_what_they_hold() {
        let ranges = SettledRanges::new([pair(2, 4), pair(4, 6), pair(5, 9), pair(12, 11), pair(20, 30)]);
        assert_eq!(ranges.as_slice(), [pair(2, 4), pair(4, 6), pair(20, 30)]);
        let held = (0..40).filter(|position| ranges.contains(Position::new(*position))).collect::<Vec<_>>();
        assert_eq!(held, [3, 4, 5, 6].into_iter().chain(21..=30).collect::<Vec<_>>());
    }

    /// A set of unsettled positions, and what was seen.
    #[derive(Default)]
    struct Model {
        unsettled: BTreeSet<u64>,
        settled: BTreeSet<u64>,
        seen: u64,
    }

    impl Model {
        fn low_water(&self) -> u64 {
            match self.unsettled.first() {
                Some(first) => self.settled.range(..first).next_back().copied().unwrap_or(0),
                None => self.seen,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 200, ..ProptestConfig::default() })]

        #[test]
        fn tracker_agrees_with_sets(choices in proptest::collection::vec(any::<u32>(), 10_000)) {
            let (mut tracker, mut model) = (Tracker::new(Some(mark(0)), SettledRanges::default()), Model::default());
            let (mut next_seq, mut in_flight) = (0u64, Vec::<(u64, u64)>::new());
            for (step, choice) in choices.iter().enumerate() {
                match choice % 8 {
                    0..=2 => {
                        let position = model.seen + 1 + u64::from(choice / 8 % 3);
                        let before = Some(mark(model.seen));
                        let slot = Slot { seq: next_seq, before, event: event_at(position) };
                        tracker.read(vec![slot], Some(mark(position)));
                        model.unsettled.insert(position);
                        model.seen = position;
                        in_flight.push((next_seq, position));
                        next_seq += 1;
                    }
                    3 => {
                        model.seen += 1 + u64::from(choice / 8 % 5);
                        model.settled.insert(model.seen);
                        tracker.read(vec![], Some(mark(model.seen)));
                    }
                    _ if !in_flight.is_empty() => {
                        let reach = if choice % 2 == 0 { in_flight.len() } else { in_flight.len().min(4) };
                        let (seq, position) = in_flight.remove(*choice as usize / 8 % reach);
                        prop_assert!(tracker.settle(seq));
                        model.unsettled.remove(&position);
                        model.settled.insert(position);
                    }
                    _ => {}
                }
                prop_assert_eq!(tracker.low_water(), Some(mark(model.low_water())));
                prop_assert_eq!(tracker.in_flight(), model.unsettled.len());
                if step % 997 == 0 {
                    let ranges = tracker.settled_ranges();
                    let exact = ranges.as_slice().len() < RANGES_MAX;
                    for position in &model.unsettled {
                        prop_assert!(!ranges.contains(Position::new(*position)));
                    }
                    for position in model.settled.range(model.low_water() + 1..) {
                        prop_assert!(!exact || ranges.contains(Position::new(*position)));
                    }
                }
            }
        }
    }
}
