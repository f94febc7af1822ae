//! Owns the SQLite sink itself: from settings to a target, from a batch to marks in a receipt.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::settings::{SettingsErrors, SettingsMap, decode, describe};
use forebay_connector::{
    Batch, DefaultAction, DefaultRow, Epoch, Failure, FailureClass, Guarantee, Kind, Lane, LaneSupport, Receipt, Sink,
    SinkContext, Target,
};
use forebay_event::Position;

use super::settings::SqliteSettings;
use super::writer::{Site, Writer};
use crate::table::{Dialect, Plan, items, mark};

/// A disk that takes longer than this for a batch is stuck.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(120);
const BATCH_RECORDS_DEFAULT: usize = 500;

const POLICY: &[DefaultRow] = &[
    DefaultRow::new(FailureClass::Busy, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Local, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Timeout, DefaultAction::Retry),
    DefaultRow::new(FailureClass::Malformed, DefaultAction::Reject),
    DefaultRow::new(FailureClass::TooLarge, DefaultAction::Reject),
    DefaultRow::new(FailureClass::Unauthorised, DefaultAction::Stop),
    DefaultRow::new(FailureClass::Setup, DefaultAction::Stop),
    DefaultRow::new(FailureClass::Broken, DefaultAction::Retry),
];

pub(crate) const KIND: Kind = Kind {
    name: "sqlite-sink",
    aliases: &["SqliteSink"],
    title: "SQLite",
    summary: "writes rows to a SQLite file, each record effectively once",
    page: include_str!("page.md"),
    guarantee: Guarantee::EffectivelyOnce,
    lanes: LaneSupport::One,
    batch_records_default: BATCH_RECORDS_DEFAULT,
    policy: POLICY,
    settings: describe::<SqliteSettings>,
    connect,
};

fn connect(map: &SettingsMap, context: &SinkContext) -> Result<Box<dyn Target>, SettingsErrors> {
    let settings: SqliteSettings = decode(map)?;
    let path = PathBuf::from(settings.path.trim());
    if path.file_name().is_none() {
        return Err(SettingsErrors::single("path", format!("is {:?}", settings.path), "the name of a file"));
    }
    let busy_timeout = settings.busy_timeout();
    let plan = Arc::new(Plan::new(&settings.into_table(), Dialect::Sqlite)?);
    let connector_id = Arc::clone(&context.connector_id);
    Ok(Box::new(SqliteTarget { plan, site: Site { path, connector_id, lane: Lane(0), busy_timeout } }))
}

struct SqliteTarget {
    plan: Arc<Plan>,
    site: Site,
}

impl Target for SqliteTarget {
    fn sink(&self, lane: Lane) -> Box<dyn Sink> {
        let writer = Writer::new(Arc::clone(&self.plan), Site { lane, ..self.site.clone() });
        Box::new(SqliteSink { plan: Arc::clone(&self.plan), writer: Arc::new(Mutex::new(writer)) })
    }

    fn attempt_limit(&self, _: usize) -> Duration {
        ATTEMPT_LIMIT.saturating_add(self.site.busy_timeout)
    }

    fn keeps_position(&self) -> bool {
        true
    }
}

/// The lock is there for one case only: a write that goes on after its attempt was cut off ends before the next begins.
struct SqliteSink {
    plan: Arc<Plan>,
    writer: Arc<Mutex<Writer>>,
}

#[async_trait]
impl Sink for SqliteSink {
    async fn probe(&mut self) -> Result<(), Failure> {
        self.run(Writer::probe).await?
    }

    async fn standing(&mut self) -> Result<Option<Position>, Failure> {
        self.run(Writer::standing).await?
    }

    async fn take_over(&mut self, epoch: Epoch) -> Result<Option<Position>, Failure> {
        self.run(move |writer| writer.take_over(epoch)).await?
    }

    async fn deliver(&mut self, batch: &Batch, receipt: &mut Receipt) -> Result<(), Failure> {
        let items = Arc::new(items(&self.plan, batch));
        let (epoch, oldest) = (batch.epoch(), batch.parked().map(|parked| parked.oldest));
        let to_write = Arc::clone(&items);
        let written = self.run(move |writer| writer.write(epoch, &to_write, oldest)).await??;
        // Only now is it heard of: an attempt that was cut off before leaves the commit in doubt.
        let delivered = items.iter().take(written.delivered);
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).confirm(delivered);
        mark(written, receipt)
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.run(Writer::close).await
    }
}

impl SqliteSink {
    /// Runs work on the file off the tasks' threads: it blocks.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Writer) -> T + Send + 'static) -> Result<T, Failure> {
        let writer = Arc::clone(&self.writer);
        tokio::task::spawn_blocking(move || work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(|error| Failure::retry(FailureClass::Broken, format!("work on the file was cut off: {error}")))
    }
}
