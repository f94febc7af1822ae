//! What is appended: every event is known by its position, so that the checker needs nothing from the log.

use forebay_event::{ExpectedRevision, ProposedEvent};
use forebay_store::AppendRequest;
use uuid::Uuid;

use crate::tests::fixture::stream;

const STREAMS: u64 = 7;
const APPENDS: u64 = 110;

/// One event, as it must be read back.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) id: Uuid,
    pub(super) data: Vec<u8>,
}

/// Everything that will be appended, in order.
pub(super) struct Workload {
    /// The event at position n + 1.
    pub(super) events: Vec<Known>,
    /// The last position of each append, the empty log first: each append is there whole or not at all.
    pub(super) ends: Vec<u64>,
}

impl Workload {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut workload = Self { events: Vec::new(), ends: vec![0] };
        let mut next = vec![0; usize::try_from(STREAMS).unwrap()];
        for _ in 0..APPENDS {
            let of = usize::try_from(random.below(STREAMS)).unwrap();
            // Most appends are small, some make several blocks, some of which lie apart from their keys.
            let count = if random.below(5) == 0 { 1 + random.below(24) } else { 1 + random.below(3) };
            for _ in 0..count {
                let size = 20 + random.below(if count > 3 { 1600 } else { 300 });
                let data = (0..size).map(|_| b'!' + u8::try_from(random.below(90)).unwrap()).collect();
                let id = Uuid::from_u64_pair(seed | 1, workload.events.len() as u64 + 1);
                let stream = format!("stream-{of}");
                workload.events.push(Known { stream, revision: next[of], id, data });
                next[of] += 1;
            }
            workload.ends.push(workload.events.len() as u64);
        }
        workload
    }

    /// The append of this number; 0 is the first.
    pub(super) fn append(&self, number: usize) -> AppendRequest {
        let of = |end: u64| usize::try_from(end).unwrap();
        let known = &self.events[of(self.ends[number])..of(self.ends[number + 1])];
        AppendRequest {
            stream: stream(&known[0].stream),
            expected: ExpectedRevision::Any,
            events: known.iter().map(|known| ProposedEvent::json(known.id, "Known", known.data.clone())).collect(),
        }
    }
}

/// Numbers from a seed (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub(super) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }
}
