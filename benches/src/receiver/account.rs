//! Owns what one path was given: which events, in which order, how often, how late.

use serde_json::{Value, json};

use crate::latency::Latency;
use crate::load::MARK;

/// The most streams and events of one stream that are told apart; what lies beyond counts as malformed.
const STREAMS_MAX: usize = 100_000;
const REVISIONS_MAX: u32 = 10_000_000;

/// What is known of one stream.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// A bit for each revision.
    revisions: Vec<u64>,
    distinct: u64,
    highest: Option<u32>,
}

/// Everything that one path was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    streams: Vec<Seen>,
    pub(super) distinct: u64,
    requests: u64,
    repeats: u64,
    inversions: u64,
    malformed: u64,
    first_us: u64,
    last_us: u64,
    latency: Latency,
    /// The headers of the first request, so that the baseline sends the same.
    pub(super) headers: Vec<(String, String)>,
}

impl Account {
    /// Books every event of a body.
    pub(super) fn book(&mut self, body: &str, now_us: u64) {
        self.requests += 1;
        let mut found = false;
        for rest in body.split(MARK).skip(1) {
            found = true;
            match place(rest) {
                Some((stream, revision, made_us)) if stream < STREAMS_MAX && revision < REVISIONS_MAX => {
                    self.event(stream, revision, now_us.saturating_sub(made_us), now_us);
                }
                _ => self.malformed += 1,
            }
        }
        if !found {
            self.malformed += 1;
        }
    }

    fn event(&mut self, stream: usize, revision: u32, latency_us: u64, now_us: u64) {
        if self.streams.len() <= stream {
            self.streams.resize_with(stream + 1, Seen::default);
        }
        let Some(seen) = self.streams.get_mut(stream) else { return };
        let (word, bit) = ((revision / 64) as usize, 1_u64 << (revision % 64));
        if seen.revisions.len() <= word {
            seen.revisions.resize(word + 1, 0);
        }
        let Some(word) = seen.revisions.get_mut(word) else { return };
        if *word & bit != 0 {
            self.repeats += 1;
            return;
        }
        *word |= bit;
        seen.distinct += 1;
        if seen.highest.is_some_and(|highest| highest > revision) {
            self.inversions += 1;
        }
        seen.highest = seen.highest.max(Some(revision));
        if self.distinct == 0 {
            self.first_us = now_us;
        }
        self.distinct += 1;
        self.last_us = now_us;
        self.latency.add(latency_us);
    }

    /// Begins to measure latency anew.
    pub(super) fn forget_latency(&mut self) {
        self.latency = Latency::default();
    }

    /// All of it. `missing` counts the events below the highest of their stream that never came.
    pub(super) fn report(&self) -> Value {
        let missing: u64 = self
            .streams
            .iter()
            .map(|seen| seen.highest.map_or(0, |highest| u64::from(highest) + 1 - seen.distinct))
            .sum();
        json!({
            "distinct": self.distinct,
            "requests": self.requests,
            "repeats": self.repeats,
            "inversions": self.inversions,
            "missing": missing,
            "malformed": self.malformed,
            "firstUs": self.first_us,
            "lastUs": self.last_us,
            "latency": {
                "count": self.latency.total(),
                "p50Us": self.latency.permille(500),
                "p99Us": self.latency.permille(990),
                "maxUs": self.latency.max(),
            },
            "headers": self.headers,
        })
    }
}

/// Reads `stream/revision/microseconds"`.
fn place(text: &str) -> Option<(usize, u32, u64)> {
    let (inside, _) = text.split_once('"')?;
    let mut parts = inside.split('/');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Place, data};

    fn report_of(revisions: &[u32]) -> Value {
        let mut account = Account::default();
        for revision in revisions {
            account.book(&data(Place { stream: 2, revision: *revision }, 100), 150);
        }
        account.report()
    }

    #[test]
    fn order_without_loss_is_clean() {
        let report = report_of(&[0, 1, 2, 3]);
        assert_eq!((&report["distinct"], &report["missing"], &report["inversions"]), (&json!(4), &json!(0), &json!(0)));
        assert_eq!(report["latency"]["p50Us"], 50);
    }

    #[test]
    fn gaps_repeats_and_inversions_are_told_apart() {
        assert_eq!(report_of(&[0, 2, 3])["missing"], 1);
        let repeated = report_of(&[0, 1, 0, 1, 2]);
        assert_eq!(
            (&repeated["repeats"], &repeated["inversions"], &repeated["missing"]),
            (&json!(2), &json!(0), &json!(0))
        );
        let inverted = report_of(&[0, 2, 1]);
        assert_eq!((&inverted["inversions"], &inverted["missing"]), (&json!(1), &json!(0)));
    }

    #[test]
    fn every_event_of_a_batch_is_booked() {
        let mut account = Account::default();
        let bodies: Vec<String> = (0..3).map(|revision| data(Place { stream: 0, revision }, 0)).collect();
        account.book(&format!("[{}]", bodies.join(",")), 1);
        account.book("{}", 1);
        assert_eq!((&account.report()["distinct"], &account.report()["malformed"]), (&json!(3), &json!(1)));
    }
}
