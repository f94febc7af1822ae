//! Owns the work on the file: claims, and transactions that move data and position together. It blocks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Epoch, Failure, FailureClass, Lane, Next};
use forebay_event::Position;
use rusqlite::types::Value as SqliteValue;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params, params_from_iter};
use serde_json::Value;

use super::failure::failure;
use crate::table::{Cell, Claim, Command, Item, ParkedStatements, Plan, Progress, Row, Written, fenced, lane_of};

/// Which file, and whose row in it.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) path: PathBuf,
    pub(super) connector_id: Arc<str>,
    pub(super) lane: Lane,
    pub(super) busy_timeout: Duration,
}

pub(super) struct Writer {
    plan: Arc<Plan>,
    site: Site,
    connection: Option<Connection>,
    claim: Option<Claim>,
    progress: Progress,
    parked: ParkedStatements,
}

impl Writer {
    pub(super) fn new(plan: Arc<Plan>, site: Site) -> Self {
        let parked = ParkedStatements::of_sqlite(&plan.positions);
        Self { plan, site, connection: None, claim: None, progress: Progress::new(), parked }
    }

    /// Looks whether file and tables are there and fit the statements, without writing.
    pub(super) fn probe(&mut self) -> Result<(), Failure> {
        let creates = !self.plan.creates.is_empty();
        let Some(connection) = self.look()? else { return Ok(()) };
        if !creates {
            let position = row_query(&self.plan);
            for sql in self.plan.statements.iter().chain([&position]) {
                connection.prepare(sql).map_err(|error| failure(&error))?;
            }
        }
        Ok(())
    }

    /// Where the lane stands, without claiming it.
    pub(super) fn standing(&mut self) -> Result<Option<Position>, Failure> {
        let site = self.site.clone();
        let plan = Arc::clone(&self.plan);
        let standing = match self.look()? {
            None => None,
            Some(connection) => {
                let table = &plan.positions;
                let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
                let is_there = connection
                    .query_row(sql, [&table.table], |_| Ok(()))
                    .optional()
                    .map_err(|error| failure(&error))?;
                match is_there {
                    None if !plan.creates.is_empty() => None,
                    _ => read_row(&connection, &plan, &site)
                        .map_err(|error| failure(&error))?
                        .and_then(|row| row.position),
                }
            }
        };
        self.progress.answer(standing);
        Ok(standing)
    }

    /// Claims the lane and writes nothing else; answers where it stands.
    pub(super) fn take_over(&mut self, epoch: Epoch) -> Result<Option<Position>, Failure> {
        self.claimed(epoch)?;
        let Some(connection) = &self.connection else { return Ok(None) };
        let row = read_row(connection, &self.plan, &self.site).map_err(|error| failure(&error))?;
        Ok(row.and_then(|row| row.position))
    }

    /// Writes items in order up to the first that is refused, in one transaction with the position. `oldest` is the
    /// lowest number that is parked, if these were.
    pub(super) fn write(&mut self, epoch: Epoch, items: &[Item], oldest: Option<u64>) -> Result<Written, Failure> {
        let written = self
            .claimed(epoch)
            .and_then(|()| self.look_up(items).map_err(|error| failure(&error)))
            .and_then(|()| self.transact(epoch, items, oldest));
        if written.is_err() {
            // Whatever state the connection is in, a new one begins with a claim that settles what is in doubt.
            self.close();
        }
        written
    }

    /// The caller has what was answered: nothing is in doubt any longer.
    pub(super) fn confirm<'a>(&mut self, delivered: impl Iterator<Item = &'a Item>) {
        self.progress.confirm();
        self.progress.answered(delivered);
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
        self.claim = None;
    }

    /// Opens the file as it is; nothing when it is missing and may be made.
    fn look(&self) -> Result<Option<Connection>, Failure> {
        let is_missing = !self.site.path.try_exists().unwrap_or(false);
        if is_missing && !self.plan.creates.is_empty() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&self.site.path, flags)?;
            connection.busy_timeout(self.site.busy_timeout)?;
            Ok(connection)
        };
        open().map(Some).map_err(|error| failure(&error))
    }

    fn claimed(&mut self, epoch: Epoch) -> Result<(), Failure> {
        // A commit whose answer nobody took is in doubt: a new claim settles it.
        if self.progress.is_in_doubt() {
            self.close();
        }
        match &self.claim {
            Some(claim) if claim.epoch == epoch => return Ok(()),
            Some(claim) if claim.epoch > epoch => return Err(fenced(epoch, None)),
            _ => {}
        }
        let connection = self.open().map_err(|error| failure(&error))?;
        connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| failure(&error))?;
        let row = read_row(&connection, &self.plan, &self.site).map_err(|error| failure(&error))?.unwrap_or_default();
        let claim = self.progress.claim(&row, epoch)?;
        let sql = format!(
            "INSERT INTO {} (connector, lane, epoch, session, token) VALUES (?1, ?2, ?3, ?4, '') \
             ON CONFLICT (connector, lane) DO UPDATE SET epoch = excluded.epoch, session = excluded.session",
            self.plan.positions
        );
        let values = params![&*self.site.connector_id, self.site.lane.0, signed(epoch.0), claim.session];
        connection.execute(&sql, values).map_err(|error| failure(&error))?;
        connection.execute_batch("COMMIT").map_err(|error| failure(&error))?;
        self.connection = Some(connection);
        self.claim = Some(claim);
        Ok(())
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if !self.plan.creates.is_empty() {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
            if let Some(folder) = self.site.path.parent() {
                // Opening the file says better what is wrong with the place.
                let _ = std::fs::create_dir_all(folder);
            }
        }
        let connection = Connection::open_with_flags(&self.site.path, flags)?;
        connection.busy_timeout(self.site.busy_timeout)?;
        // Readers do not wait for us, and a commit is on the disk before it is answered.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        for create in &self.plan.creates {
            connection.execute_batch(create)?;
        }
        Ok(connection)
    }

    /// Finds out which parked records are written: nobody else writes them from here on.
    fn look_up(&mut self, items: &[Item]) -> rusqlite::Result<()> {
        let Some(connection) = &self.connection else { return Ok(()) };
        let mut found = Vec::new();
        for (item, number) in items.iter().filter_map(|item| Some((item, item.parked?))) {
            let mut select = connection.prepare_cached(&self.parked.select)?;
            let key = params![&*self.site.connector_id, lane_of(number)];
            let row = select.query_row(key, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            found.extend(row.map(|(commit, prepare)| place(commit, prepare)).filter(|at| *at == item.position));
        }
        self.progress.found(found.into_iter());
        Ok(())
    }

    fn transact(&mut self, epoch: Epoch, items: &[Item], oldest: Option<u64>) -> Result<Written, Failure> {
        let (Some(connection), Some(claim)) = (&self.connection, &self.claim) else {
            return Err(Failure::retry(FailureClass::Broken, "the file is not open"));
        };
        connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| failure(&error))?;
        let (mut fresh, mut written) = (Vec::new(), Written::default());
        for item in items {
            if !self.progress.is_delivered(item) {
                if let Err(wrong) = execute(connection, &self.plan, &item.command) {
                    if wrong.next != Next::Reject {
                        return Err(wrong);
                    }
                    written.refused = Some(wrong);
                    break;
                }
                fresh.push(item);
            }
            written.delivered += 1;
        }
        if connection.is_autocommit() {
            // A trigger or a conflict clause rolled everything back: what stood before it goes again.
            let before = items.get(..written.delivered).unwrap_or_default();
            let again = if before.is_empty() { Written::default() } else { self.transact(epoch, before, oldest)? };
            let refused = again.refused.or(written.refused);
            return Ok(Written { delivered: again.delivered, refused });
        }
        if fresh.is_empty() {
            connection.execute_batch("ROLLBACK").map_err(|error| failure(&error))?;
        } else {
            if let Some(oldest) = oldest {
                self.note_parked(connection, epoch, &fresh, oldest).map_err(|error| failure(&error))?;
            }
            let doubt = self.progress.begin(fresh.iter().map(|item| item.position).collect(), oldest.is_some());
            let sql = format!(
                "UPDATE {} SET position = coalesce(?1, position), prepare = coalesce(?2, prepare), token = ?3 \
                 WHERE connector = ?4 AND lane = ?5 AND epoch = ?6 AND session = ?7",
                self.plan.positions
            );
            let commit = doubt.standing.map(|standing| signed(standing.commit()));
            let prepare = doubt.standing.map(|standing| signed(standing.prepare()));
            let (connector, lane) = (&*self.site.connector_id, self.site.lane.0);
            let values = params![commit, prepare, doubt.token, connector, lane, signed(epoch.0), claim.session];
            if connection.execute(&sql, values).map_err(|error| failure(&error))? != 1 {
                return Err(fenced(epoch, None));
            }
            self.progress.doubt(doubt);
            connection.execute_batch("COMMIT").map_err(|error| failure(&error))?;
        }
        Ok(written)
    }

    fn note_parked(&self, connection: &Connection, epoch: Epoch, fresh: &[&Item], oldest: u64) -> rusqlite::Result<()> {
        let (connector, epoch) = (&*self.site.connector_id, signed(epoch.0));
        let mut clean = connection.prepare_cached(&self.parked.clean)?;
        // A row that stands in the way holds another record's position: it is of an earlier connector of this id.
        let gone = self.progress.heard().iter().copied().chain(fresh.iter().filter_map(|item| item.parked));
        for number in gone {
            clean.execute(params![connector, lane_of(oldest), lane_of(number)])?;
        }
        let mut insert = connection.prepare_cached(&self.parked.insert)?;
        for (item, number) in fresh.iter().filter_map(|item| Some((item, item.parked?))) {
            let (commit, prepare) = (signed(item.position.commit()), signed(item.position.prepare()));
            insert.execute(params![connector, epoch, lane_of(number), commit, prepare])?;
        }
        Ok(())
    }
}

/// Executes one command inside the transaction; a statement that fails leaves no trace of itself.
fn execute(connection: &Connection, plan: &Plan, command: &Result<Option<Command>, Failure>) -> Result<(), Failure> {
    let Some(command) = command.as_ref().map_err(Clone::clone)? else { return Ok(()) };
    let sql = plan.statements.get(command.statement).map(String::as_str).unwrap_or_default();
    let run = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(command.cells.iter().map(value)))?;
        while rows.next()?.is_some() {}
        Ok(())
    };
    run().map_err(|error| failure(&error))
}

fn value(cell: &Cell) -> SqliteValue {
    match cell {
        Cell::Null => SqliteValue::Null,
        Cell::Integer(number) => SqliteValue::Integer(*number),
        Cell::Text(text) => SqliteValue::Text(text.clone()),
        Cell::Bytes(bytes) => SqliteValue::Blob(bytes.to_vec()),
        Cell::Json(json) => match json {
            Value::Null => SqliteValue::Null,
            Value::Bool(flag) => SqliteValue::Integer(i64::from(*flag)),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => SqliteValue::Integer(integer),
                (None, Some(real)) if !number.is_u64() => SqliteValue::Real(real),
                // Whole numbers beyond 64 bits with a sign keep their digits as text.
                _ => SqliteValue::Text(number.to_string()),
            },
            Value::String(text) => SqliteValue::Text(text.clone()),
            Value::Array(_) | Value::Object(_) => SqliteValue::Text(json.to_string()),
        },
    }
}

fn row_query(plan: &Plan) -> String {
    format!(
        "SELECT epoch, session, token, position, prepare FROM {} WHERE connector = ?1 AND lane = ?2",
        plan.positions
    )
}

fn read_row(connection: &Connection, plan: &Plan, site: &Site) -> rusqlite::Result<Option<Row>> {
    let query = row_query(plan);
    connection
        .query_row(&query, params![&*site.connector_id, site.lane.0], |row| {
            let (commit, prepare): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
            let position = commit.map(|commit| place(commit, prepare));
            Ok(Row { epoch: unsigned(row.get(0)?), session: row.get(1)?, token: row.get(2)?, position })
        })
        .optional()
}

fn place(commit: i64, prepare: Option<i64>) -> Position {
    Position::from_parts(unsigned(commit), unsigned(prepare.unwrap_or(commit)))
}

/// Positions and epochs are far below the bound.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
