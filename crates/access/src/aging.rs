//! Owns remembering what was read from the store: so many entries, for so long, and nothing that a change has overtaken.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

/// Entries by key. One is answered until it is forgotten or too old.
pub(crate) struct Aging<K, V> {
    state: Mutex<State<K, V>>,
    age_max: Duration,
    entries_max: usize,
}

struct State<K, V> {
    entries: HashMap<K, (V, Duration)>,
    forgotten: u64,
}

/// What had been forgotten when a read began. What it finds is remembered only when nothing more has been since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

impl<K: Eq + Hash, V: Clone> Aging<K, V> {
    /// Remembers at most so many entries for at most so long.
    pub(crate) fn new(entries_max: usize, age_max: Duration) -> Self {
        Self { state: Mutex::new(State { entries: HashMap::new(), forgotten: 0 }), age_max, entries_max }
    }

    /// The entry, if it is there and not too old.
    pub(crate) fn get(&self, key: &K, now: Duration) -> Option<V> {
        let state = self.state.lock();
        let (value, since) = state.entries.get(key)?;
        (now.saturating_sub(*since) <= self.age_max).then(|| value.clone())
    }

    /// To be taken before the store is read.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.state.lock().forgotten)
    }

    /// Remembers what was read, unless something was forgotten while it was.
    pub(crate) fn put(&self, ticket: Ticket, key: K, value: V, now: Duration) {
        let mut state = self.state.lock();
        if state.forgotten != ticket.0 {
            return;
        }
        if state.entries.len() >= self.entries_max {
            let age_max = self.age_max;
            state.entries.retain(|_, (_, since)| now.saturating_sub(*since) <= age_max);
            if state.entries.len() >= self.entries_max {
                // Reading anew costs little; choosing whom to forget would cost more.
                state.entries.clear();
            }
        }
        state.entries.insert(key, (value, now));
    }

    /// Forgets an entry, and whatever is being read.
    pub(crate) fn forget(&self, key: &K) {
        let mut state = self.state.lock();
        state.forgotten += 1;
        state.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    #[test]
    fn a_read_that_a_change_has_overtaken_is_not_remembered() {
        let cache = Aging::new(2, AGE);
        let ticket = cache.ticket();
        cache.put(ticket, "a", 1, Duration::ZERO);
        assert_eq!(cache.get(&"a", AGE), Some(1));
        assert_eq!(cache.get(&"a", AGE + Duration::from_nanos(1)), None);
        let stale = cache.ticket();
        cache.forget(&"a");
        cache.put(stale, "a", 2, Duration::ZERO);
        assert_eq!(cache.get(&"a", Duration::ZERO), None);
    }

    #[test]
    fn entries_are_bounded() {
        let cache = Aging::new(3, AGE);
        for number in 0..100 {
            cache.put(cache.ticket(), number, (), Duration::ZERO);
            assert!(cache.state.lock().entries.len() <= 3);
            assert!(cache.get(&number, Duration::ZERO).is_some());
        }
    }
}
