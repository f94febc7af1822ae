//! Owns a batch on its way into tables: what each record becomes, and what is answered about it.

use forebay_connector::{Batch, Failure, FailureClass, Receipt};
use forebay_event::Position;

use super::plan::{Command, Plan};

/// A record on its way into a table.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) position: Position,
    /// Its number, if it was parked.
    pub(crate) parked: Option<u64>,
    /// What it becomes; nothing when only its position moves.
    pub(crate) command: Result<Option<Command>, Failure>,
}

/// What became of items: so many from the beginning are durable; the next one may be refused, for this reason.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) delivered: usize,
    pub(crate) refused: Option<Failure>,
}

/// What the records of a batch become, in order.
pub(crate) fn items(plan: &Plan, batch: &Batch) -> Vec<Item> {
    let parked = batch.parked();
    let item = |(index, record): (usize, &forebay_event::Record)| Item {
        position: record.event().position(),
        parked: parked.and_then(|parked| parked.numbers.get(index).copied()),
        command: plan.command(record),
    };
    batch.records().iter().enumerate().map(item).collect()
}

/// Marks what became of a batch; what stands behind a refused record stays unanswered and comes again.
///
/// It is not written in the same transaction: a crash before the refused record is parked would leave a position behind
/// it in the target, and it would count as delivered.
pub(crate) fn mark(written: Written, receipt: &mut Receipt) -> Result<(), Failure> {
    (0..written.delivered).for_each(|index| receipt.delivered(index));
    if let Some(failure) = written.refused {
        receipt.failed(written.delivered, failure);
    }
    if written.delivered < receipt.outcomes().len() {
        return Err(Failure::retry(FailureClass::Busy, "waits behind a record that was refused"));
    }
    Ok(())
}
