//! Owns the memory of recently recorded event ids: how an append without an exact expected revision is found repeated.
//!
//! It is bounded by count and not stored: opening a log fills it again from the last events, so a writer that repeats its
//! append after a crash is recognised unless more than [`IDS_MAX`] events were recorded in between. Appends with an exact
//! expected revision do not need it; they are compared with the stored events themselves.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use uuid::Uuid;

use crate::engine::Placed;
use crate::options::IDS_MAX;

/// The memory. It knows a stream and id by their hash only, so what it finds is to be compared with the stored event.
#[derive(Default)]
pub(crate) struct RecentIds {
    hasher: RandomState,
    places: HashMap<u64, Placed, BuildHasherDefault<AlreadyHashed>>,
    order: VecDeque<u64>,
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

    /// Where the event with this id may lie in the stream.
    pub(crate) fn find(&self, stream: &str, id: Uuid) -> Option<Placed> {
        self.places.get(&self.key(stream, id)).copied()
    }

    /// How many events are remembered.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    fn key(&self, stream: &str, id: Uuid) -> u64 {
        self.hasher.hash_one((stream, id.as_u128()))
    }
}

/// Takes keys that are hashes as they are.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
