//! Owns the events in the binary, and which of them must be delivered: computed here, without any connector.

use std::collections::BTreeMap;
use std::io::Cursor;

use serde::Deserialize;

use crate::failure::Failure;
use crate::streams::LineReader;

/// The events; `examples/quickstart/README.md` names their origin.
pub(super) const EVENTS: &str = include_str!("../../../../examples/quickstart/earthquakes.ndjson");
/// What the connector's filter lets pass.
pub(super) const MAGNITUDE_MIN: f64 = 3.0;

#[derive(Deserialize)]
struct Line {
    stream: String,
    data: Quake,
}

#[derive(Deserialize)]
struct Quake {
    mag: Option<f64>,
}

/// What the bundled events come to.
pub(super) struct Bundle {
    /// How many events there are.
    pub(super) events: u64,
    /// How many events each stream has.
    pub(super) streams: BTreeMap<String, u64>,
    /// Per stream the revisions that must be delivered, with their magnitudes.
    pub(super) expected: BTreeMap<String, BTreeMap<u64, f64>>,
}

impl Bundle {
    /// Reads the events and counts.
    pub(super) fn read() -> Result<Self, Failure> {
        let mut bundle = Self { events: 0, streams: BTreeMap::new(), expected: BTreeMap::new() };
        for (number, text) in (1u64..).zip(EVENTS.lines()) {
            let line: Line = serde_json::from_str(text).map_err(|error| {
                Failure::usage(format!("bundled line {number}"), error.to_string(), "an earthquake")
            })?;
            bundle.events += 1;
            let count = bundle.streams.entry(line.stream.clone()).or_default();
            if let Some(magnitude) = line.data.mag.filter(|magnitude| *magnitude >= MAGNITUDE_MIN) {
                bundle.expected.entry(line.stream).or_default().insert(*count, magnitude);
            }
            *count += 1;
        }
        Ok(bundle)
    }

    /// How many events must be delivered.
    pub(super) fn expected_count(&self) -> u64 {
        self.expected.values().map(|revisions| revisions.len() as u64).sum()
    }

    /// The lines whose events are not in the log yet; `there` says how many a stream has.
    pub(super) fn lines_missing(&self, there: &BTreeMap<String, u64>) -> LineReader {
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let mut missing = String::new();
        for text in EVENTS.lines() {
            let Ok(line) = serde_json::from_str::<Line>(text) else { continue };
            let have = there.get(&line.stream).copied().unwrap_or(0);
            let revision = seen.entry(line.stream).or_default();
            if *revision >= have {
                missing.push_str(text);
                missing.push('\n');
            }
            *revision += 1;
        }
        LineReader::new(Box::new(Cursor::new(missing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_the_documented_one() {
        let bundle = Bundle::read().unwrap();
        assert_eq!((bundle.events, bundle.streams.len(), bundle.expected_count()), (1707, 12, 217));
        assert_eq!(bundle.streams["quakes-ci"], 386);
        let mut all = bundle.lines_missing(&BTreeMap::new());
        let count = |reader: &mut LineReader| std::iter::from_fn(|| reader.next().unwrap()).count() as u64;
        assert_eq!(count(&mut all), 1707);
        assert_eq!(count(&mut bundle.lines_missing(&bundle.streams)), 0);
        let partly = BTreeMap::from([("quakes-us".to_owned(), 100)]);
        assert_eq!(count(&mut bundle.lines_missing(&partly)), 1607);
    }
}
