//! A table in memory that keeps the position of each lane in the transaction of its rows, as the SQL sinks do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap};
use forebay_connector::{
    Batch, Catalog, Epoch, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink, SinkContext,
    Target,
};
use forebay_event::{Position, Record};
use parking_lot::Mutex;

/// How long a transaction takes before it is made, and its answer behind it.
const LATENCY: Duration = Duration::from_millis(3);

/// A row that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) stream: String,
    pub(crate) revision: u64,
    pub(crate) position: Position,
    pub(crate) epoch: u64,
    pub(crate) lane: u32,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    epoch: u64,
    session: u64,
    position: Option<Position>,
}

/// The table of one connector.
#[derive(Default)]
pub(crate) struct Table {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<u32, Row>,
    /// Parked records that were written: their number, and where they came from.
    parked: BTreeMap<u64, Position>,
    sessions: u64,
    written: Vec<Written>,
    refused: BTreeSet<String>,
}

static TABLES: LazyLock<Mutex<HashMap<String, Arc<Table>>>> = LazyLock::new(Mutex::default);

impl Table {
    /// The table of the connector of this id.
    pub(crate) fn of(connector_id: &str) -> Arc<Self> {
        Arc::clone(TABLES.lock().entry(connector_id.to_owned()).or_default())
    }

    /// All rows, in the order of writing.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.state.lock().written.clone()
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> u64 {
        self.state.lock().written.len() as u64
    }

    /// Refuses, or takes again, records of these streams.
    pub(crate) fn refuse(&self, streams: impl IntoIterator<Item = String>) {
        self.state.lock().refused = streams.into_iter().collect();
    }
}

/// A catalogue of `table-sink`, of `plain-sink`, which keeps no position, and of `file-sink`, which has one lane.
pub(crate) fn table_catalog() -> Catalog {
    let kind = |name, lanes| Kind {
        name,
        aliases: &[],
        title: "Table",
        summary: "keeps positions",
        page: "",
        guarantee: Guarantee::EffectivelyOnce,
        lanes,
        batch_records_default: 5,
        policy: &[],
        settings: Vec::new,
        connect,
    };
    let plain = Kind { connect: connect_plain, ..kind("plain-sink", LaneSupport::Many) };
    Catalog::new(vec![kind("table-sink", LaneSupport::Many), kind("file-sink", LaneSupport::One), plain])
}

fn connect(_: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    Ok(Box::new(TableTarget { table: Table::of(&context.connector_id), keeps_position: true }))
}

fn connect_plain(_: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    Ok(Box::new(TableTarget { table: Table::of(&context.connector_id), keeps_position: false }))
}

struct TableTarget {
    table: Arc<Table>,
    keeps_position: bool,
}

impl Target for TableTarget {
    fn sink(&self, lane: Lane) -> Box<dyn Sink> {
        let (table, keeps_position) = (Arc::clone(&self.table), self.keeps_position);
        Box::new(TableSink { table, keeps_position, lane: lane.0, session: None, asked: None, claimed: None })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        Duration::from_secs(3)
    }

    fn keeps_position(&self) -> bool {
        self.keeps_position
    }
}

struct TableSink {
    table: Arc<Table>,
    keeps_position: bool,
    lane: u32,
    session: Option<u64>,
    /// What was answered to the runtime.
    asked: Option<Position>,
    /// Where the lane stood when it was claimed.
    claimed: Option<Position>,
}

impl TableSink {
    fn claim(&mut self, state: &mut State, epoch: Epoch) -> Result<(), Failure> {
        if !self.keeps_position {
            return Ok(());
        }
        let row = state.rows.entry(self.lane).or_default();
        match self.session {
            Some(session) if row.session == session && row.epoch == epoch.0 => return Ok(()),
            None if row.epoch <= epoch.0 => {}
            _ => return Err(Failure::stop(FailureClass::Fenced, "a newer owner has taken over")),
        }
        state.sessions += 1;
        (row.epoch, row.session) = (epoch.0, state.sessions);
        (self.session, self.claimed) = (Some(row.session), row.position);
        Ok(())
    }

    fn is_there(&self, state: &State, (position, number): (Position, Option<u64>)) -> bool {
        match number {
            Some(number) => state.parked.get(&number) == Some(&position),
            None => self.claimed >= Some(position) && self.asked < Some(position),
        }
    }

    fn write(&self, state: &mut State, (record, number): (&Record, Option<u64>), epoch: Epoch) {
        let event = record.event();
        state.written.push(Written {
            stream: event.stream().to_owned(),
            revision: event.revision().get(),
            position: event.position(),
            epoch: epoch.0,
            lane: self.lane,
            data: record.data_slice().to_vec(),
        });
        match number {
            Some(number) => {
                state.parked.insert(number, event.position());
            }
            None => {
                let row = state.rows.entry(self.lane).or_default();
                row.position = row.position.max(Some(event.position()));
            }
        }
    }
}

#[async_trait]
impl Sink for TableSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        if !self.keeps_position {
            return Ok(None);
        }
        self.asked = self.table.state.lock().rows.get(&self.lane).and_then(|row| row.position);
        Ok(self.asked)
    }

    async fn take_over(&mut self, epoch: Epoch) -> Result<Option<Position>, Failure> {
        // tidy: sleep allowed: a target that takes its time is what is tried, in paused time.
        tokio::time::sleep(LATENCY).await;
        let table = Arc::clone(&self.table);
        let mut state = table.state.lock();
        self.claim(&mut state, epoch)?;
        Ok(self.claimed)
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        // tidy: sleep allowed: a target that takes its time is what is tried, in paused time.
        tokio::time::sleep(LATENCY).await;
        let table = Arc::clone(&self.table);
        let taken = {
            let mut state = table.state.lock();
            self.claim(&mut state, batch.epoch())?;
            let numbers = batch.parked().map(|parked| parked.numbers.to_vec());
            let mut taken = 0;
            for (index, record) in batch.records().iter().enumerate() {
                let number = numbers.as_ref().map(|numbers| numbers[index]);
                if state.refused.contains(record.event().stream()) {
                    break;
                }
                if !self.is_there(&state, (record.event().position(), number)) {
                    self.write(&mut state, (record, number), batch.epoch());
                }
                taken += 1;
            }
            taken
        };
        // Whoever dies here has written what nobody was told of.
        // tidy: sleep allowed: a target that takes its time is what is tried, in paused time.
        tokio::time::sleep(LATENCY).await;
        (0..taken).for_each(|index| receipt.delivered(index));
        if taken < batch.len() {
            receipt.failed(taken, Failure::reject(FailureClass::Malformed, "this stream is refused"));
            return Err(Failure::retry(FailureClass::Busy, "waits behind a record that was refused"));
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
