//! Owns the events that are sent: which streams, in which order, what they hold. One seed makes the same load always.

use std::fmt::Write as _;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Events in the log before a connector starts.
    pub(crate) events: u32,
    /// Streams they are spread over, by Zipf's law with exponent 1.
    pub(crate) streams: u32,
    /// How often each case is run; the median counts.
    pub(crate) rounds: usize,
    /// Events appended one by one while the connector is live, for the latency.
    pub(crate) live_events: u32,
    /// How many of them are appended in a second.
    pub(crate) live_rate: u32,
}

/// What `cargo xtask bench` measures.
pub(crate) const FULL: Plan = Plan { events: 200_000, streams: 10_000, rounds: 3, live_events: 2_000, live_rate: 500 };

/// What `cargo xtask bench --quick` measures: enough to see that everything works, not enough to quote.
pub(crate) const QUICK: Plan = Plan { events: 20_000, streams: 1_000, rounds: 1, live_events: 500, live_rate: 500 };

const SEED: u64 = 0x00f0_7eba_45ee_d001;

/// Bytes of an event's data, about.
const DATA_SIZE: usize = 500;

/// The text that stands before an event's place in its data; the receiver looks for it.
pub(crate) const MARK: &str = "\"at\":\"";

/// One event: the number of its stream, and its own number in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) stream: u32,
    pub(crate) revision: u32,
}

/// The events of a plan, in the order they are appended.
pub(crate) fn places(plan: &Plan) -> Vec<Place> {
    let mut weights = Vec::with_capacity(plan.streams as usize);
    let mut sum = 0.0;
    for rank in 1..=plan.streams {
        sum += 1.0 / f64::from(rank);
        weights.push(sum);
    }
    let mut next = vec![0_u32; plan.streams as usize];
    let mut random = Random(SEED);
    let mut places = Vec::with_capacity(plan.events as usize);
    for _ in 0..plan.events {
        let drawn = random.fraction() * sum;
        let stream = weights.partition_point(|weight| *weight < drawn).min(weights.len() - 1);
        let Some(revision) = next.get_mut(stream) else { continue };
        places.push(Place { stream: u32::try_from(stream).unwrap_or(u32::MAX), revision: *revision });
        *revision += 1;
    }
    places
}

/// The name of a stream.
pub(crate) fn stream_name(stream: u32) -> String {
    format!("order-{stream}")
}

/// The data of an event: where it belongs, when it was made, and filling that differs from event to event.
pub(crate) fn data(place: Place, now_us: u64) -> String {
    let mut random = Random(SEED ^ (u64::from(place.stream) << 32) ^ u64::from(place.revision));
    let mut text = String::with_capacity(DATA_SIZE + 32);
    let Place { stream, revision } = place;
    write!(text, "{{{MARK}{stream}/{revision}/{now_us}\",\"lines\":[").expect("a String takes every write");
    while text.len() < DATA_SIZE - 40 {
        let (article, count) = (random.next() % 1_000_000, random.next() % 9 + 1);
        write!(text, "{{\"article\":\"A-{article:06}\",\"count\":{count}}},").expect("a String takes every write");
    }
    text.push_str("{\"article\":\"last\"}]}");
    text
}

/// A generator that is the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1, without 1.
    fn fraction(&mut self) -> f64 {
        // 32 bits are exact in a f64.
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(0)) / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_the_same_every_time_and_dense_in_each_stream() {
        let places_once = places(&QUICK);
        assert_eq!(places_once, places(&QUICK));
        let mut next = vec![0; QUICK.streams as usize];
        for place in &places_once {
            assert_eq!(place.revision, next[place.stream as usize]);
            next[place.stream as usize] += 1;
        }
        assert!(next[0] > next[10] && next[10] > next[500], "the first streams are the busiest");
    }

    #[test]
    fn data_is_json_of_the_size_that_is_named() {
        let text = data(Place { stream: 7, revision: 3 }, 12);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["at"], "7/3/12");
        assert!((450..600).contains(&text.len()), "{}", text.len());
    }
}
