//! Owns a lane as the runtime would drive it: settings to a sink, batches, and a restart from an old checkpoint.

use std::time::Duration;

use forebay_connector::settings::SettingsMap;
use forebay_connector::testing::samples::{SAMPLE_TIME, sample_context, sample_record};
use forebay_connector::{Batch, Epoch, Lane, Outcome, Receipt, Sink, Target, attempt};
use forebay_event::{Position, Record};

use super::server::Server;

pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Statements that would show every repeat: the table has no key.
pub(super) const PLAIN: &[(&str, &str)] = &[
    ("mode", "statement"),
    ("createTable", "true"),
    ("statements:*", "INSERT INTO deliveries VALUES (:position, :stream)"),
    ("parameters:position", "$.position.logPosition"),
    ("parameters:stream", "$.position.streamId"),
];
pub(super) const PLAIN_TABLE: &str = "CREATE TABLE deliveries (position bigint, stream text)";

pub(super) fn target(server: &Server, more: &[(&str, &str)]) -> Box<dyn Target> {
    let mut map = SettingsMap::from_flat(server.settings());
    more.iter().for_each(|(key, value)| map.insert(key, value));
    let catalog = forebay_sinks::catalog();
    (catalog.find("postgres-sink").unwrap().connect)(&map, &sample_context()).unwrap()
}

pub(super) fn batch(epoch: u64, numbers: impl IntoIterator<Item = u64>) -> Batch {
    batch_of(epoch, numbers.into_iter().map(sample_record).collect())
}

pub(super) fn batch_of(epoch: u64, records: Vec<Record>) -> Batch {
    Batch::new(Lane(0), Epoch(epoch), SAMPLE_TIME, records).unwrap()
}

pub(super) async fn deliver(sink: &mut dyn Sink, batch: &Batch) -> Receipt {
    attempt(sink, batch, LIMIT).await
}

/// One position per row and each of them once.
pub(super) async fn assert_exactly(server: &Server, numbers: u64) {
    let sql = "SELECT count(*) || ' ' || count(DISTINCT position) || ' ' || coalesce(max(position), 0) FROM deliveries";
    let last = if numbers == 0 { 0 } else { 99 + numbers };
    assert_eq!(server.rows(sql).await, [format!("{numbers} {numbers} {last}")]);
}

/// A lane and its checkpoint, which lags behind.
pub(super) struct Driven<'a> {
    target: &'a dyn Target,
    sink: Box<dyn Sink>,
    standing: Option<Position>,
    epoch: u64,
    next: u64,
    checkpoint: u64,
    pub(super) repeats_sent: u64,
}

impl<'a> Driven<'a> {
    pub(super) fn new(target: &'a dyn Target) -> Self {
        let sink = target.sink(Lane(0));
        Self { target, sink, standing: None, epoch: 1, next: 0, checkpoint: 0, repeats_sent: 0 }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Makes one attempt at the next so many records; keeps what is delivered.
    pub(super) async fn step(&mut self, count: u64, limit: Duration) -> Receipt {
        let known = |number: u64| self.standing.is_some_and(|standing| Position::new(100 + number) <= standing);
        while known(self.next) {
            self.next += 1;
        }
        let batch = batch(self.epoch, self.next..self.next + count);
        let receipt = attempt(&mut *self.sink, &batch, limit).await;
        let delivered = receipt.outcomes().iter().take_while(|outcome| **outcome == Outcome::Delivered).count();
        self.next += delivered as u64;
        receipt
    }

    /// The checkpoint is written from time to time.
    pub(super) fn write_checkpoint(&mut self) {
        self.checkpoint = self.next;
    }

    /// The process dies and another one goes on from the checkpoint; false while the target cannot be asked.
    pub(super) async fn restart(&mut self) -> bool {
        self.sink = self.target.sink(Lane(0));
        let asked = async {
            self.sink.probe().await?;
            self.sink.standing().await
        };
        let Ok(standing) = asked.await else { return false };
        self.standing = standing;
        self.epoch += 1;
        self.repeats_sent += self.next - self.checkpoint;
        self.next = self.checkpoint;
        true
    }
}
