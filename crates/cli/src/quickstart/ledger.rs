//! Owns what has arrived at the receiver, and whether that is right: order, loss, repeats, content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bundle::Bundle;
use crate::failure::Failure;

/// So many problems are told one by one.
const PROBLEMS_MAX: usize = 5;

/// One line of the receipts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Receipt {
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) magnitude: f64,
}

/// What has arrived. A receipt is in the file before it counts, so that it survives kill -9.
pub(super) struct Ledger {
    file: File,
    expected: BTreeMap<String, BTreeMap<u64, f64>>,
    bundled: BTreeMap<String, u64>,
    arrived: BTreeMap<String, BTreeSet<u64>>,
    count: u64,
    repeats: u64,
    problems: Vec<String>,
    problem_count: u64,
}

/// What the ledger comes to.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) delivered: u64,
    pub(super) streams: u64,
    pub(super) missing: u64,
    pub(super) repeats: u64,
    pub(super) problem_count: u64,
    pub(super) problems: Vec<String>,
}

impl Ledger {
    /// Reads the receipts that are there; a line that a crash has torn is cut off.
    pub(super) fn open(path: &Path, bundle: &Bundle) -> Result<Self, Failure> {
        let failed = |error| Failure::File { path: path.to_owned(), error };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.map_err(failed)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut ledger = Self {
            file,
            expected: bundle.expected.clone(),
            bundled: bundle.streams.clone(),
            arrived: BTreeMap::new(),
            count: 0,
            repeats: 0,
            problems: Vec::new(),
            problem_count: 0,
        };
        for line in text.get(..whole).unwrap_or_default().lines() {
            let receipt = serde_json::from_str(line).map_err(|error| failed(error.into()))?;
            ledger.count_in(&receipt);
        }
        Ok(ledger)
    }

    /// Writes a receipt and counts it; how many there are, and whether this one is a repeat.
    pub(super) fn receive(&mut self, receipt: &Receipt) -> std::io::Result<(u64, bool)> {
        let mut line = serde_json::to_vec(receipt)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        let repeated = self.count_in(receipt);
        Ok((self.count, repeated))
    }

    fn count_in(&mut self, receipt: &Receipt) -> bool {
        let Receipt { stream, revision, magnitude } = receipt;
        let arrived = self.arrived.entry(stream.clone()).or_default();
        let last = arrived.last().copied();
        let repeated = !arrived.insert(*revision);
        let of_bundle = self.bundled.get(stream).is_some_and(|count| revision < count);
        let expected = self.expected.get(stream);
        if repeated {
            self.repeats += 1;
        } else {
            self.count += 1;
            if last.is_some_and(|last| *revision < last) {
                self.problem(format!("{stream}@{revision} arrived behind {stream}@{}", last.unwrap_or_default()));
            } else if of_bundle {
                let skipped = expected.into_iter().flat_map(|all| all.range(..revision));
                let skipped = skipped.map(|(revision, _)| *revision).find(|r| last.is_none_or(|last| *r > last));
                if let Some(skipped) = skipped {
                    self.problem(format!("{stream}@{revision} arrived before {stream}@{skipped}"));
                }
            }
        }
        match self.expected.get(stream).and_then(|all| all.get(revision)) {
            Some(expected) if (expected - magnitude).abs() > f64::EPSILON => {
                self.problem(format!("{stream}@{revision} has magnitude {magnitude} instead of {expected}"));
            }
            None if of_bundle => self.problem(format!("{stream}@{revision} arrived though the filter drops it")),
            _ => {}
        }
        repeated
    }

    fn problem(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Notes that something arrived that cannot be told apart from others.
    pub(super) fn unreadable(&mut self, problem: &str) {
        self.problem(format!("a delivery cannot be read: {problem}"));
    }

    /// Whether all expected events have arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.missing() == 0
    }

    fn missing(&self) -> u64 {
        let there =
            |stream: &String, revision: &u64| self.arrived.get(stream).is_some_and(|all| all.contains(revision));
        let of_stream = |(stream, all): (&String, &BTreeMap<u64, f64>)| {
            all.keys().filter(|revision| !there(stream, revision)).count() as u64
        };
        self.expected.iter().map(of_stream).sum()
    }

    /// What it comes to by now.
    pub(super) fn check(&self) -> Checked {
        let of_bundle = |(stream, all): (&String, &BTreeSet<u64>)| {
            let bundled = self.bundled.get(stream).copied().unwrap_or(0);
            all.range(..bundled).count() as u64
        };
        Checked {
            delivered: self.arrived.iter().map(of_bundle).sum(),
            streams: self.arrived.len() as u64,
            missing: self.missing(),
            repeats: self.repeats,
            problem_count: self.problem_count,
            problems: self.problems.clone(),
        }
    }
}

impl Checked {
    /// Fails when anything is missing or wrong.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let mut problems = self.problems.clone();
        if self.missing > 0 {
            problems.insert(0, format!("{} events are missing", self.missing));
        }
        if problems.is_empty() { Ok(()) } else { Err(Failure::Check { problem: problems.join("; ") }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        let expected = BTreeMap::from([("quakes-us".to_owned(), BTreeMap::from([(1, 4.0), (3, 5.0), (6, 3.5)]))]);
        Bundle { events: 8, streams: BTreeMap::from([("quakes-us".to_owned(), 8)]), expected }
    }

    fn receipt(revision: u64, magnitude: f64) -> Receipt {
        Receipt { stream: "quakes-us".to_owned(), revision, magnitude }
    }

    fn after(receipts: &[Receipt]) -> Ledger {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut ledger = Ledger::open(file.path(), &bundle()).unwrap();
        for receipt in receipts {
            ledger.receive(receipt).unwrap();
        }
        ledger
    }

    #[test]
    fn what_is_expected_in_order_is_right_also_with_repeats() {
        let ledger = after(&[receipt(1, 4.0), receipt(3, 5.0), receipt(1, 4.0), receipt(3, 5.0), receipt(6, 3.5)]);
        let checked = ledger.check();
        assert_eq!((checked.delivered, checked.missing, checked.repeats), (3, 0, 2));
        checked.verdict().unwrap();
    }

    #[test]
    fn loss_disorder_wrong_content_and_what_the_filter_drops_are_found() {
        for (receipts, expected) in [
            (vec![receipt(1, 4.0), receipt(3, 5.0)], "1 events are missing"),
            (vec![receipt(1, 4.0), receipt(6, 3.5)], "quakes-us@6 arrived before quakes-us@3"),
            (vec![receipt(3, 5.0), receipt(1, 4.0)], "quakes-us@1 arrived behind quakes-us@3"),
            (vec![receipt(1, 4.5)], "magnitude 4.5 instead of 4"),
            (vec![receipt(1, 4.0), receipt(2, 1.0)], "quakes-us@2 arrived though the filter drops it"),
        ] {
            let problem = after(&receipts).check().verdict().unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn receipts_survive_and_a_torn_line_is_cut() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut ledger = Ledger::open(file.path(), &bundle()).unwrap();
        ledger.receive(&receipt(1, 4.0)).unwrap();
        ledger.file.write_all(b"{\"stream\":\"quakes").unwrap();
        let mut ledger = Ledger::open(file.path(), &bundle()).unwrap();
        assert_eq!(ledger.receive(&receipt(3, 5.0)).unwrap(), (2, false));
        let ledger = Ledger::open(file.path(), &bundle()).unwrap();
        assert_eq!(ledger.check().delivered, 2);
    }
}
