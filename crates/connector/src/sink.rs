//! Owns the contract of a sink and the one way to call it.

use std::time::Duration;

use async_trait::async_trait;
use forebay_event::Position;

use crate::{Batch, Epoch, Failure, FailureClass, Receipt};

/// The one step that knows a target.
///
/// A sink is called by one task, in order, one call at a time. It does not lock, spawn, sleep, retry, batch, filter, look
/// at a clock or keep a checkpoint: the runtime does. What one lane sees:
///
/// ```text
/// probe ─▶ standing ─▶ deliver ─▶ deliver ─▶ … ─▶ close
/// ```
///
/// **Order.** Records of a batch are in log order, batches follow each other in log order. A sink that sends one record
/// after the other stops at the first that is not delivered: what stands behind it stays unanswered.
/// **Repeats.** A record may come again after a crash, a time-out or an unclear answer. Every write carries the record's
/// identity, so that the target can drop the repeat; a sink whose target cannot says so on its page.
/// **Cancel.** The future of `deliver` may be dropped at any await (time limit, shutdown). Marks made before stay valid,
/// and the sink must be usable again: a connection in an unclear state is thrown away.
#[async_trait]
pub trait Sink: Send {
    /// Proves that the way to the target is open and that it knows us, without writing anything.
    async fn probe(&mut self) -> Result<(), Failure>;

    /// Where this lane stands according to the target: for sinks that store positions in the same transaction as data.
    /// Records at or before it were delivered and are not sent again. Others answer nothing.
    async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        Ok(None)
    }

    /// Takes the lane over without delivering anything: from here on no earlier owner can write to it. Answers where it
    /// stands then. For sinks that store positions; the runtime asks it of lanes that are given up, so that what they did
    /// is known for good.
    async fn take_over(&mut self, _epoch: Epoch) -> Result<Option<Position>, Failure> {
        self.standing().await
    }

    /// Delivers a batch: marks each record in the receipt as soon as its fate is known, returns when all are known. An
    /// error stands for every record that is not marked by then.
    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure>;

    /// Ends the connection; the runtime sets a limit on how long it may take.
    async fn close(&mut self) -> Result<(), Failure>;
}

/// Makes one attempt to deliver a batch, within a time limit, and answers with what the sink marked.
///
/// Whatever the sink left unmarked is failed with its error, or as timed out, or as a broken contract.
pub async fn attempt(sink: &mut dyn Sink, batch: &Batch, limit: Duration) -> Receipt {
    let mut receipt = Receipt::of(batch);
    let rest = match tokio::time::timeout(limit, sink.deliver(batch, &mut receipt)).await {
        Ok(Ok(())) => Failure::retry(FailureClass::Broken, "the sink gave no answer for this record"),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::retry(FailureClass::Timeout, format!("no answer within {} ms", limit.as_millis())),
    };
    receipt.fail_unanswered(&rest);
    receipt
}
