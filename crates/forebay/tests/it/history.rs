//! Owns what the store's log says of who ran what: leases and checkpoints as they were written, followed from outside and
//! checked. It shares no code with the server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::http::{Http, eventually};

const LOOKED_EVERY: Duration = Duration::from_millis(25);
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// So many problems are told.
const PROBLEMS_MAX: usize = 10;
/// Nodes without a store of their own keep their streams here.
pub(crate) const PREFIX: &str = "$forebay/connectors";

/// One event of a lease stream.
#[derive(Clone, Debug)]
struct Lease {
    owner: String,
    epoch: u64,
    /// Nothing when it was released.
    duration_ms: u64,
    /// When it was stored, by the store's clock, in milliseconds.
    stored_ms: i64,
    /// What its owner's wall clock said, in milliseconds.
    said_ms: i64,
    /// When it was seen here.
    seen: Instant,
    revision: u64,
}

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Facts {
    leases: BTreeMap<String, Vec<Lease>>,
    /// The epochs of checkpoints.
    checkpoints: BTreeMap<String, Vec<u64>>,
    problems: Vec<String>,
    /// How often the log was read to its end.
    looks: u64,
}

/// Follows the log of a store until it is dropped.
pub(crate) struct History {
    facts: Arc<Mutex<Facts>>,
    _following: JoinSet<()>,
}

impl History {
    /// Begins at the log's beginning.
    pub(crate) fn follow(store: Http) -> Self {
        let facts = Arc::<Mutex<Facts>>::default();
        let mut following = JoinSet::new();
        let seen = Arc::clone(&facts);
        following.spawn(async move {
            let mut from = "start".to_owned();
            loop {
                let path = format!("/streams/$all/events?limit=4096&streamPrefix={PREFIX}/&from={from}");
                let Ok((200, body)) = store.try_send(Method::GET, &path, None).await else {
                    pause().await;
                    continue;
                };
                let page: Value = serde_json::from_slice(&body).unwrap();
                let at_end = page["atEnd"] == true;
                {
                    let mut facts = seen.lock().unwrap();
                    page["events"].as_array().unwrap().iter().for_each(|event| facts.take_in(event));
                    facts.looks += u64::from(at_end);
                }
                if let Some(next) = page["next"].as_str().filter(|next| *next != "end") {
                    from = next.to_owned();
                } else if let Some(last) = page["events"].as_array().and_then(|events| events.last()) {
                    from = after(last);
                }
                if at_end {
                    pause().await;
                }
            }
        });
        Self { facts, _following: following }
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }

    /// Waits until the log was read to where its end is by now.
    pub(crate) async fn catch_up(&self) {
        // The look that is under way may have begun before; the next one has not.
        let looks = self.facts().looks + 2;
        eventually("the log is read to its end", LOOK_LIMIT, || async { self.facts().looks >= looks }).await;
    }
}

async fn pause() {
    // tidy: sleep allowed: this is the wait for more in the log, between two looks.
    tokio::time::sleep(LOOKED_EVERY).await;
}

/// The position behind an event.
fn after(event: &Value) -> String {
    let position = event["position"].as_str().unwrap();
    let commit: u64 = position.split('/').next().unwrap().parse().unwrap();
    (commit + 1).to_string()
}

impl Facts {
    fn take_in(&mut self, event: &Value) {
        let stream = event["stream"].as_str().unwrap();
        let Some(rest) = stream.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('/')) else { return };
        match rest.rsplit_once('/') {
            Some((id, "leases")) => self.lease(id, event),
            Some((id, "checkpoints")) => {
                let epoch = event["data"]["epoch"].as_u64().unwrap_or(0);
                let epochs = self.checkpoints.entry(id.to_owned()).or_default();
                if epochs.last().is_some_and(|last| *last > epoch) {
                    self.problems.push(format!("{id}: a checkpoint of epoch {epoch} after one of {epochs:?}"));
                } else if epochs.last() != Some(&epoch) {
                    epochs.push(epoch);
                }
            }
            _ => {}
        }
    }

    fn lease(&mut self, id: &str, event: &Value) {
        let said = &event["data"];
        let lease = Lease {
            owner: said["AcquiredBy"].as_str().unwrap().to_owned(),
            epoch: said["Epoch"].as_u64().unwrap(),
            duration_ms: span_ms(said["Duration"].as_str().unwrap()),
            stored_ms: time_ms(event["created"].as_str().unwrap()),
            said_ms: time_ms(said["AcquiredAt"].as_str().unwrap()),
            seen: Instant::now(),
            revision: event["revision"].as_u64().unwrap(),
        };
        let leases = self.leases.entry(id.to_owned()).or_default();
        if let Some(problem) = leases.last().and_then(|last| wrong_after(last, &lease)) {
            self.problems.push(format!("{id}: {problem}: {lease:?} after {:?}", leases.last()));
        }
        leases.push(lease);
    }

    /// The connectors whose lease a node has, with their epochs.
    pub(crate) fn held_by(&self, owner: &str) -> Vec<(String, u64)> {
        let last = self.leases.iter().filter_map(|(id, leases)| Some((id, leases.last()?)));
        last.filter(|(_, lease)| lease.owner == owner && lease.duration_ms > 0)
            .map(|(id, lease)| (id.clone(), lease.epoch))
            .collect()
    }

    /// Whether somebody has a lease that was taken or renewed since then.
    pub(crate) fn is_held_since(&self, id: &str, since: Instant) -> bool {
        let last = self.leases.get(id).and_then(|leases| leases.last());
        last.is_some_and(|last| last.duration_ms > 0 && last.seen > since)
    }

    /// When somebody else first had what a node held in an epoch.
    pub(crate) fn taken_after(&self, id: &str, (owner, epoch): (&str, u64)) -> Option<Instant> {
        let leases = self.leases.get(id)?;
        leases.iter().find(|lease| lease.epoch > epoch && lease.owner != owner).map(|lease| lease.seen)
    }

    /// The renewals of a lease in one epoch since then: by how much its owner's wall clock was ahead of the store's, in
    /// milliseconds.
    pub(crate) fn renewed(&self, id: &str, (owner, epoch): (&str, u64), since: Instant) -> Vec<i64> {
        let leases = self.leases.get(id).into_iter().flatten();
        let renewals = leases.filter(|lease| lease.owner == owner && lease.epoch == epoch && lease.seen > since);
        renewals.map(|lease| lease.said_ms - lease.stored_ms).collect()
    }

    /// How many epochs there were of all connectors.
    pub(crate) fn epochs(&self) -> usize {
        let owners = |leases: &Vec<Lease>| 1 + leases.windows(2).filter(|two| two[0].epoch != two[1].epoch).count();
        self.leases.values().map(owners).sum()
    }

    /// How many lease events and epochs of checkpoints were seen.
    pub(crate) fn seen(&self) -> (usize, usize) {
        (self.leases.values().map(Vec::len).sum(), self.checkpoints.values().map(Vec::len).sum())
    }

    /// Fails the test when anything was wrong.
    pub(crate) fn assert_sound(&self) {
        let told = &self.problems[..self.problems.len().min(PROBLEMS_MAX)];
        assert!(told.is_empty(), "{} problems:\n{}", self.problems.len(), told.join("\n"));
    }
}

/// What is wrong with a lease, seen after another of the same stream.
fn wrong_after(last: &Lease, lease: &Lease) -> Option<&'static str> {
    /// The store's clock is a wall clock, and a holder counts from before its append: so much is forgiven.
    const TOLERANCE_MS: i64 = 20;
    let is_new = lease.epoch > last.epoch;
    let is_owners = lease.owner == last.owner;
    let ran_out = lease.stored_ms - last.stored_ms + TOLERANCE_MS >= i64::try_from(last.duration_ms).unwrap();
    if lease.revision != last.revision + 1 {
        Some("an event was not seen")
    } else if lease.epoch < last.epoch {
        Some("an epoch went back")
    } else if !is_new && !is_owners {
        Some("an epoch has two owners")
    } else if !is_new && last.duration_ms == 0 {
        Some("an epoch went on after its release")
    } else if is_new && !is_owners && !ran_out {
        Some("a lease was taken before it had run out")
    } else {
        None
    }
}

fn span_ms(text: &str) -> u64 {
    let parts: Vec<f64> = text.split(':').map(|part| part.parse().unwrap()).collect();
    let seconds = parts[0] * 3600.0 + parts[1] * 60.0 + parts[2];
    format!("{:.0}", seconds * 1000.0).parse().unwrap()
}

/// Milliseconds since 1970 of a time such as `2026-01-02T03:04:05.678Z`.
fn time_ms(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days since 1970 in the calendar whose years begin in March.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 719_469;
    let seconds = days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    let fraction: String =
        text[19..].chars().skip(1).take_while(char::is_ascii_digit).chain("000".chars()).take(3).collect();
    seconds * 1000 + fraction.parse::<i64>().unwrap()
}

#[test]
fn times_are_read_as_they_are_written() {
    assert_eq!(time_ms("1970-01-01T00:00:00Z"), 0);
    assert_eq!(time_ms("2024-02-29T12:00:00.5Z"), 1_709_208_000_500);
    assert_eq!(time_ms("2026-11-21T18:00:00.1234567Z"), 1_795_284_000_123);
    assert_eq!(span_ms("00:00:02"), 2000);
    assert_eq!(span_ms("00:00:01.5000000"), 1500);
}

#[test]
fn the_checker_of_leases_finds_what_it_must() {
    let lease = |owner: &str, epoch, duration_ms, stored_ms, revision| {
        let (owner, seen) = (owner.to_owned(), Instant::now());
        Lease { owner, epoch, duration_ms, stored_ms, said_ms: 0, seen, revision }
    };
    let first = lease("a", 1, 2000, 0, 0);
    assert_eq!(wrong_after(&first, &lease("a", 1, 2000, 1000, 1)), None);
    assert_eq!(wrong_after(&first, &lease("b", 2, 2000, 2001, 1)), None);
    assert_eq!(wrong_after(&first, &lease("a", 2, 2000, 500, 1)), None);
    assert_eq!(wrong_after(&first, &lease("b", 2, 2000, 1000, 1)), Some("a lease was taken before it had run out"));
    assert_eq!(wrong_after(&first, &lease("b", 1, 2000, 3000, 1)), Some("an epoch has two owners"));
    assert_eq!(wrong_after(&first, &lease("b", 0, 2000, 3000, 1)), Some("an epoch went back"));
    assert_eq!(wrong_after(&first, &lease("a", 1, 2000, 1000, 2)), Some("an event was not seen"));
    assert_eq!(wrong_after(&lease("a", 1, 0, 0, 0), &lease("b", 2, 2000, 1, 1)), None);
    assert_eq!(
        wrong_after(&lease("a", 1, 0, 0, 0), &lease("a", 1, 2000, 1, 1)),
        Some("an epoch went on after its release")
    );
}
