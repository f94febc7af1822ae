//! Owns what is parked now: the fold of the connector's parked stream.
//!
//! Keys are made anew from the events each time, by the settings that hold then. What is parked thus keeps its meaning
//! whatever becomes of `ordering`, `orderingKey` and `lanes`: records of one key are in the order of the log, and a record
//! that comes later follows those it must not overtake.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;

use forebay_event::{Position, RecordedEvent, Revision, StreamName};
use forebay_store::{Direction, EventStore, PageLimit, ReadError, ReadStream, StreamPoint};
use serde::{Deserialize, Serialize};

use super::stored::{EditedBody, Envelope, ErrorBody, Happened, PART, ParkedBody};
use super::stream::Place;
use crate::pipeline::key::{Key, Keying};
use crate::pipeline::view::EventView;

/// Events read at once when the stream is looked up.
const PAGE_EVENTS: usize = 500;
/// What a parked record counts for besides its payload, in bytes: what is kept about it in memory.
const RECORD_OVERHEAD_BYTES: u64 = 512;

/// The largest body that is read from parts: four times what the largest event takes as base64.
const BODY_BYTES_MAX: usize = 96 << 20;

/// How much is parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedCount {
    /// Keys with parked records.
    pub keys: u64,
    /// Parked records.
    pub records: u64,
    /// Their bytes: data, metadata, what a transform or an edit made of them, and 512 bytes for each.
    pub bytes: u64,
}

/// A record that is parked.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Parked {
    /// The revision of the event that parked it.
    pub(in crate::pipeline) number: Revision,
    /// Where it came from.
    pub(in crate::pipeline) position: Position,
    /// What it counts for.
    pub(in crate::pipeline) bytes: u64,
    /// The number that targets know it by, when that is not made from its own.
    pub(in crate::pipeline) known_as: Option<u64>,
    pub(super) place: Place,
    /// Where it got another payload, and what that counts for.
    pub(super) edited: Option<(Place, u64)>,
    pub(super) attempts: u32,
    pub(super) error: Option<ErrorBody>,
    pub(super) parked_at: String,
}

/// A key that is to be replayed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct ReplayOrder {
    pub(in crate::pipeline) key: Key,
    /// At most so many records in a second.
    pub(in crate::pipeline) records_per_s: Option<u32>,
    /// The number of the last record that was parked when it was ordered: up to it the rate holds.
    pub(in crate::pipeline) up_to: Option<u64>,
    /// A record got through since it was ordered.
    pub(in crate::pipeline) is_probed: bool,
}

/// A key and its records.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) text: String,
    /// By position in the log, which is their order.
    pub(super) records: BTreeMap<Position, Parked>,
    pub(super) replay: Option<ReplayOrder>,
}

/// What is parked in a stream, as far as it was read.
#[derive(Debug)]
pub(super) struct Index {
    keying: Keying,
    lines: HashMap<Key, Line>,
    /// Ordered, so that the oldest is at hand.
    numbers: BTreeMap<u64, (Key, Position)>,
    /// Where records came from that were replayed or dropped.
    done: HashSet<Position>,
    /// Keys that had records parked while keys were made as now: all of them up to there is settled, as a record is
    /// parked only when everything before it of its key is.
    settled: HashMap<Key, Position>,
    /// What is settled is looked up once, when a run begins.
    is_open: bool,
    parts: Vec<u8>,
    count: ParkedCount,
    epoch: u64,
    /// The last revision that was taken in.
    last: Option<Revision>,
    events_read: u64,
}

impl Index {
    pub(super) fn new(keying: Keying) -> Self {
        Self {
            keying,
            lines: HashMap::new(),
            numbers: BTreeMap::new(),
            done: HashSet::new(),
            settled: HashMap::new(),
            is_open: false,
            parts: Vec::new(),
            count: ParkedCount::default(),
            epoch: 0,
            last: None,
            events_read: 0,
        }
    }

    /// Reads a stream from its beginning.
    pub(super) async fn read(store: &dyn EventStore, stream: &StreamName, keying: Keying) -> Result<Self, ReadError> {
        let mut index = Self::new(keying);
        let mut from = StreamPoint::Start;
        loop {
            let (direction, limit) = (Direction::Forward, PageLimit::events(PAGE_EVENTS));
            let page = match store.read_stream(ReadStream { stream: stream.clone(), direction, from, limit }).await {
                Ok(page) => page,
                Err(ReadError::StreamNotFound { .. } | ReadError::StreamDeleted { .. }) => return Ok(index),
                Err(error) => return Err(error),
            };
            for event in &page.events {
                index.take_in(event)?;
            }
            index.last = index.last.max(Some(page.last_revision));
            match page.next {
                Some(next) => from = StreamPoint::At(next),
                None => return Ok(index),
            }
        }
    }

    fn take_in(&mut self, event: &RecordedEvent) -> Result<(), ReadError> {
        let damaged = |reason: String| ReadError::Damaged {
            place: format!("{} revision {}", event.stream(), event.revision()),
            reason,
        };
        self.events_read += 1;
        if event.event_type() == PART {
            self.passed(event.revision());
            self.parts.extend_from_slice(event.data_slice());
            if self.parts.len() > BODY_BYTES_MAX {
                return Err(damaged(format!("more than {BODY_BYTES_MAX} bytes stand in parts")));
            }
            return Ok(());
        }
        let parts = mem::take(&mut self.parts);
        let read = Happened::read(event, &parts).map_err(|error| damaged(error.to_string()))?;
        let Some((envelope, happened)) = read else { return Ok(()) };
        let taken = self.apply(event.revision(), &envelope, &happened);
        if taken { Ok(()) } else { Err(damaged("it does not hold the event that was parked".to_owned())) }
    }

    /// Notes that an event stands there.
    pub(super) fn passed(&mut self, at: Revision) {
        self.last = self.last.max(Some(at));
    }

    /// Takes in what stands at a revision; false when it is a parked record that does not hold its event.
    pub(super) fn apply(&mut self, at: Revision, envelope: &Envelope, happened: &Happened) -> bool {
        self.passed(at);
        self.epoch = self.epoch.max(envelope.epoch);
        match happened {
            Happened::Parked(body) => return self.park(at, envelope, body),
            Happened::Replayed(body) => {
                for number in &body.numbers {
                    if let Some(replay) = self.remove(*number).and_then(|key| self.lines.get_mut(&key)?.replay.as_mut())
                    {
                        replay.is_probed = true;
                    }
                }
            }
            Happened::Dropped(body) => {
                for number in &body.numbers {
                    self.remove(*number);
                }
            }
            Happened::Refused(body) => {
                if let Some(parked) = self.record_mut(body.number) {
                    parked.attempts = body.attempts;
                    parked.error = Some(body.error.clone());
                }
            }
            Happened::Edited(body) => self.edit(Place { at, parts: envelope.parts }, body),
            Happened::ReplayBegan(body) if body.keying == self.keying.layout() => {
                if let Some((key, line)) = self.lines.iter_mut().find(|(_, line)| line.text == body.key) {
                    let (key, records_per_s, up_to) = (*key, body.records_per_s, body.up_to);
                    line.replay = Some(ReplayOrder { key, records_per_s, up_to, is_probed: false });
                }
            }
            Happened::ReplayBegan(_) => {}
            Happened::ReplayEnded(body) => {
                if let Some(line) = self.lines.values_mut().find(|line| line.text == body.key) {
                    line.replay = None;
                }
            }
            Happened::Claimed(body) => {
                if body.forgets {
                    self.done.clear();
                    self.settled.clear();
                }
            }
        }
        true
    }

    fn park(&mut self, at: Revision, envelope: &Envelope, body: &ParkedBody) -> bool {
        let Some(event) = body.original() else { return false };
        let mut view = EventView::new(&event);
        let key = self.keying.key(&mut view);
        let line = self.lines.entry(key).or_default();
        if line.text.is_empty() {
            line.text = self.keying.shown(&mut view);
        }
        let bytes = bytes_of(&event, body);
        if !self.is_open && envelope.keying.as_ref() == Some(&self.keying.layout()) {
            let settled = self.settled.entry(key).or_insert(event.position());
            *settled = event.position().max(*settled);
        }
        let parked = Parked {
            number: at,
            position: event.position(),
            bytes,
            known_as: body.known_as,
            place: Place { at, parts: envelope.parts },
            edited: None,
            attempts: body.attempts,
            error: body.error.clone(),
            parked_at: envelope.timestamp.clone(),
        };
        if let Some(before) = line.records.insert(event.position(), parked) {
            self.numbers.remove(&before.number.get());
            self.count.bytes -= before.bytes;
            self.count.records -= 1;
        }
        self.numbers.insert(at.get(), (key, event.position()));
        self.done.remove(&event.position());
        self.count.bytes += bytes;
        self.count.records += 1;
        self.count.keys = self.lines.len() as u64;
        true
    }

    fn edit(&mut self, place: Place, body: &EditedBody) {
        let bytes = body.bytes();
        let Some(parked) = self.record_mut(body.number) else { return };
        let before = parked.edited.replace((place, bytes)).map_or(0, |(_, bytes)| bytes);
        parked.bytes = parked.bytes - before + bytes;
        self.count.bytes = self.count.bytes - before + bytes;
    }

    fn remove(&mut self, number: u64) -> Option<Key> {
        let (key, position) = self.numbers.remove(&number)?;
        let line = self.lines.get_mut(&key)?;
        if let Some(parked) = line.records.remove(&position) {
            self.count.bytes -= parked.bytes;
            self.count.records -= 1;
            if !self.is_open {
                self.done.insert(position);
            }
        }
        if line.records.is_empty() {
            self.lines.remove(&key);
        }
        self.count.keys = self.lines.len() as u64;
        Some(key)
    }

    fn record_mut(&mut self, number: u64) -> Option<&mut Parked> {
        let (key, position) = self.numbers.get(&number)?;
        self.lines.get_mut(key)?.records.get_mut(position)
    }

    /// What would be parked after this.
    pub(super) fn count_after(&self, happened: &Happened) -> ParkedCount {
        let mut count = self.count;
        match happened {
            Happened::Parked(body) => {
                let Some(event) = body.original() else { return count };
                let key = self.keying.key(&mut EventView::new(&event));
                count.keys += u64::from(!self.lines.contains_key(&key));
                count.records += 1;
                count.bytes += bytes_of(&event, body);
            }
            Happened::Replayed(body) | Happened::Dropped(body) => {
                let mut gone: HashMap<Key, usize> = HashMap::new();
                for (key, position) in body.numbers.iter().filter_map(|number| self.numbers.get(number)) {
                    *gone.entry(*key).or_default() += 1;
                    let parked = self.lines.get(key).and_then(|line| line.records.get(position));
                    count.bytes -= parked.map_or(0, |parked| parked.bytes);
                    count.records -= 1;
                }
                let is_whole = |key: &Key, gone: usize| self.lines.get(key).is_some_and(|l| l.records.len() == gone);
                count.keys -= gone.iter().filter(|(key, gone)| is_whole(key, **gone)).count() as u64;
            }
            Happened::Edited(body) => {
                let parked = self.numbers.get(&body.number).and_then(|(key, at)| self.lines.get(key)?.records.get(at));
                if let Some(parked) = parked {
                    count.bytes += body.bytes();
                    count.bytes -= parked.edited.map_or(0, |(_, bytes)| bytes);
                }
            }
            Happened::Refused(_) | Happened::ReplayBegan(_) | Happened::ReplayEnded(_) | Happened::Claimed(_) => {}
        }
        count
    }

    pub(super) fn count(&self) -> ParkedCount {
        self.count
    }

    /// The highest epoch that wrote.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn last(&self) -> Option<Revision> {
        self.last
    }

    /// How many events were read to know this.
    pub(super) fn events_read(&self) -> u64 {
        self.events_read
    }

    pub(super) fn keying(&self) -> &Keying {
        &self.keying
    }

    /// Where records came from that were replayed or dropped before this run.
    pub(super) fn done(&self) -> &HashSet<Position> {
        &self.done
    }

    /// Forgets what is done at or below the checkpoint: nobody reads that again.
    pub(super) fn settled_up_to(&mut self, mark: Option<Position>) {
        self.done.retain(|position| mark.is_none_or(|mark| *position > mark));
        self.settled.retain(|_, position| mark.is_none_or(|mark| *position > mark));
    }

    /// Hands over what is settled by what stands here; from now on the run that has it knows more.
    pub(super) fn opened(&mut self) -> (HashSet<Position>, HashMap<Key, Position>) {
        self.is_open = true;
        (mem::take(&mut self.done), mem::take(&mut self.settled))
    }

    pub(super) fn lines(&self) -> &HashMap<Key, Line> {
        &self.lines
    }

    pub(super) fn line(&self, key: Key) -> Option<&Line> {
        self.lines.get(&key)
    }

    /// What is to be replayed to its end, in the order of the first records: a run that is repeated does the same.
    pub(super) fn replays(&self) -> Vec<ReplayOrder> {
        let first = |line: &Line| Some((*line.records.keys().next()?, line.replay?));
        let mut replays: Vec<_> = self.lines.values().filter_map(first).collect();
        replays.sort_unstable_by_key(|(first, _)| *first);
        replays.into_iter().map(|(_, replay)| replay).collect()
    }

    /// The key that people call so.
    pub(super) fn key_of(&self, text: &str) -> Option<Key> {
        let direct = Key::of(text);
        if self.lines.get(&direct).is_some_and(|line| line.text == text) {
            return Some(direct);
        }
        self.lines.iter().find(|(_, line)| line.text == text).map(|(key, _)| *key)
    }

    pub(super) fn holds(&self, position: Position, key: Key) -> bool {
        self.lines.get(&key).is_some_and(|line| line.records.contains_key(&position))
    }

    /// The first revision that what is parked still needs.
    pub(super) fn first_needed(&self) -> Option<Revision> {
        let (_, (key, position)) = self.numbers.first_key_value()?;
        Some(self.lines.get(key)?.records.get(position)?.place.first())
    }

    /// The lowest number that is parked.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.numbers.keys().next().copied()
    }

    /// The highest number of a key.
    pub(super) fn newest_of(&self, key: Key) -> Option<u64> {
        self.lines.get(&key)?.records.values().map(|parked| parked.number.get()).max()
    }
}

fn bytes_of(event: &RecordedEvent, body: &ParkedBody) -> u64 {
    let transformed = body.transformed.as_ref().map_or(0, |transformed| transformed.data.len());
    (event.size() + transformed) as u64 + RECORD_OVERHEAD_BYTES
}
