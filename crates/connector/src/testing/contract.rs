//! Owns the contract of sinks as tests: order, partial failure, repeats, cancel, reconnect, probe, close, secrets.

use std::time::Duration;

use async_trait::async_trait;

use super::samples::sample_batch;
use crate::{Lane, Next, Outcome, Sink, Target, attempt};

/// A close takes no longer than this.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// An attempt of the suite takes no longer than this.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);

/// What a sink's test brings: a target to look into, and ways to make it fail.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Connects anew, as after a restart of the process.
    fn connect(&self) -> Box<dyn Target>;

    /// The identities of the records that arrived, in order of arrival. A target that drops repeats shows each once.
    async fn arrived(&self) -> Vec<String>;

    /// The identity under which a sample record arrives.
    fn identity(&self, number: u64) -> String;

    /// Makes the target refuse the record that comes after so many, once and for now; false when it cannot.
    async fn refuse_after(&self, records: usize) -> bool;

    /// Makes the target hold back its next answer until the caller gives up; false when it cannot.
    async fn stall(&self) -> bool;

    /// Stops the target and starts it again in the same place, with what had arrived; false when it cannot.
    async fn restart(&self) -> bool;

    /// The secrets that were given in settings.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Checks everything that every sink promises.
///
/// # Panics
/// When the sink breaks a promise.
pub async fn check_sink(fixture: &dyn Fixture) {
    probe_writes_nothing(fixture).await;
    keeps_order(fixture).await;
    stops_at_the_first_failure(fixture).await;
    survives_a_cancel(fixture).await;
    survives_a_restart_of_the_target(fixture).await;
    closes_in_time(fixture).await;
}

fn lane(fixture: &dyn Fixture) -> Box<dyn Sink> {
    fixture.connect().sink(Lane(0))
}

async fn deliver_whole(sink: &mut dyn Sink, numbers: std::ops::Range<u64>) {
    let receipt = attempt(sink, &sample_batch(numbers.clone()), ATTEMPT_LIMIT).await;
    assert!(receipt.is_complete(), "records {numbers:?} were not delivered: {:?}", receipt.outcomes());
}

async fn new_arrivals(fixture: &dyn Fixture, seen: usize) -> Vec<String> {
    fixture.arrived().await.split_off(seen)
}

fn identities(fixture: &dyn Fixture, numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| fixture.identity(number)).collect()
}

async fn probe_writes_nothing(fixture: &dyn Fixture) {
    let mut sink = lane(fixture);
    sink.probe().await.expect("the target is up");
    sink.standing().await.expect("the target is up");
    assert!(fixture.arrived().await.is_empty(), "the probe wrote something");
}

async fn keeps_order(fixture: &dyn Fixture) {
    let mut sink = lane(fixture);
    deliver_whole(&mut *sink, 0..10).await;
    deliver_whole(&mut *sink, 10..11).await;
    assert_eq!(fixture.arrived().await, identities(fixture, 0..11), "order was not kept");
}

async fn stops_at_the_first_failure(fixture: &dyn Fixture) {
    let mut sink = lane(fixture);
    let seen = fixture.arrived().await.len();
    if !fixture.refuse_after(2).await {
        return;
    }
    let batch = sample_batch(20..25);
    let receipt = attempt(&mut *sink, &batch, ATTEMPT_LIMIT).await;
    let delivered = receipt.outcomes().iter().take_while(|outcome| **outcome == Outcome::Delivered).count();
    assert!(delivered <= 2, "a refused record was marked as delivered");
    for outcome in receipt.outcomes().iter().skip(delivered) {
        let Outcome::Failed(failure) = outcome else { panic!("a record behind the refused one is {outcome:?}") };
        assert!(matches!(failure.next, Next::Retry { .. }), "a passing failure was answered with {:?}", failure.next);
        for secret in fixture.secrets() {
            assert!(!format!("{failure:?}").contains(&secret), "a failure shows a secret");
        }
    }
    let rest: Vec<_> = batch.records().get(delivered..).unwrap_or_default().to_vec();
    let receipt = attempt(&mut *sink, &super::samples::batch_of(rest).again(batch.at()), ATTEMPT_LIMIT).await;
    assert!(receipt.is_complete(), "the repeat was not delivered: {:?}", receipt.outcomes());
    assert_sequence(&new_arrivals(fixture, seen).await, &identities(fixture, 20..25));
}

/// Every record arrived, in order; repeats of what was in flight are allowed and carry the same identity.
fn assert_sequence(arrived: &[String], expected: &[String]) {
    let mut next = 0;
    for identity in arrived {
        if expected.get(next) == Some(identity) {
            next += 1;
        } else {
            let known = expected.get(..next).unwrap_or_default();
            assert!(known.contains(identity), "{identity} came too early, or is not known: {arrived:?}");
        }
    }
    assert_eq!(next, expected.len(), "records are missing: {arrived:?}");
}

async fn survives_a_cancel(fixture: &dyn Fixture) {
    let mut sink = lane(fixture);
    let seen = fixture.arrived().await.len();
    deliver_whole(&mut *sink, 30..32).await;
    if fixture.stall().await {
        let receipt = attempt(&mut *sink, &sample_batch(32..34), Duration::from_millis(50)).await;
        assert!(!receipt.is_complete(), "the target held back its answer, and yet all is delivered");
    }
    deliver_whole(&mut *sink, 32..34).await;
    deliver_whole(&mut *sink, 34..36).await;
    assert_sequence(&new_arrivals(fixture, seen).await, &identities(fixture, 30..36));
}

async fn survives_a_restart_of_the_target(fixture: &dyn Fixture) {
    let mut sink = lane(fixture);
    let seen = fixture.arrived().await.len();
    deliver_whole(&mut *sink, 40..42).await;
    fixture.restart().await;
    // The first attempt may meet the connection that is gone; the second one may not.
    let first = attempt(&mut *sink, &sample_batch(42..44), ATTEMPT_LIMIT).await;
    if !first.is_complete() {
        deliver_whole(&mut *sink, 42..44).await;
    }
    assert_sequence(&new_arrivals(fixture, seen).await, &identities(fixture, 40..44));
}

async fn closes_in_time(fixture: &dyn Fixture) {
    let mut sink = lane(fixture);
    deliver_whole(&mut *sink, 50..51).await;
    let closed = tokio::time::timeout(CLOSE_LIMIT, sink.close()).await;
    closed.expect("close takes too long").expect("close failed");
}
