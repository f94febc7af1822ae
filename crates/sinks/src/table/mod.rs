//! Owns what the sinks that write to tables share: which SQL a record becomes, and where a lane stands.
//!
//! Plain functions and values: nothing here speaks to a database.

mod names;
mod statement;
mod document;
mod plan;
mod modes;
mod progress;
mod parked;
mod delivery;
#[cfg(test)]
mod tests;

pub(crate) use delivery::{Item, Written, items, mark};
pub(crate) use names::TableName;
pub(crate) use parked::{ParkedStatements, lane_of};
pub(crate) use plan::{Cell, Command, DataType, Dialect, Mode, Plan, TableSettings};
pub(crate) use progress::{Claim, Progress, Row, fenced, positions_table};
