//! Owns the rows that say which parked records are written, so that a replay that was cut off repeats none of them.
//!
//! Parked records come after later ones of their lane, so the lane's position says nothing about them. Each has a row of
//! its own in the positions table, under a lane below zero, made from its number and written in the same transaction as
//! its data. It goes when the runtime has noted that the record is delivered.

use super::names::TableName;

/// The lane that stands for a parked record.
pub(crate) fn lane_of(number: u64) -> i64 {
    // Numbers are revisions of one stream, far below the bound.
    -1 - i64::try_from(number).unwrap_or(i64::MAX - 1)
}

/// The statements on the rows of parked records.
#[derive(Debug)]
pub(crate) struct ParkedStatements {
    /// Which of these are written: connector, lanes.
    pub(crate) select: String,
    /// What is of no use any more: connector, the lane of the oldest number that is parked, lanes.
    pub(crate) clean: String,
    /// Says that these are written: connector, epoch, lanes, positions, prepare positions.
    pub(crate) insert: String,
}

impl ParkedStatements {
    /// Each takes arrays.
    pub(crate) fn of_postgres(positions: &TableName) -> Self {
        let columns = "connector, lane, epoch, session, token, position, prepare";
        Self {
            select: format!(
                "SELECT lane, position, prepare FROM {positions} WHERE connector = $1 AND lane = ANY($2::bigint[])"
            ),
            clean: format!(
                "DELETE FROM {positions} \
                 WHERE connector = $1 AND (lane < 0 AND lane > $2 OR lane = ANY($3::bigint[]))"
            ),
            insert: format!(
                "INSERT INTO {positions} ({columns}) SELECT $1, r.lane, $2, '', '', r.position, r.prepare \
                 FROM unnest($3::bigint[], $4::bigint[], $5::bigint[]) AS r(lane, position, prepare)"
            ),
        }
    }

    /// Each takes one lane; `clean` the oldest and one.
    pub(crate) fn of_sqlite(positions: &TableName) -> Self {
        let columns = "connector, lane, epoch, session, token, position, prepare";
        Self {
            select: format!("SELECT position, prepare FROM {positions} WHERE connector = ?1 AND lane = ?2"),
            clean: format!("DELETE FROM {positions} WHERE connector = ?1 AND (lane < 0 AND lane > ?2 OR lane = ?3)"),
            insert: format!("INSERT INTO {positions} ({columns}) VALUES (?1, ?3, ?2, '', '', ?4, ?5)"),
        }
    }
}
