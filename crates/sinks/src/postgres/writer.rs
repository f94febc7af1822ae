//! Owns a lane's work on the server: claims, and transactions that move data and position together.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_connector::{Epoch, Failure, FailureClass, Lane, Next};
use forebay_event::Position;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_postgres::{Error, Row as DriverRow};

use super::access::Access;
use super::failure::{failure, is_undone};
use super::link::{Link, Prepared, pipelined};
use super::value::{Parameter, text};
use crate::table::{Claim, Command, Item, ParkedStatements, Plan, Progress, Row, Written, fenced, lane_of};

/// From so many records on, a statement that takes arrays is faster than one statement per record.
const BULK_RECORDS_MIN: usize = 8;

/// A lane's row.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) connector_id: Arc<str>,
    pub(super) lane: Lane,
}

pub(super) struct Writer {
    plan: Arc<Plan>,
    access: Arc<Access>,
    site: Site,
    /// Absent while something is under way: an attempt that is cut off leaves no connection in an unclear state.
    link: Option<Link>,
    claim: Option<Claim>,
    progress: Progress,
    parked: ParkedStatements,
}

/// Why a transaction was not committed.
enum Broken {
    /// This one of its records was refused; nothing is written.
    Record(usize, Failure),
    /// The commit was refused, for whichever record; nothing is written.
    AtCommit(Failure),
    /// Anything else.
    Whole(Failure),
}

/// A record that is to be written.
struct Fresh<'a> {
    /// Its place among the items.
    index: usize,
    position: Position,
    /// Its number, if it was parked.
    parked: Option<u64>,
    command: Option<&'a Command>,
}

impl Writer {
    pub(super) fn new(plan: Arc<Plan>, access: Arc<Access>, site: Site) -> Self {
        let parked = ParkedStatements::of_postgres(&plan.positions);
        Self { plan, access, site, link: None, claim: None, progress: Progress::new(), parked }
    }

    /// Connects, and looks whether tables are there and fit the statements, without writing.
    pub(super) async fn probe(&mut self) -> Result<(), Failure> {
        let mut link = self.take_link().await?;
        let looked = async {
            link.client.batch_execute("SELECT 1").await?;
            if self.plan.creates.is_empty() || link.has_tables(&self.plan).await? {
                link.prepare(&self.plan).await?;
            }
            Ok(())
        };
        looked.await.map_err(|error| failure(&error))?;
        self.link = Some(link);
        Ok(())
    }

    /// Where the lane stands, without claiming it.
    pub(super) async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        let link = self.take_link().await?;
        let looked = async {
            if !self.plan.creates.is_empty() && !link.has(&self.plan.positions).await? {
                return Ok(None);
            }
            Ok(self.row(&link, "").await?.and_then(|row| row.position))
        };
        let standing = looked.await.map_err(|error| failure(&error))?;
        self.link = Some(link);
        self.progress.answer(standing);
        Ok(standing)
    }

    /// Claims the lane and writes nothing else; answers where it stands.
    pub(super) async fn take_over(&mut self, epoch: Epoch) -> Result<Option<Position>, Failure> {
        let link = self.claimed(epoch).await?;
        let row = self.row(&link, "").await.map_err(|error| failure(&error))?;
        self.link = Some(link);
        Ok(row.and_then(|row| row.position))
    }

    /// Writes items in order up to the first that is refused, in one transaction with the position. `oldest` is the
    /// lowest number that is parked, if these were.
    pub(super) async fn write(
        &mut self,
        epoch: Epoch,
        items: &[Item],
        oldest: Option<u64>,
    ) -> Result<Written, Failure> {
        let link = self.claimed(epoch).await?;
        if oldest.is_some() {
            self.look_up(&link, items).await.map_err(|error| failure(&error))?;
        }
        let refused = items.iter().enumerate().find_map(|(at, item)| Some((at, item.command.as_ref().err()?.clone())));
        let (mut end, mut refused) = match refused {
            Some((at, failure)) => (at, Some(failure)),
            None => (items.len(), None),
        };
        loop {
            let fresh = self.fresh(items.get(..end).unwrap_or_default());
            if fresh.is_empty() {
                break;
            }
            match self.transact(&link, &fresh, oldest).await {
                Ok(()) => break,
                Err(Broken::Record(at, failure)) => {
                    end = fresh.get(at).map_or(0, |fresh| fresh.index);
                    refused = Some(failure);
                }
                // Which record a deferred constraint means is found by halves.
                Err(Broken::AtCommit(failure)) => {
                    end = fresh.get(fresh.len() / 2).map_or(0, |fresh| fresh.index);
                    refused = (fresh.len() == 1).then_some(failure);
                }
                Err(Broken::Whole(failure)) => {
                    self.claim = None;
                    return Err(failure);
                }
            }
        }
        self.link = Some(link);
        self.progress.answered(items.iter().take(end));
        Ok(Written { delivered: end, refused })
    }

    pub(super) async fn close(&mut self) {
        self.claim = None;
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }

    fn fresh<'a>(&self, items: &'a [Item]) -> Vec<Fresh<'a>> {
        let fresh = items.iter().enumerate().filter(|(_, item)| !self.progress.is_delivered(item));
        fresh
            .map(|(index, item)| {
                let command = item.command.as_ref().ok().and_then(Option::as_ref);
                Fresh { index, position: item.position, parked: item.parked, command }
            })
            .collect()
    }

    /// The connection, out of its place until the work is done.
    async fn take_link(&mut self) -> Result<Link, Failure> {
        match self.link.take() {
            Some(link) if link.is_open() => Ok(link),
            _ => {
                self.claim = None;
                Link::open(&self.access).await
            }
        }
    }

    /// A connection whose claim is this epoch's.
    async fn claimed(&mut self, epoch: Epoch) -> Result<Link, Failure> {
        if self.link.is_none() {
            self.claim = None;
        }
        let mut link = self.take_link().await?;
        match &self.claim {
            Some(claim) if claim.epoch == epoch => return Ok(link),
            Some(claim) if claim.epoch > epoch => return Err(fenced(epoch, None)),
            _ => {}
        }
        let prepared = async {
            link.create(&self.plan).await?;
            link.prepare(&self.plan).await
        };
        prepared.await.map_err(|error| failure(&error))?;
        let claim = self.make_claim(&link, epoch).await?;
        self.claim = Some(claim);
        Ok(link)
    }

    async fn make_claim(&mut self, link: &Link, epoch: Epoch) -> Result<Claim, Failure> {
        let table = &self.plan.positions;
        let (connector, lane) = (&*self.site.connector_id, i64::from(self.site.lane.0));
        let begin = async {
            link.client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            let insert = format!(
                "INSERT INTO {table} (connector, lane, epoch, session, token) VALUES ($1, $2, 0, '', '') \
                 ON CONFLICT DO NOTHING"
            );
            link.client.execute(&insert, &[&connector, &lane]).await?;
            self.row(link, "FOR UPDATE").await
        };
        let row = begin.await.map_err(|error| failure(&error))?.unwrap_or_default();
        let claim = self.progress.claim(&row, epoch)?;
        let update = format!("UPDATE {table} SET epoch = $3, session = $4 WHERE connector = $1 AND lane = $2");
        let end = async {
            link.client.execute(&update, &[&connector, &lane, &signed(epoch.0), &claim.session]).await?;
            link.client.batch_execute("COMMIT").await
        };
        end.await.map_err(|error| failure(&error))?;
        Ok(claim)
    }

    async fn row(&self, link: &Link, lock: &str) -> Result<Option<Row>, Error> {
        let table = &self.plan.positions;
        let query = format!(
            "SELECT epoch, session, token, position, prepare FROM {table} WHERE connector = $1 AND lane = $2 {lock}"
        );
        let lane = i64::from(self.site.lane.0);
        let found = link.client.query_opt(&query, &[&&*self.site.connector_id, &lane]).await?;
        found.as_ref().map(read_row).transpose()
    }

    /// Writes records in one transaction with the position: by arrays where that is faster and works, else one by one.
    async fn transact(&mut self, link: &Link, fresh: &[Fresh<'_>], oldest: Option<u64>) -> Result<(), Broken> {
        let commands: Vec<(usize, &Command)> =
            fresh.iter().enumerate().filter_map(|(at, fresh)| Some((at, fresh.command?))).collect();
        let has_bulk = link.prepared().is_some_and(|prepared| prepared.bulk.is_some());
        if has_bulk && commands.len() >= BULK_RECORDS_MIN {
            match self.attempt(link, (fresh, oldest), Work::Bulk(&commands)).await {
                // Which record it was is found one by one.
                Err(Broken::Record(..)) => {}
                done => return done,
            }
        }
        self.attempt(link, (fresh, oldest), Work::Each(&commands)).await
    }

    /// Finds out which parked records are written: nobody else writes them from here on.
    async fn look_up(&mut self, link: &Link, items: &[Item]) -> Result<(), Error> {
        let lanes: Vec<i64> = items.iter().filter_map(|item| item.parked).map(lane_of).collect();
        let rows = link.client.query(&self.parked.select, &[&&*self.site.connector_id, &lanes]).await?;
        let mut written = HashMap::new();
        for row in &rows {
            let lane: i64 = row.try_get(0)?;
            written.insert(lane, place(row.try_get(1)?, row.try_get(2)?));
        }
        let is_written = |item: &&Item| {
            let at = item.parked.and_then(|number| written.get(&lane_of(number)).copied().flatten());
            at == Some(item.position)
        };
        self.progress.found(items.iter().filter(is_written).map(|item| item.position));
        Ok(())
    }

    /// Says in the transaction that parked records are written, and removes what is of no use any more.
    async fn note_parked(&self, link: &Link, fresh: &[Fresh<'_>], oldest: u64) -> Result<(), Error> {
        let connector = &*self.site.connector_id;
        let epoch = self.claim.as_ref().map_or(0, |claim| signed(claim.epoch.0));
        let lanes: Vec<i64> = fresh.iter().filter_map(|fresh| fresh.parked).map(lane_of).collect();
        let commits: Vec<i64> = fresh.iter().map(|fresh| signed(fresh.position.commit())).collect();
        let prepares: Vec<i64> = fresh.iter().map(|fresh| signed(fresh.position.prepare())).collect();
        // A row that stands in the way holds another record's position: it is of an earlier connector of this id.
        let gone: Vec<i64> = self.progress.heard().iter().copied().map(lane_of).chain(lanes.iter().copied()).collect();
        link.client.execute(&self.parked.clean, &[&connector, &lane_of(oldest), &gone]).await?;
        link.client.execute(&self.parked.insert, &[&connector, &epoch, &lanes, &commits, &prepares]).await?;
        Ok(())
    }

    async fn attempt(
        &mut self,
        link: &Link,
        (fresh, oldest): (&[Fresh<'_>], Option<u64>),
        work: Work<'_>,
    ) -> Result<(), Broken> {
        let not_open = || Broken::Whole(Failure::retry(FailureClass::Broken, "the connection is not prepared"));
        let (Some(prepared), Some(claim)) = (link.prepared(), self.claim.clone()) else { return Err(not_open()) };
        let positions = fresh.iter().map(|fresh| fresh.position).collect();
        let doubt = self.progress.begin(positions, oldest.is_some());
        let commit = doubt.standing.map(|standing| signed(standing.commit()));
        let prepare = doubt.standing.map(|standing| signed(standing.prepare()));
        let (connector, lane, epoch) = (&*self.site.connector_id, i64::from(self.site.lane.0), signed(claim.epoch.0));
        let advance_values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&commit, &prepare, &doubt.token, &connector, &lane, &epoch, &claim.session];
        let begin = link.client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").map(|begun| begun.map(|()| 1));
        let mut requests: Vec<BoxFuture<'_, Result<u64, Error>>> = Vec::with_capacity(work.len() + 2);
        requests.push(begin.boxed());
        requests.push(link.client.execute(&prepared.advance, &advance_values).boxed());
        work.add_requests(link, prepared, &mut requests);
        let mut answers = pipelined(requests).await.into_iter();
        let judged = match (answers.next(), answers.next()) {
            (Some(Ok(_)), Some(Ok(1))) => judge(answers, &work),
            (Some(Ok(_)), Some(Ok(_))) => Err(Broken::Whole(fenced(claim.epoch, None))),
            (Some(Err(error)), _) | (_, Some(Err(error))) => Err(Broken::Whole(failure(&error))),
            _ => Err(not_open()),
        };
        let noted = match (judged, oldest) {
            (Ok(()), Some(oldest)) => self.note_parked(link, fresh, oldest).await.map_err(not_noted),
            (judged, _) => judged,
        };
        if let Err(broken) = noted {
            link.client.batch_execute("ROLLBACK").await.map_err(|error| Broken::Whole(failure(&error)))?;
            return Err(broken);
        }
        self.progress.doubt(doubt);
        match link.client.batch_execute("COMMIT").await {
            Ok(()) => {
                self.progress.confirm();
                Ok(())
            }
            Err(error) if is_undone(&error) => {
                self.progress.refute();
                let failure = failure(&error);
                Err(if failure.next == Next::Reject { Broken::AtCommit(failure) } else { Broken::Whole(failure) })
            }
            // It may have happened: the next claim looks.
            Err(error) => Err(Broken::Whole(failure(&error))),
        }
    }
}

/// The statements of a transaction.
enum Work<'a> {
    /// One per record, with its place among the fresh ones.
    Each(&'a [(usize, &'a Command)]),
    /// One for all.
    Bulk(&'a [(usize, &'a Command)]),
}

impl<'a> Work<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Each(commands) => commands.len(),
            Self::Bulk(_) => 1,
        }
    }

    /// The place of the record that an answer is about; the first when it is about all.
    fn place(&self, answer: usize) -> usize {
        match self {
            Self::Each(commands) => commands.get(answer).map_or(0, |(at, _)| *at),
            Self::Bulk(_) => 0,
        }
    }

    fn add_requests<'r>(
        &self,
        link: &'r Link,
        prepared: &'r Prepared,
        requests: &mut Vec<BoxFuture<'r, Result<u64, Error>>>,
    ) where
        'a: 'r,
    {
        match self {
            Self::Each(commands) => {
                for (_, command) in *commands {
                    let Some(statement) = prepared.statements.get(command.statement) else { continue };
                    let values = command.cells.iter().map(Parameter);
                    requests.push(link.client.execute_raw(statement, values).boxed());
                }
            }
            Self::Bulk(commands) => {
                let Some(statement) = &prepared.bulk else { return };
                let width = commands.first().map_or(0, |(_, command)| command.cells.len());
                let column = |number: usize| -> Vec<Option<String>> {
                    commands.iter().map(|(_, command)| text(command.cells.get(number)?, false)).collect()
                };
                let columns: Vec<_> = (0..width).map(column).collect();
                requests.push(link.client.execute_raw(statement, columns).boxed());
            }
        }
    }
}

/// The first answer that is an error is the cause; those behind it only say that the transaction is gone.
fn judge(answers: impl Iterator<Item = Result<u64, Error>>, work: &Work<'_>) -> Result<(), Broken> {
    for (number, answer) in answers.enumerate() {
        if let Err(error) = answer {
            let failure = failure(&error);
            let is_refused = failure.next == Next::Reject;
            return Err(if is_refused { Broken::Record(work.place(number), failure) } else { Broken::Whole(failure) });
        }
    }
    Ok(())
}

/// What is refused here is no record's fault: another lane works on the same rows.
fn not_noted(error: Error) -> Broken {
    let failure = failure(&error);
    Broken::Whole(match failure.next {
        Next::Reject => Failure::retry(FailureClass::Busy, failure.reason),
        Next::Retry { .. } | Next::Stop => failure,
    })
}

fn place(commit: Option<i64>, prepare: Option<i64>) -> Option<Position> {
    commit.map(|commit| Position::from_parts(unsigned(commit), unsigned(prepare.unwrap_or(commit))))
}

fn read_row(row: &DriverRow) -> Result<Row, Error> {
    let (commit, prepare): (Option<i64>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
    let position = place(commit, prepare);
    Ok(Row { epoch: unsigned(row.try_get(0)?), session: row.try_get(1)?, token: row.try_get(2)?, position })
}

/// Positions and epochs are far below the bound.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
