//! Owns the memory of recently recorded event ids: how an append without an exact expected revision is found repeated.
//!
//! It is bounded by count and not stored: opening a log fills it again from the last events, so a writer that repeats its
//! append after a crash is recognised unless more than [`IDS_MAX`] events were recorded in between. Appends with an exact
//! expected revision do not need it; they are compared with the stored events themselves.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use uuid::Uuid;

use crate::engine::Placed;
use crate::options::IDS_MAX;

/// An id in a stream. The stream counts by its hash: for a mistake two streams with equal hashes must share an id.
type Key = (u64, u128);

/// The memory.
#[derive(Default)]
pub(crate) struct RecentIds {
    hasher: RandomState,
    places: HashMap<Key, Placed>,
    order: VecDeque<Key>,
}

impl RecentIds {
    /// Remembers where an event lies, and forgets the oldest when there are too many.
    pub(crate) fn remember(&mut self, stream: &str, id: Uuid, placed: Placed) {
        let key = self.key(stream, id);
        if self.places.insert(key, placed).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    /// Where the event with this id lies in the stream, if it is remembered.
    pub(crate) fn find(&self, stream: &str, id: Uuid) -> Option<Placed> {
        self.places.get(&self.key(stream, id)).copied()
    }

    /// How many events are remembered.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    fn key(&self, stream: &str, id: Uuid) -> Key {
        (self.hasher.hash_one(stream), id.as_u128())
    }
}
